"""Faults of nodes: what each is, and how several fold into the condition of one node.

A node's condition is a fold of the active faults over the healthy baseline, as a link's effect is
(`effects.py`); healing them in any order returns exactly to it. `sim/node_conditions.py` puts
it into effect. What a fault destroys, such as the queue of a server that crashes, stays destroyed.
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal, Self

from msgspec import Struct
from pydantic import Field, model_validator

from agents.api import NodeId, NodeKind
from agents.reasons import Reason
from emulator.faults.base import BaseFault, LinkKind
from emulator.faults.effects import Effect
from emulator.faults.selectors import NodeSelector, Place, selects

EVERY_KIND: tuple[NodeKind, ...] = ("user", "base_station", "server")


class _NodeFault(BaseFault):
    kinds: ClassVar[tuple[NodeKind, ...]]

    target: NodeSelector

    def may_mean(self, place: Place) -> bool:
        return place.kind in self.kinds

    def hits(self, node: NodeId, kind: NodeKind) -> bool:
        """Says whether a node of that kind is meant."""
        return kind in self.kinds and selects(self.target, node)


class _ServerFault(_NodeFault):
    kinds: ClassVar[tuple[NodeKind, ...]] = ("server",)
    whom: ClassVar[str] = "server"

    target: NodeSelector = Field(description="Servers, as in 'rack-0' or 'pole-*,!pole-1'.")


class _DeviceFault(_ServerFault):
    kinds: ClassVar[tuple[NodeKind, ...]] = ("server", "user")

    target: NodeSelector = Field(
        description="Servers, as in 'pole-*,!pole-1', or users with a CPU."
    )

    def may_mean(self, place: Place) -> bool:
        return place.computes


class _UserFault(_NodeFault):
    kinds: ClassVar[tuple[NodeKind, ...]] = ("user",)
    whom: ClassVar[str] = "user"

    target: NodeSelector = Field(description="Users, as in 'camera-*' or 'medic-0,camera-3'.")


class ServerPause(_DeviceFault):
    """No batch starts; the running one is finished, tasks queue up meanwhile."""

    together: ClassVar[str] = "any"

    type: Literal["server_pause"]


class ServerSlowdown(_DeviceFault):
    """Every service takes `factor` times as long."""

    together: ClassVar[str] = "product"
    grows: ClassVar[str] = "factor"

    type: Literal["server_slowdown"]
    factor: float = Field(gt=0.0)


class ServerCrash(_ServerFault):
    """All that it holds is lost, and what comes while it is down; it restarts with nothing."""

    together: ClassVar[str] = "any"

    type: Literal["server_crash"]


class ModelSwap(_ServerFault):
    """Serves with another network, from the next batch on, instead of all that it holds."""

    together: ClassVar[str] = "last begun"

    type: Literal["model_swap"]
    model: str = Field(description="A shipped network, or one in $FRESCO_MODELS, of the same data.")


class BsOutage(_NodeFault):
    """Nothing passes the base station, and it forgets what it knew."""

    together: ClassVar[str] = "any"
    kinds: ClassVar[tuple[NodeKind, ...]] = ("base_station",)
    whom: ClassVar[str] = "base station"

    type: Literal["bs_outage"]
    target: NodeSelector = Field(description="Base stations, as in 'bs-0' or 'bs-*,!bs-1'.")
    handover: Literal["none", "nearest"] = Field(
        "none",
        description="nearest: its users go to the nearest that is up among those they reach, and "
        "come back. Dedicated and scheduled access only.",
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        """Says whether a link ends at the base station."""
        match kind:
            case "control-peer":
                return selects(self.target, source) or selects(self.target, target)
            case "uplink" | "control-up" | "from-server":
                return selects(self.target, target)
            case _:
                return selects(self.target, source)

    def effect(self, share: float) -> Effect:
        return Effect(blocked_by=Reason.BS_OUTAGE)


class ClockSkew(_NodeFault):
    """The node's clock is wrong by `offset_s`, and more so by `drift_ppm` from its begin on.

    What it stamps and compares is wrong, the lengths of its timers only by the drift. The journal
    keeps the intervals that nodes measure, at the instants at which they were told: ages and delays
    come from one clock, the user's, and are wrong once, for what is under way when its offset
    changes. Uplink and downlink are measured with two clocks and stay wrong by their difference.
    """

    together: ClassVar[str] = "sum"
    kinds: ClassVar[tuple[NodeKind, ...]] = EVERY_KIND

    type: Literal["clock_skew"]
    target: NodeSelector = Field(description="Any nodes, as in 'camera-2', 'bs-*' or 'rack-0'.")
    offset_s: float = Field(0.0, ge=-3600.0, le=3600.0, description="Positive: it is ahead.")
    drift_ppm: float = Field(0.0, ge=-1e5, le=1e5, description="Microseconds per second.")

    @model_validator(mode="after")
    def _is_wrong(self) -> Self:
        if not self.offset_s and not self.drift_ppm:
            raise ValueError("a clock without offset_s and drift_ppm is right")
        return self


class UserChurn(_UserFault):
    """Users leave and join. Who is away makes nothing, holds nothing and has no age.

    When it heals all are back. What a user held when it left is dropped, as is what comes for it.
    """

    together: ClassVar[str] = "sum"

    type: Literal["user_churn"]
    leave_rate_hz: float | None = Field(
        None, gt=0.0, description="Of each that is present; absent: all leave when it begins."
    )
    join_rate_hz: float = Field(0.0, ge=0.0, description="Of each that is away; 0: none joins.")


class ArrivalBurst(_UserFault):
    """Users generate `factor` times as many tasks: the gaps are as much shorter.

    Also the gap that is under way, which makes it an exact change of time: Poisson stays Poisson.
    """

    together: ClassVar[str] = "product"

    type: Literal["arrival_burst"]
    factor: float = Field(gt=0.0, le=1000.0)


class ActorKill(_NodeFault):
    """Kills the process that carries the node, for good: the run ends broken, as it would by hand.

    Only on Ray. Nothing heals it.
    """

    together: ClassVar[str] = "ends the run"
    kinds: ClassVar[tuple[NodeKind, ...]] = EVERY_KIND
    ends_run: ClassVar[bool] = True

    type: Literal["actor_kill"]
    target: NodeSelector = Field(description="Nodes; every host that carries one of them dies.")


NodeFault = (
    ServerPause
    | ServerSlowdown
    | ServerCrash
    | ModelSwap
    | BsOutage
    | ClockSkew
    | UserChurn
    | ArrivalBurst
    | ActorKill
)


class Condition(Struct, frozen=True):
    """What the active faults do to one node. The default is the healthy baseline."""

    down_by: Reason = Reason.NONE  # while it is up
    is_paused: bool = False
    slowdowns: tuple[ServerSlowdown, ...] = ()
    model: str = ""  # the network that it serves with instead of its own
    ahead_s: float = 0.0  # its clock shows t + ahead_s + drift t at the emulated instant t
    drift: float = 0.0
    hurry: float = 1.0  # factor on the rate of arrivals
    all_leave: bool = False
    leave_rate_hz: float = 0.0
    join_rate_hz: float = 0.0
    has_churn: bool = False

    def slowdown(self, now_s: float) -> float:
        """Returns the factor on service times; a slowdown may still be growing."""
        factors = (1.0 + each.share(now_s) * (each.factor - 1.0) for each in self.slowdowns)
        return math.prod(sorted(factors))  # sorted: a product of floats depends on the order


WELL = Condition()


def condition_of(active: Iterable[object], node: NodeId, kind: NodeKind) -> Condition:
    """Folds the active faults onto one node: OR, product, sum or last begun, so order is nothing.

    Faults of links pass by.
    """
    hitting = [f for f in active if isinstance(f, _NodeFault) and f.hits(node, kind)]
    if not hitting:
        return WELL
    down_by, is_paused = Reason.NONE, False
    all_leave, has_churn = False, False
    slowdowns: list[ServerSlowdown] = []
    hurries: list[float] = []
    swaps: list[tuple[float, str]] = []
    aheads_s: list[float] = []
    drifts: list[float] = []
    leave_rates_hz: list[float] = []
    join_rates_hz: list[float] = []
    for fault in hitting:
        match fault:
            case ServerPause():
                is_paused = True
            case ServerSlowdown():
                slowdowns.append(fault)
            case ServerCrash():
                down_by = max(down_by, Reason.CRASH)
            case BsOutage():
                down_by = max(down_by, Reason.BS_OUTAGE)
            case ModelSwap(at_s=at_s, model=model):
                swaps.append((at_s, model))
            case ClockSkew(at_s=at_s, offset_s=offset_s, drift_ppm=drift_ppm):
                aheads_s.append(offset_s - 1e-6 * drift_ppm * at_s)
                drifts.append(1e-6 * drift_ppm)
            case UserChurn(leave_rate_hz=leave_rate_hz, join_rate_hz=join_rate_hz):
                has_churn = True
                all_leave = all_leave or leave_rate_hz is None
                leave_rates_hz.append(leave_rate_hz or 0.0)
                join_rates_hz.append(join_rate_hz)
            case ArrivalBurst(factor=factor):
                hurries.append(factor)
    condition = Condition(
        down_by,
        is_paused,
        tuple(sorted(slowdowns, key=repr)),
        max(swaps)[1] if swaps else "",
        math.fsum(aheads_s),
        math.fsum(drifts),
        math.prod(sorted(hurries)),  # sorted: a product of floats depends on the order
        all_leave,
        math.fsum(leave_rates_hz),
        math.fsum(join_rates_hz),
        has_churn,
    )
    return WELL if condition == WELL else condition


def handed_over(active: Iterable[object], base_station: NodeId) -> bool:
    """Says whether a base station is down and its users go to another."""
    return any(
        isinstance(fault, BsOutage)
        and fault.handover == "nearest"
        and selects(fault.target, base_station)
        for fault in active
    )
