"""A fault as people who steer a run know it: what was asked, whom it hits, how far it is."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from agents.messages import NodeId
from emulator.build.plan import Plan
from emulator.faults.activation import Op
from emulator.faults.base import LinkKind
from emulator.faults.fold import AnyFault
from emulator.faults.link_types import LinkFault
from emulator.scenario.occurrences import Places, meant
from emulator.scenario.slots import is_scheduled

RESOLVED_MAX = 50  # names in an answer
State = Literal["scheduled", "active", "healed", "expired", "spared", "failed"]
Ends = tuple[NodeId, NodeId, LinkKind]


class Applied(Struct, frozen=True):
    """From when an order holds, and how many of how many hosts said so; of 0: none had to obey."""

    at_s: float
    hosts: int
    of: int


class Known(Struct):
    """A fault that was ever heard of. What it is while it is active, `Steering.active` says."""

    id: int
    fault: AnyFault
    source: str
    settled: AnyFault | None  # as drawn, with its targets by name; None: chance spared them
    resolved: list[str] = []
    client: str = ""
    state: State = "scheduled"
    applied: Applied | None = None
    ended_s: float | None = None

    def begin(self, fault: AnyFault, resolved: list[str]) -> None:
        """Learns that it is active from now on, perhaps not for the first time."""
        self.fault, self.resolved, self.state = fault, resolved, "active"
        self.ended_s = self.applied = None

    def change(self, fault: AnyFault, resolved: list[str]) -> None:
        """Learns that it hits others, or differently."""
        self.fault, self.resolved = fault, resolved

    def end(self, how: State, at_s: float | None = None) -> None:
        """Learns how it ends, and when; what was healed does not expire as well."""
        self.state = how if self.state != "healed" else "healed"
        self.ended_s = at_s

    def obeyed(self, applied: Applied) -> None:
        self.applied = applied

    def lasts(self, at_s: float) -> bool:
        """Says whether an order can still change it: it runs out before the journal says so."""
        return self.state == "active" and self.fault.until_s > at_s

    def is_like(self, fault: AnyFault) -> bool:
        """Says whether another fault does the same, whenever it does."""
        times = {"at_s", "for_s", "note"}
        mine = self.fault.model_dump(exclude=times)
        return type(fault) is type(self.fault) and fault.model_dump(exclude=times) == mine

    def audit(self, op: Op) -> dict[str, Any]:
        """Returns what events.jsonl says of a change of it besides the change itself."""
        reported: dict[str, Any] = {"source": self.source, "n": len(self.resolved)}
        if self.fault.note:
            reported["note"] = self.fault.note
        if op == "heal" and self.state == "expired":
            reported["by"] = "ttl"
        if self.applied is not None:
            reported["applied"] = [self.applied.hosts, self.applied.of]
        return reported

    def as_dict(self) -> dict[str, Any]:
        fault = self.fault
        until_s = None if math.isinf(fault.until_s) else fault.until_s
        described = fault.described()
        return {
            "id": self.id,
            "state": self.state,
            "type": described.pop("type"),
            "at_s": described.pop("at_s"),
            "until_s": until_s,
            "ended_s": self.ended_s,
            "for_s": described.pop("for_s", None),
            "note": described.pop("note", ""),
            "params": described,
            "source": self.source,
            "n": len(self.resolved),
            "resolved": self.resolved[:RESOLVED_MAX],
            "applied": None if self.applied is None else [self.applied.hosts, self.applied.of],
        }


def lasting(fault: AnyFault, at_s: float, until_s: float) -> AnyFault:
    """Returns the fault from one instant to another, which may be infinity."""
    for_s = None if math.isinf(until_s) else until_s - at_s
    return fault.model_copy(update={"at_s": at_s, "for_s": for_s})


def hit_by(fault: AnyFault, links: Iterable[Ends], places: Places) -> list[str]:
    """Names the links or nodes that a fault hits, whose targets are settled."""
    if isinstance(fault, LinkFault):
        return [f"{a}->{b}" for a, b, kind in links if fault.touches(a, b, kind)]
    return meant(fault, fault.target, places)


def links_of(plan: Plan) -> Iterator[Ends]:
    """Yields every link of a plan, also those that nothing has crossed yet."""
    for user, cells in plan.layout.cells.items():
        for bs, _ in cells:
            yield user, bs, "uplink"
            yield bs, user, "downlink"
            if plan.scenario.control is not None:
                yield user, bs, "control-up"
                yield bs, user, "control-down"
    for bs, servers in plan.layout.servers.items():
        for server, _ in servers:
            yield bs, server, "to-server"
            yield server, bs, "from-server"
    if is_scheduled(plan.scenario):
        stations = list(plan.layout.servers)
        for a, b in plan.frame().graph.stations.edges:
            yield stations[a], stations[b], "control-peer"
            yield stations[b], stations[a], "control-peer"
