"""Faults: what each is, whom it touches, and how several fold into one effect.

A fault is a named value, the same in YAML, on the wire and in the journal. The effective state of
a link or server is a fold of the active faults over the healthy baseline, so healing them in any
order returns exactly to it. `network.py` and `inference.py` apply the effect.
"""

import math
import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Literal, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.bodies import NodeId

LinkKind = Literal[
    "uplink", "downlink", "control-up", "control-down", "to-server", "from-server", "control-peer"
]
RADIO_KINDS = frozenset({"uplink", "downlink", "control-up", "control-down"})
CONTROL_KINDS = frozenset({"control-up", "control-down", "control-peer"})


def selects(selector: str, name: str) -> bool:
    """Says whether a selector means a node: a comma-separated union of globs, `!` excludes."""
    return bool(_pattern(selector).fullmatch(name))


@lru_cache(maxsize=1024)
def _pattern(selector: str) -> re.Pattern[str]:
    parts = [part.strip() for part in selector.split(",")]
    wanted = "|".join(translate(part) for part in parts if not part.startswith("!"))
    unwanted = "|".join(translate(part[1:]) for part in parts if part.startswith("!"))
    return re.compile(f"(?!(?:{unwanted})$)(?:{wanted})" if unwanted else f"(?:{wanted})")


class _Fault(BaseModel):
    """What all faults share: when, and whom. `for_s` None: until the run ends."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    at_s: float = Field(ge=0.0, description="When it begins, in emulated seconds.")
    for_s: float | None = Field(None, gt=0.0, description="How long it lasts; absent: to the end.")

    @property
    def until_s(self) -> float:
        return math.inf if self.for_s is None else self.at_s + self.for_s


class _LinkFault(_Fault):
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


class ChannelLoss(_Fault):
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


class Interference(_Fault):
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


class Partition(_Fault):
    """Nothing passes between the nodes of `a` and those of `b`, in either direction."""

    type: Literal["partition"]
    a: list[str] = Field(min_length=1)
    b: list[str] = Field(min_length=1)

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        a, b = ",".join(self.a), ",".join(self.b)
        return (selects(a, source) and selects(b, target)) or (
            selects(b, source) and selects(a, target)
        )


class _ServerFault(_Fault):
    target: str = Field(description="Servers, as in 'edge-0' or 'edge-*,!edge-1'.")


class ServerPause(_ServerFault):
    """No batch starts; the running one is finished, tasks queue up meanwhile."""

    type: Literal["server_pause"]


class ServerSlowdown(_ServerFault):
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
        if isinstance(fault, _ServerFault) or not fault.touches(source, target, kind):
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
