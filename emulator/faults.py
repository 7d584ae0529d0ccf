"""Faults: what each is, whom it touches, and how several fold into one effect.

A fault is a named value, the same in YAML, on the wire and in the journal. The effective state of
a link or server is a fold of the active faults over the healthy baseline, so healing them in any
order returns exactly to it. `network.py` and `inference.py` apply the effect.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import Field

from agents.bodies import NodeId
from emulator.fault_base import LinkKind, ServerFaultBase
from emulator.link_faults import (
    Blackout,
    BurstLoss,
    ChannelLoss,
    Corrupt,
    Delay,
    Fading,
    Interference,
    Loss,
    Partition,
    Rate,
)
from emulator.selectors import selects


class ServerPause(ServerFaultBase):
    """No batch starts; the running one is finished, tasks queue up meanwhile."""

    type: Literal["server_pause"]


class ServerSlowdown(ServerFaultBase):
    """Every service takes `factor` times as long."""

    type: Literal["server_slowdown"]
    factor: float = Field(gt=0.0)


LinkFault = (
    Blackout
    | Loss
    | Corrupt
    | BurstLoss
    | Fading
    | Interference
    | Delay
    | Rate
    | ChannelLoss
    | Partition
)
ServerFault = ServerPause | ServerSlowdown
AnyFault = LinkFault | ServerFault
Fault = Annotated[AnyFault, Field(discriminator="type")]


class Effect(Struct, frozen=True):
    """What the active faults do to one link. The default is the healthy baseline."""

    blocked_by: str = ""  # "blackout", "partition", or "" for open
    pass_p: float = 1.0  # probability that independent loss faults let an attempt pass
    bursts: tuple[tuple[float, float, float], ...] = ()  # (p, r, slot_s) of each burst chain
    fade_db: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float = math.inf
    clean_p: float = 1.0  # probability that what got through is not corrupted
    dead_channels: frozenset[int] = frozenset()


HEALTHY = Effect()


def fold(active: Iterable[AnyFault], source: NodeId, target: NodeId, kind: LinkKind) -> Effect:
    """Folds the active faults onto one link: OR, product, sum or minimum, so order is nothing."""
    blocked_by, rate_bps = "", math.inf
    passes: list[float] = []
    fades_db: list[float] = []
    delays_s: list[float] = []
    jitters_s: list[float] = []
    bursts: list[tuple[float, float, float]] = []
    cleans: list[float] = []
    dead: set[int] = set()
    for fault in active:
        if isinstance(fault, ServerFaultBase) or not fault.touches(source, target, kind):
            continue
        match fault:
            case Blackout() | Partition():
                blocked_by = max(blocked_by, fault.type)
            case Loss(p=p):
                passes.append(1.0 - p)
            case Corrupt(p=p):
                cleans.append(1.0 - p)
            case ChannelLoss(channels=channels):
                dead.update(channels)
            case BurstLoss():
                bursts.append((fault.p, fault.r, fault.slot_s))
            case Fading(depth_db=depth_db):
                fades_db.append(depth_db)
            case Interference(rise_db=rise_db):
                fades_db.append(rise_db)
            case Delay(delay_s=more_s, jitter_s=spread_s):
                delays_s.append(more_s)
                jitters_s.append(spread_s)
            case Rate(rate_bps=cap_bps):
                rate_bps = min(rate_bps, cap_bps)
    effect = Effect(
        blocked_by,
        math.prod(sorted(passes)),  # sorted: a product of floats depends on the order
        tuple(sorted(bursts)),
        math.fsum(fades_db),
        math.fsum(delays_s),
        math.fsum(jitters_s),
        rate_bps,
        math.prod(sorted(cleans)),
        frozenset(dead),
    )
    return HEALTHY if effect == HEALTHY else effect


def slowdown(active: Iterable[AnyFault], server: NodeId) -> float:
    """Folds the active faults onto one server: the factor on its service times."""
    factors = (
        fault.factor
        for fault in active
        if isinstance(fault, ServerSlowdown) and selects(fault.target, server)
    )
    return math.prod(sorted(factors))  # sorted: floating point products depend on the order


def paused(active: Iterable[AnyFault], server: NodeId) -> bool:
    """Folds the active faults onto one server: whether it starts any batch."""
    return any(isinstance(f, ServerPause) and selects(f.target, server) for f in active)
