"""The queues of the TODG-style protocol: a backlog with bounded sojourn times, admission.

`Backlog` holds one flow's tasks at its user, or one class's at a server, first in first out, and
drops tasks at the head where keeping them could break the bound of its `QueueRule`
(Neely, arXiv 1006.4649; docs/todg.md, The bound). `Admission` is the virtual queue G.

The order within a slot matters, and is the caller's duty: `take` what was served, `settle` once,
then `push` what arrives. Pushing before `settle` would break the bounds by one slot's arrivals.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from agents.todg.rules import ROUNDING, QueueRule

T = TypeVar("T")


class Backlog(Generic[T]):
    """Tasks in order of arrival, each with the slot in which it came here."""

    def __init__(self, rule: QueueRule) -> None:
        self.rule = rule
        self.persistence = 0.0  # Z, as of the start of the slot
        self._waiting: deque[tuple[T, int]] = deque()
        self.served = 0  # taken since the last `settle`

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return (task for task, _ in self._waiting)

    @property
    def urgency(self) -> float:
        """Returns weight (Q + Z), the value of moving one task."""
        return self.rule.weight * (len(self._waiting) + self.persistence)

    @property
    def first(self) -> T:
        """The oldest task; IndexError where there is none."""
        return self._waiting[0][0]

    def head(self) -> T | None:
        """Returns the oldest task, without taking it; None when empty."""
        return self._waiting[0][0] if self._waiting else None

    def push(self, task: T, slot: int) -> None:
        """Takes in a task that arrives in `slot`; it can be served from the next slot on."""
        self._waiting.append((task, slot))

    @property
    def head_slot(self) -> int:
        """The slot in which the oldest task came; there is one."""
        return self._waiting[0][1]

    def put_back(self, task: T, slot: int) -> None:
        """Returns a task taken since the last `settle`: it was not served after all."""
        self._waiting.appendleft((task, slot))
        self.served -= 1

    def take(self) -> T:
        """Hands out the oldest task: it was served. IndexError where there is none."""
        task, _ = self._waiting.popleft()
        self.served += 1
        return task

    def settle(self, slot: int) -> list[T]:
        """Ends the service of a slot: drops what has to go, moves Z on; returns the dropped.

        A drop costs V beta and gains weight (Q + Z) of drift, so it pays while Q + Z > T. It is
        the head that goes: the proof of the delay bound needs that.
        """
        carried = max(self.persistence - self.served, 0.0)
        self.served = 0
        dropped: list[T] = []
        while self._waiting:
            held = self._held(carried, slot)
            if len(self._waiting) + held <= self.rule.threshold + ROUNDING:
                self.persistence = held + self.rule.rate_min
                return dropped
            dropped.append(self._waiting.popleft()[0])
            carried = max(carried - 1.0, 0.0)
        self.persistence = 0.0
        return dropped

    def _held(self, carried: float, slot: int) -> float:
        """Returns Z before this slot's increment, given what is carried over from before."""
        missed = max(slot - self._waiting[0][1] - 1, 0)  # slots in which the head was passed over
        match self.rule.mode:
            case "hol":
                return self.rule.rate_min * missed
            case "capped":
                return min(carried, self.rule.rate_min * missed)
            case "persistent":
                return carried

    def remove(self, is_gone: Callable[[T], bool]) -> list[T]:
        """Takes out tasks anywhere in the queue, such as those past their deadline (watchdog).

        The oldest task need not be at the head: a server's queue is in order of arrival there.
        """
        if not any(is_gone(task) for task, _ in self._waiting):
            return []
        gone = [task for task, _ in self._waiting if is_gone(task)]
        self._waiting = deque(entry for entry in self._waiting if not is_gone(entry[0]))
        return gone

    @property
    def is_within_bounds(self) -> bool:
        """Says whether theorem 1 holds now: Q <= T + inflow, Z <= T + eps."""
        rule = self.rule
        return (
            len(self._waiting) <= rule.backlog_max + ROUNDING
            and self.persistence <= rule.persistence_max + ROUNDING
        )


class Admission:
    """The auxiliary queue G of one flow: admit while the backlog is not above it.

    With the utility beta u ln(1 + x / u) the target rate is gamma = clip(u (T / G - 1), 0, A_max);
    G <= T + A_max always.

    Where Z is the head's age (`hol`) a task is turned away, too, if the rule would drop it by the
    time it is the head, at the pace of late. It would have waited in vain; the others are served as
    before, from a shorter queue.
    """

    def __init__(self, rule: QueueRule, rate: float) -> None:
        self.rule = rule
        self.rate = rate  # u, tasks per slot
        self.credit = 0.0  # G
        self.pace = float(rule.inflow_max)  # tasks served per slot with a backlog, a moving average
        self._window_slots = rule.wait_max_slots  # of that average: as long as a task may stay

    def admit(self, arrivals: int, backlog: int, served: int) -> int:
        """Returns how many of a slot's arrivals are let in, at most A_max; moves G on.

        `backlog` is Q at the start of the slot, before the `served` of it left.
        """
        if backlog:
            self.pace += (served - self.pace) / self._window_slots
        is_open = backlog <= self.credit and self._would_be_served(backlog)
        admitted = min(arrivals, self.rule.inflow_max) if is_open else 0
        self.credit = max(self.credit + self.target() - admitted, 0.0)
        return admitted

    def target(self) -> float:
        """Returns gamma, which maximises V phi(gamma) - theta G gamma over [0, A_max]."""
        if self.credit <= 0.0:
            return float(self.rule.inflow_max)
        wish = self.rate * (self.rule.threshold / self.credit - 1.0)
        return min(max(wish, 0.0), float(self.rule.inflow_max))

    def _would_be_served(self, backlog: int) -> bool:
        """Foresees Q + Z <= T for who comes behind `backlog` tasks: Z = eps Q / pace by then."""
        rule = self.rule
        if rule.mode != "hol":
            return True
        return backlog * (self.pace + rule.rate_min) <= rule.threshold * self.pace

    @property
    def is_within_bounds(self) -> bool:
        return self.credit <= self.rule.backlog_max + ROUNDING
