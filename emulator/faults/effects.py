"""Faults: how several fold into one effect on a link.

A fault is a named value, the same in YAML, on the wire and in the journal; what each is stands in
`link_types.py` and `node_types.py`, what all share in `base.py`. The effective state of a link is
a fold of the active faults over the healthy baseline, so healing them in any order returns exactly
to it. `sim/disturbance.py` applies the effect.
"""

import math
from collections.abc import Iterable
from typing import Annotated

from msgspec import Struct
from pydantic import Field

from agents.messages import NodeId
from agents.reasons import Reason
from emulator.faults.base import LinkKind
from emulator.faults.link_types import (
    Blackout,
    BurstLoss,
    ChannelLoss,
    Corrupt,
    Delay,
    Distribution,
    Duplicate,
    Fading,
    Interference,
    Loss,
    MessageDelay,
    MessageDrop,
    Partition,
    Rate,
    Reorder,
    Shadowing,
)
from emulator.faults.node_types import BsOutage, NodeFault

LinkFault = (
    Blackout
    | Loss
    | Corrupt
    | BurstLoss
    | Duplicate
    | Reorder
    | Fading
    | Shadowing
    | Interference
    | Delay
    | Rate
    | ChannelLoss
    | Partition
    | MessageDrop
    | MessageDelay
)
OnLinks = LinkFault | BsOutage  # what touches links
AnyFault = LinkFault | NodeFault
Fault = Annotated[AnyFault, Field(discriminator="type")]


class Effect(Struct, frozen=True):
    """What the active faults do to one link at one instant. The default is the healthy baseline.

    A `share` is how much of its strength a growing fault has; what is drawn for it must not depend
    on that, so the full strength stands beside it.
    """

    blocked_by: Reason = Reason.NONE  # while it is open
    pass_p: float = 1.0  # probability that independent loss faults let an attempt pass
    runs: tuple[tuple[float, float, float], ...] = ()  # (p, correlation, share) of losses in runs
    bursts: tuple[tuple[float, float, float], ...] = ()  # (p, r, slot_s) of each burst chain
    clean_p: float = 1.0  # probability that what got through is not corrupted
    fade_db: float = 0.0
    shadows: tuple[tuple[float, float], ...] = ()  # (sigma_db, share)
    delay_s: float = 0.0  # of delays without jitter
    # Of those with: (distribution, jitter_s, correlation, share, delay_s)
    jitters: tuple[tuple[Distribution, float, float, float, float], ...] = ()
    lates: tuple[tuple[float, float, float], ...] = ()  # (p, delay_s, share) of reordering
    single_p: float = 1.0  # probability that what arrives is not duplicated
    rate_bps: float = math.inf
    dead_channels: frozenset[int] = frozenset()
    message_drops: tuple[tuple[str, float], ...] = ()  # (message, p)
    message_delays: tuple[tuple[str, float], ...] = ()  # (message, delay_s)


HEALTHY = Effect()


def fold(
    active: Iterable[AnyFault],
    source: NodeId,
    target: NodeId,
    kind: LinkKind,
    now_s: float = math.inf,
) -> Effect:
    """Folds the active faults onto one link: OR, product, sum or minimum, so order is nothing.

    `now_s` says how far faults that grow have come; infinity: all have their full strength.
    """
    blocked_by, rate_bps = Reason.NONE, math.inf
    passes: list[float] = []
    runs: list[tuple[float, float, float]] = []
    bursts: list[tuple[float, float, float]] = []
    cleans: list[float] = []
    fades_db: list[float] = []
    shadows: list[tuple[float, float]] = []
    delays_s: list[float] = []
    jitters: list[tuple[Distribution, float, float, float, float]] = []
    lates: list[tuple[float, float, float]] = []
    singles: list[float] = []
    dead: set[int] = set()
    drops: list[tuple[str, float]] = []
    holds: list[tuple[str, float]] = []
    for fault in active:
        if not isinstance(fault, OnLinks) or not fault.touches(source, target, kind):
            continue
        share = fault.share(now_s)
        match fault:
            case Blackout() | Partition() | Rate(rate_bps=0.0):
                blocked_by = max(blocked_by, Reason(fault.type))
            case BsOutage():
                blocked_by = max(blocked_by, Reason.BS_OUTAGE)
            case Loss(p=p, correlation=0.0):
                passes.append(1.0 - share * p)
            case Loss(p=p, correlation=correlation):
                runs.append((p, correlation, share))
            case Corrupt(p=p):
                cleans.append(1.0 - share * p)
            case Duplicate(p=p):
                singles.append(1.0 - share * p)
            case Reorder(p=p, delay_s=late_s):
                lates.append((p, late_s, share))
            case ChannelLoss(channels=channels):
                dead.update(channels)
            case BurstLoss():
                bursts.append((fault.p, fault.r, fault.slot_s))
            case Fading(depth_db=depth_db):
                fades_db.append(share * depth_db)
            case Interference(rise_db=rise_db):
                fades_db.append(share * rise_db)
            case Shadowing(sigma_db=sigma_db):
                shadows.append((sigma_db, share))
            case Delay(delay_s=more_s, jitter_s=0.0):
                delays_s.append(share * more_s)
            case Delay(delay_s=more_s, jitter_s=jitter_s, correlation=correlation):
                jitters.append((fault.distribution, jitter_s, correlation, share, more_s))
            case Rate(rate_bps=cap_bps):
                rate_bps = min(rate_bps, cap_bps)
            case MessageDrop(message=message, p=p):
                drops.append((message, share * p))
            case MessageDelay(message=message, delay_s=hold_s):
                holds.append((message, share * hold_s))
    effect = Effect(
        blocked_by=blocked_by,
        pass_p=math.prod(sorted(passes)),  # sorted: a product of floats depends on the order
        runs=tuple(sorted(runs)),
        bursts=tuple(sorted(bursts)),
        clean_p=math.prod(sorted(cleans)),
        fade_db=math.fsum(fades_db),
        shadows=tuple(sorted(shadows)),
        delay_s=math.fsum(delays_s),
        jitters=tuple(sorted(jitters)),
        lates=tuple(sorted(lates)),
        single_p=math.prod(sorted(singles)),
        rate_bps=rate_bps,
        dead_channels=frozenset(dead),
        message_drops=tuple(sorted(drops)),
        message_delays=tuple(sorted(holds)),
    )
    return HEALTHY if effect == HEALTHY else effect
