"""What people ask of a run while it goes on: faults, pause, stop. Between two threads.

The control service asks and waits for an answer; the runtime calls `turn` between events, decides
the emulated instant from which the order holds, and has every kernel obey at that same instant.
Interactive faults always end by themselves. The state is read from `faults`, never pushed.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from msgspec import Struct

from emulator import check_faults, vocabulary
from emulator.faults import AnyFault, LinkKind, selects
from emulator.journal import FaultChange
from emulator.pace import Pace
from emulator.plan import Plan
from emulator.timeline import Order
from emulator.vocabulary import TTL_MAX_S, Refused

ACTIVE_MAX = 200
RESOLVED_MAX = 50  # names in an answer
NUMBER_MAX = 1e12  # of a parameter: what many faults add up to must stay a number
Phase = Literal["starting", "running", "paused", "stopping", "ended"]
Send = Callable[[list[Order]], tuple[int, int]]
"""Has all hosts obey; returns how many of how many do."""


class Applied(Struct, frozen=True):
    """From when an order holds, and how many of how many hosts said so."""

    at_s: float
    hosts: int
    of: int


class Known(Struct):
    """A fault that was ever heard of."""

    id: int
    fault: AnyFault
    source: str
    note: str = ""
    client: str = ""
    resolved: list[str] = []
    state: Literal["scheduled", "active", "healed", "expired", "failed"] = "scheduled"
    applied: Applied | None = None
    ended_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        fault = self.fault
        until_s = None if math.isinf(fault.until_s) else fault.until_s
        described = fault.model_dump(exclude_none=True)
        return {
            "id": self.id,
            "state": self.state,
            "type": described.pop("type"),
            "at_s": described.pop("at_s"),
            "until_s": until_s,
            "ended_s": self.ended_s,
            "for_s": described.pop("for_s", None),
            "params": described,
            "source": self.source,
            "note": self.note,
            "n": len(self.resolved),
            "resolved": self.resolved[:RESOLVED_MAX],
            "applied": None if self.applied is None else [self.applied.hosts, self.applied.of],
        }


class Steering:
    """Safe to ask from any thread; `turn` and `follow` are for the thread that drives the run."""

    def __init__(self, plan: Plan) -> None:
        self.phase: Phase = "starting"
        self.faults: dict[int, Known] = {}
        self.stop_reason = ""
        self.version = 0  # rises with every change that viewers want to see
        self.on_change: Callable[[], None] = lambda: None
        self._plan = plan
        self._asked: deque[tuple[Callable[[float], list[Order]], Future[Applied]]] = deque()
        self._orders: deque[Order] = deque()  # in effect, not yet in the journal
        self._condition = threading.Condition()
        self._now_s = 0.0
        self._links = list(_links(plan))
        for number, fault in enumerate(plan.scenario.faults):
            self.faults[number] = Known(number, fault, "scenario", resolved=self.resolve(fault))

    # Asked by people

    def inject(
        self, given: Mapping[str, Any], source: str, client: str = ""
    ) -> tuple[Known, Future[Applied], bool]:
        """Begins a fault; the same one again makes it last longer (True). Refused where bad."""
        fault, note = self.read(given)
        resolved = self.resolve(fault)
        self._must_run()
        with self._condition:
            active = [
                each for each in self.faults.values() if each.state in ("active", "scheduled")
            ]
            for known in active:
                if known.source != "scenario" and _same(known.fault, fault):
                    return known, self._extend(known, fault), True
            if len(active) >= ACTIVE_MAX:
                raise Refused(422, f"{ACTIVE_MAX} faults are active already; heal some first")
            known = Known(len(self.faults), fault, source, note, client, resolved)
            self.faults[known.id] = known

        def begin(at_s: float) -> list[Order]:
            known.fault = fault.model_copy(update={"at_s": at_s})
            return [Order(at_s, "begin", known.id, known.fault)]

        return known, self._ask(begin), False

    def patch(self, number: int, changes: Mapping[str, Any]) -> tuple[Known, Future[Applied]]:
        """Changes what an active fault does, or (`for_s`, from now on) how long it lasts."""
        known = self._active(number)
        if "type" in changes:
            raise Refused(422, "a fault keeps its type; heal it and inject another", "type")
        old = {k: v for k, v in known.fault.model_dump(exclude_none=True).items() if k != "at_s"}
        fault, _ = self.read({**old, **changes}, ttl_max_s=math.inf if old.get("for_s") else None)
        known.resolved = self.resolve(fault)
        if "for_s" in changes and len(changes) == 1:
            return known, self._extend(known, fault, shorten=True)

        def change(at_s: float) -> list[Order]:
            until_s = at_s + (fault.for_s or 0.0) if "for_s" in changes else known.fault.until_s
            known.fault = _lasting(fault, at_s, until_s)
            return [Order(at_s, "patch", number, known.fault)]

        return known, self._ask(change)

    def heal(self, numbers: list[int] | None = None) -> tuple[list[Known], Future[Applied]]:
        """Heals the given faults; None: all."""
        if numbers is None:
            known = [each for each in self.faults.values() if each.state == "active"]
        else:
            known = [self._active(number) for number in numbers]
        self._must_run()
        return known, self._ask(lambda at_s: [Order(at_s, "heal", each.id) for each in known])

    def pause(self) -> Future[Applied]:
        self._must_run()
        return self._ask(lambda at_s: [Order(at_s, "hold")])

    def resume(self) -> Future[Applied]:
        if self.phase != "paused":
            raise Refused(409, f"the run is {self.phase}, not paused")
        return self._ask(lambda at_s: [Order(at_s, "release", wall_s=time.time() + 0.1)])

    def stop(self, reason: str) -> Future[Applied]:
        """Ends the run early: what is active is healed, the rest is flushed and reported."""
        self._must_run()

        def end(at_s: float) -> list[Order]:
            self.stop_reason = f"{reason} at {at_s:g} s"
            active = [each for each in self.faults.values() if each.state == "active"]
            return [*(Order(at_s, "heal", each.id) for each in active), Order(at_s, "end")]

        return self._ask(end)

    def read(
        self, given: Mapping[str, Any], ttl_max_s: float | None = TTL_MAX_S
    ) -> tuple[AnyFault, str]:
        """Checks a fault as people give it against this run; returns it, and their note."""
        for key, value in given.items():
            if isinstance(value, int | float) and abs(value) > NUMBER_MAX:
                raise Refused(422, f"{key}: at most {NUMBER_MAX:g}", key)
        fault, note = vocabulary.read(given, self._now_s, ttl_max_s)
        for where, message, remedy in check_faults.fault_problems(self._plan.scenario, fault):
            raise Refused(422, f"{where[-1]}: {message}; {remedy}", str(where[-1]))
        if not self.resolve(fault):
            raise Refused(422, "target: no link joins these nodes, so nothing would fail", "target")
        return fault, note

    def resolve(self, fault: AnyFault) -> list[str]:
        """Names the links or nodes that a fault hits."""
        touches = getattr(fault, "touches", None)
        if touches is not None:
            return [f"{a}->{b}" for a, b, kind in self._links if touches(a, b, kind)]
        target = str(getattr(fault, "target", "*"))
        return [name for name in self._plan.names if selects(target, name)]

    # The run's side

    def begin(self) -> None:
        self.phase = "running"
        self._changed()

    def finish(self) -> None:
        """Nothing can be asked any more; who still waits for an answer gets none."""
        with self._condition:
            self.phase = "ended"
            for _, answer in self._asked:
                answer.cancel()
            self._asked.clear()
        self._changed()

    def turn(self, pace: Pace, timeout_s: float, lead_s: float, send: Send) -> None:
        """Waits so long for something to be asked, and has it obeyed."""
        with self._condition:
            if not self._asked:
                self._condition.wait(timeout_s)
            asked = list(self._asked)
            self._asked.clear()
        if not asked:
            return
        lead_s /= pace.wall_s(1.0)
        at_s = pace.now_s()
        if not pace.held:
            # Rounded up to what people like to read; kernels were not there yet.
            at_s = min(pace.end_s, max(0.0, math.floor((at_s + lead_s) * 1e3 + 1.0) / 1e3))
        orders = [order for make, _ in asked for order in make(at_s)]
        for order in orders:
            if not order.is_fault:
                pace.obey(order)
        hosts, of = send(orders)
        self._orders += (order for order in orders if order.is_fault)
        applied = Applied(at_s, hosts, of)
        for order in orders:
            if order.number in self.faults:
                known = self.faults[order.number]
                known.applied = applied
                known.state = "healed" if order.op == "heal" else "active"
            match order.op:
                case "hold":
                    self.phase = "paused"
                case "release":
                    self.phase = "running"
                case "end":
                    self.phase = "stopping"
        self._changed()
        for _, answer in asked:
            answer.set_result(applied)

    def take_orders(self) -> Iterator[Order]:
        """Hands over the orders that are in effect and not yet in the journal."""
        while self._orders:
            yield self._orders.popleft()

    def follow(self, changes: list[FaultChange], now_s: float) -> None:
        """Learns what the journal says: faults of the scenario begin, times run out."""
        self._now_s = now_s
        for change in changes:
            known = self.faults[change.number]
            if change.op == "heal":
                known.ended_s = change.at_s
                if known.state != "healed":
                    known.state = "expired"
            elif known.state == "scheduled":
                known.state = "active"
        if changes:
            self._changed()

    def audit(self, change: FaultChange) -> dict[str, Any]:
        """Returns what events.jsonl says of a change besides the change itself."""
        known = self.faults[change.number]
        told: dict[str, Any] = {"source": known.source, "n": len(known.resolved)}
        if known.note:
            told["note"] = known.note
        if change.op == "heal" and known.state == "expired":
            told["by"] = "ttl"
        if known.applied is not None:
            told["applied"] = [known.applied.hosts, known.applied.of]
        return told

    # Inside

    def _changed(self) -> None:
        self.version += 1
        self.on_change()

    def _must_run(self) -> None:
        if self.phase not in ("running", "paused"):
            raise Refused(409, f"the run is {self.phase}")

    def _active(self, number: int) -> Known:
        known = self.faults.get(number)
        if known is None:
            raise Refused(404, f"there is no fault {number}")
        if known.state != "active":
            raise Refused(409, f"fault {number} is {known.state}")
        self._must_run()
        return known

    def _extend(self, known: Known, fault: AnyFault, shorten: bool = False) -> Future[Applied]:
        def extend(at_s: float) -> list[Order]:
            until_s = at_s + (fault.for_s or 0.0)
            if not shorten:
                until_s = max(until_s, known.fault.until_s)
            known.fault = _lasting(known.fault, known.fault.at_s, until_s)
            return [Order(at_s, "extend", known.id, known.fault)]

        return self._ask(extend)

    def _ask(self, make: Callable[[float], list[Order]]) -> Future[Applied]:
        answer: Future[Applied] = Future()
        with self._condition:
            self._asked.append((make, answer))
            self._condition.notify()
        return answer


def _same(a: AnyFault, b: AnyFault) -> bool:
    times = {"at_s", "for_s"}
    return type(a) is type(b) and a.model_dump(exclude=times) == b.model_dump(exclude=times)


def _lasting(fault: AnyFault, at_s: float, until_s: float) -> AnyFault:
    for_s = None if math.isinf(until_s) else until_s - at_s
    return fault.model_copy(update={"at_s": at_s, "for_s": for_s})


def _links(plan: Plan) -> Iterator[tuple[str, str, LinkKind]]:
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
