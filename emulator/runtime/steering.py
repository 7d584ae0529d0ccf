"""What people ask of a run while it goes on: faults, pause, stop. Used by two threads.

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

from emulator.build.known_fault import Applied, Known, lasting
from emulator.build.plan import Plan
from emulator.checks.fault_words import NOT_BY_HAND, Conflict, Invalid, NotFound, Refused
from emulator.faults.activation import Change, FaultOrder, after
from emulator.faults.fold import AnyFault
from emulator.runtime.fault_resolver import FaultResolver
from emulator.scenario.occurrences import as_settled
from emulator.sim.clock import ClockOrder, Order, Pace

ACTIVE_MAX = 200
CHOICE = {"target", "a", "b", "mode", "value"}  # what says whom a fault hits
Phase = Literal["starting", "running", "paused", "stopping", "ended"]
Send = Callable[[list[Order]], tuple[int, int]]
"""Has all hosts obey; returns how many of how many do."""


class Steering:
    """Safe to ask from any thread; `turn` and `follow` are for the thread that drives the run."""

    def __init__(self, plan: Plan, can_pause: bool = True) -> None:
        """`can_pause`: time goes by a clock, which can be held."""
        self._can_pause = can_pause
        self.phase: Phase = "starting"
        self.faults: dict[int, Known] = {}
        self.active: Mapping[int, AnyFault] = {}  # with their targets by name
        self.stop_reason = ""
        self.wants_stop = False  # asked for, and not in effect yet
        self.waits_for = ""  # what holds the run up, in words: hosts that are silent
        self.version = 0  # rises with every change that viewers want to see
        self._on_change: Callable[[], None] = lambda: None
        self._plan = plan
        self._asked: deque[tuple[Callable[[float], list[Order]], Future[Applied]]] = deque()
        self._orders: deque[FaultOrder] = deque()  # in effect, not yet in the journal
        self._condition = threading.Condition()
        self._now_s = 0.0
        self._resolver = FaultResolver(plan)
        first = {order.number: order.fault for order in reversed(plan.orders)}
        for number, fault in enumerate(plan.scenario.faults):
            self.faults[number] = self._resolver.known(number, fault, "scenario", first.get(number))

    # Asked by people

    def inject(
        self, given: Mapping[str, Any], source: str, client: str = ""
    ) -> tuple[Known, Future[Applied], bool]:
        """Begins a fault; the same one again makes it last longer (True). Refused where bad."""
        fault = self._resolver.read(given, self._now_s)
        self._must_run()
        with self._condition:
            active = [
                each for each in self.faults.values() if each.state in ("active", "scheduled")
            ]
            for known in active:
                if known.source != "scenario" and known.is_like(fault):
                    return known, self._extend(known, fault), True
            if len(active) >= ACTIVE_MAX:
                raise Invalid(f"{ACTIVE_MAX} faults are active already; heal some first")
            known = self._next(fault, source, client)
            self.faults[known.id] = known

        def begin(at_s: float) -> list[Order]:
            if known.settled is None:
                return []
            known.begin(fault.model_copy(update={"at_s": at_s}), known.resolved)
            settled = known.settled.model_copy(update={"at_s": at_s})
            return [self._decided(FaultOrder(at_s, "begin", known.id, settled))]

        def give_up(answer: Future[Applied]) -> None:
            if known.state == "scheduled" and (answer.cancelled() or answer.exception()):
                known.end("failed")
                self._changed()

        answer = self._ask(begin)
        answer.add_done_callback(give_up)
        self._changed()  # viewers see it at once, and that it is not in effect yet
        return known, answer, False

    def preview(self, given: Mapping[str, Any], source: str) -> Known:
        """Says whom a fault would hit if it were injected next; begins nothing."""
        return self._next(self._resolver.read(given, self._now_s), source)

    def patch(self, number: int, changes: Mapping[str, Any]) -> tuple[Known, Future[Applied]]:
        """Changes what an active fault does, or (`for_s`, from now on) how long it lasts."""
        known = self._active(number)
        if "type" in changes:
            raise Invalid("a fault keeps its type; heal it and inject another", "type")
        if changes.get("for_s", 0.0) is None:
            raise Invalid("for_s: say how many seconds from now on; healing ends it", "for_s")
        asked = self._patched(known, changes)
        if "for_s" in changes and len(changes) == 1:
            return known, self._extend(known, asked, shorten=True)
        if "probability" in changes:
            raise Invalid("probability: this fault happens already", "probability")

        def change(at_s: float) -> list[Order]:
            _must_last(known, at_s)
            # Since it was asked another change may have taken effect: this one is made on top.
            fault = self._patched(known, changes)
            if CHOICE & changes.keys():
                fault = fault.model_copy(update={"probability": 1.0})
                settled = self._resolver.settle(fault, number)
                assert settled is not None, "it is certain"
            else:
                settled = as_settled(fault, self.active[number])
            until_s = at_s + (fault.for_s or 0.0) if "for_s" in changes else known.fault.until_s
            known.change(lasting(fault, at_s, until_s), self._resolver.resolve(settled))
            settled = lasting(settled, at_s, until_s)
            return [self._decided(FaultOrder(at_s, "patch", number, settled))]

        return known, self._ask(change)

    def heal(self, numbers: list[int] | None = None) -> tuple[list[Known], Future[Applied]]:
        """Heals the given faults; None: all that are active when it takes effect.

        The list is right once the answer is there.
        """
        known = [] if numbers is None else [self._active(number) for number in numbers]
        self._must_run()

        def heal(at_s: float) -> list[Order]:
            if numbers is None:
                known.extend(self._active_at(at_s))
            for each in known:
                _must_last(each, at_s)
            return [self._healed(each, at_s) for each in known]

        return known, self._ask(heal)

    def pause(self) -> Future[Applied]:
        self._must_run()
        if not self._can_pause:
            raise Conflict("virtual time stands still between two steps; take the next later")

        def hold(at_s: float) -> list[Order]:
            self.phase = "paused"
            return [ClockOrder(at_s, "hold")]

        return self._ask(hold)

    def resume(self) -> Future[Applied]:
        if self.phase != "paused":
            raise Conflict(f"the run is {self.phase}, not paused")

        def release(at_s: float) -> list[Order]:
            self.phase = "running"
            return [ClockOrder(at_s, "release", wall_s=time.time() + 0.1)]

        return self._ask(release)

    def stop(self, reason: str) -> Future[Applied]:
        """Ends the run early: what is active is healed, the rest is flushed and reported."""
        self._must_run()
        self.wants_stop = True

        def end(at_s: float) -> list[Order]:
            self.stop_reason = f"{reason} at {at_s:g} s"
            self.phase, self.wants_stop = "stopping", False
            healed = [self._healed(each, at_s) for each in self._active_at(at_s)]
            return [*healed, ClockOrder(at_s, "end")]

        return self._ask(end)

    # The run's side

    def tell_changes_to(self, on_change: Callable[[], None]) -> None:
        """Has `on_change` called, in whatever thread, after every change that viewers see."""
        self._on_change = on_change

    def wait_for(self, what: str) -> None:
        """Tells people what the run waits for; nothing: it goes on."""
        self.waits_for = what
        self._changed()

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
        """Waits so long for something to be asked, and has it obeyed.

        Since it was asked a fault may have run out, or another order may have healed it or stopped
        the run: what cannot be done any more is Refused, each asker for itself.
        """
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
        made: list[tuple[list[Order] | Refused, Future[Applied] | None]] = []
        for make, answer in asked:
            # Who gave up gets no answer, and has what it asked for all the same.
            waiting = answer if answer.set_running_or_notify_cancel() else None
            made.append((self._made(make, at_s), waiting))
        orders = [order for each, _ in made if not isinstance(each, Refused) for order in each]
        for order in orders:
            if isinstance(order, ClockOrder):
                pace.obey(order)
        hosts, of = send(orders) if orders else (0, 0)
        applied = Applied(at_s, hosts, of)
        for order in orders:
            if isinstance(order, FaultOrder):
                self._orders.append(order)
                self.faults[order.number].obeyed(applied)
        self._changed()
        for each, waiting in made:
            if waiting is None:
                continue
            if isinstance(each, Refused):
                waiting.set_exception(each)
            else:
                waiting.set_result(applied if each else Applied(at_s, 0, 0))

    def take_orders(self) -> Iterator[FaultOrder]:
        """Hands over the orders that are in effect and not yet in the journal."""
        while self._orders:
            yield self._orders.popleft()

    def follow(self, changes: list[Change], now_s: float) -> None:
        """Learns what goes into the journal: faults of the scenario begin, times run out."""
        self._now_s = now_s
        for change in changes:
            known = self.faults[change.number]
            if change.op == "heal":
                known.end("expired", change.at_s)
            elif change.op == "begin" and known.source == "scenario":
                fault = self._plan.scenario.faults[change.number]
                again = fault.model_copy(update={"at_s": change.at_s})
                known.begin(again, self._resolver.resolve(change.fault))
            else:
                continue  # it was decided here
            self.active = after(self.active, change.op, change.number, change.fault)
        if changes:
            self._changed()

    # Inside

    def _next(self, fault: AnyFault, source: str, client: str = "") -> Known:
        """Returns the fault as the next one injected; its number names what is drawn for it."""
        number = len(self.faults)
        settled = self._resolver.settle(fault, number)
        return self._resolver.known(number, fault, source, settled, client)

    def _patched(self, known: Known, changes: Mapping[str, Any]) -> AnyFault:
        """Returns the fault as it is now with these changes; Refused where they are bad."""
        old = {k: v for k, v in known.fault.described().items() if k not in NOT_BY_HAND}
        ttl_max_s = math.inf if old.get("for_s") else None
        return self._resolver.read(changes, self._now_s, ttl_max_s, old)

    def _changed(self) -> None:
        with self._condition:  # both threads change things
            self.version += 1
        self._on_change()

    def _must_run(self) -> None:
        if self.phase not in ("running", "paused"):
            raise Conflict(f"the run is {self.phase}")

    def _active(self, number: int) -> Known:
        known = self.faults.get(number)
        if known is None:
            raise NotFound(f"there is no fault {number}")
        if known.state != "active":
            raise Conflict(f"fault {number} is {known.state}")
        self._must_run()
        return known

    def _made(self, make: Callable[[float], list[Order]], at_s: float) -> list[Order] | Refused:
        """Returns the orders that hold from `at_s`, or why there are none."""
        try:
            self._must_run()
            return make(at_s)
        except Refused as refused:
            return refused

    def _decided(self, order: FaultOrder) -> FaultOrder:
        """Has an order known here before it is obeyed."""
        known = self.active.get(order.number) if order.fault is None else order.fault
        assert known is not None, "only what is active is healed"
        self.active = after(self.active, order.op, order.number, known)
        return order

    def _healed(self, known: Known, at_s: float) -> FaultOrder:
        known.end("healed")
        return self._decided(FaultOrder(at_s, "heal", known.id))

    def _active_at(self, at_s: float) -> list[Known]:
        """Returns the active faults that `at_s` finds."""
        return [each for each in self.faults.values() if each.lasts(at_s)]

    def _extend(self, known: Known, fault: AnyFault, shorten: bool = False) -> Future[Applied]:
        def extend(at_s: float) -> list[Order]:
            _must_last(known, at_s)
            until_s = at_s + (fault.for_s or 0.0)
            if not shorten:
                if not known.is_like(fault):
                    raise Conflict(f"fault {known.id} was changed meanwhile; inject it again")
                until_s = max(until_s, known.fault.until_s)
            known.change(lasting(known.fault, known.fault.at_s, until_s), known.resolved)
            settled = lasting(self.active[known.id], known.fault.at_s, until_s)
            return [self._decided(FaultOrder(at_s, "extend", known.id, settled))]

        return self._ask(extend)

    def _ask(self, make: Callable[[float], list[Order]]) -> Future[Applied]:
        answer: Future[Applied] = Future()
        with self._condition:
            self._asked.append((make, answer))
            self._condition.notify()
        return answer


def _must_last(known: Known, at_s: float) -> None:
    if not known.lasts(at_s):
        raise Conflict(f"fault {known.id} is over")
