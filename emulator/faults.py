"""Faults: what each is, whom it touches, and how several fold into one effect on a link.

A fault is a named value, the same in YAML, on the wire and in the journal. The effective state of
a link is a fold of the active faults over the healthy baseline, so healing them in any order
returns exactly to it. `network.py` applies the effect; faults of nodes are in `node_faults.py`.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from msgspec import Struct
from pydantic import Field, model_validator

from agents.bodies import NodeId
from emulator.fault_base import CONTROL_KINDS, RADIO_KINDS, BaseFault, LinkKind, selects
from emulator.node_faults import BsOutage, NodeFault


class _LinkFault(BaseFault):
    target: str = Field(
        description="Nodes ('user-2', 'bs-*', 'user-1,user-3', 'user-*,!user-0') or one link "
        "('user-2->bs-0'). A user or base station stands for its radio links, a server for its "
        "backhaul links."
    )
    only: Literal["tasks", "control"] | None = Field(
        None,
        description="Radio links of tasks only, or control messages only: by radio and between "
        "base stations.",
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        """Says whether the link from `source` to `target` is meant."""
        if self.only == "tasks" and (kind not in RADIO_KINDS or kind in CONTROL_KINDS):
            return False
        if self.only == "control" and kind not in CONTROL_KINDS:
            return False
        if "->" in self.target:
            left, right = self.target.split("->", 1)
            return selects(left, source) and selects(right, target)
        if kind == "control-peer":  # a wire between base stations: not what a blackout of one is
            return self.only == "control" and (
                selects(self.target, source) or selects(self.target, target)
            )
        if kind in RADIO_KINDS:
            return selects(self.target, source) or selects(self.target, target)
        return selects(self.target, target if kind == "to-server" else source)


class Blackout(_LinkFault):
    """Nothing gets through."""

    type: Literal["blackout"]


class Loss(_LinkFault):
    """Each attempt is lost with a further probability `p`."""

    type: Literal["loss"]
    p: float = Field(ge=0.0, le=1.0)


class Corrupt(_LinkFault):
    """Each attempt that gets through is received but useless with probability `p`."""

    type: Literal["corrupt"]
    p: float = Field(ge=0.0, le=1.0, description="Probability, in [0, 1].")


class ChannelLoss(BaseFault):
    """Base stations hear nothing on some of their shared channels.

    Only users of scheduled access look first, and see it.
    """

    type: Literal["channel_loss"]
    target: str = Field(description="Base stations whose access is not dedicated.")
    channels: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Numbers of the channels, from 0."
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return kind == "uplink" and selects(self.target, target)


class BurstLoss(_LinkFault):
    """Losses in bursts: an overall share `loss`, in runs of `burst_length` slots on average."""

    type: Literal["burst_loss"]
    loss: float = Field(gt=0.0, lt=1.0)
    burst_length: float = Field(ge=1.0)
    slot_s: float = Field(0.01, gt=0.0)

    @property
    def r(self) -> float:
        """The probability per slot that a burst ends."""
        return 1.0 / self.burst_length

    @property
    def p(self) -> float:
        """The probability per slot that one begins."""
        return self.r * self.loss / (1.0 - self.loss)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        shortest = self.loss / (1.0 - self.loss)
        if self.burst_length < shortest:
            raise ValueError(
                f"a share of {self.loss:g} needs a burst_length of {shortest:.3g} at least"
            )
        return self


class Fading(_LinkFault):
    """The signal is `depth_db` weaker; for channels that know a signal-to-noise ratio."""

    type: Literal["fading"]
    depth_db: float = Field(gt=0.0, le=200.0)


class Interference(BaseFault):
    """Receivers hear a noise that is `rise_db` stronger; for channels that know an SNR."""

    type: Literal["interference"]
    target: str = Field(description="Who hears it: users, base stations or both.")
    rise_db: float = Field(gt=0.0, le=200.0, description="By how much noise rises, in dB.")

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return kind in RADIO_KINDS and selects(self.target, target)


class Delay(_LinkFault):
    """Everything takes `delay_s` longer, give or take `jitter_s` (uniform)."""

    type: Literal["delay"]
    delay_s: float = Field(gt=0.0)
    jitter_s: float = Field(0.0, ge=0.0)


class Rate(_LinkFault):
    """No attempt is faster than `rate_bps`."""

    type: Literal["rate"]
    rate_bps: float = Field(gt=0.0)


class Partition(BaseFault):
    """Nothing passes between the nodes of `a` and those of `b`, in either direction."""

    type: Literal["partition"]
    a: list[str] = Field(min_length=1)
    b: list[str] = Field(min_length=1)

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        a, b = ",".join(self.a), ",".join(self.b)
        return (selects(a, source) and selects(b, target)) or (
            selects(b, source) and selects(a, target)
        )


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
AnyFault = LinkFault | NodeFault
Fault = Annotated[AnyFault, Field(discriminator="type")]


class Effect(Struct, frozen=True):
    """What the active faults do to one link. The default is the healthy baseline."""

    blocked_by: str = ""  # "blackout", "partition", "bs-outage", or "" for open
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
        if not isinstance(fault, LinkFault | BsOutage) or not fault.touches(source, target, kind):
            continue
        match fault:
            case Blackout() | Partition():
                blocked_by = max(blocked_by, fault.type)
            case BsOutage():
                blocked_by = max(blocked_by, "bs-outage")
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
