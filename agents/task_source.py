"""Where a user's tasks come from: what they are like, and when the next one is due.

Every user has one, whatever its access.
"""

import math

from msgspec import Struct

from agents.api import CLOCK, NodeId, Send
from agents.messages import Tempo, Wake
from agents.reasons import UserCause
from agents.tasks import Arrivals, AtWill, OnGrant, Task, Uniform

GENERATE = UserCause.GENERATE


class Demand(Struct, frozen=True):
    """What one user's tasks are like. `images` bounds the index a task may carry (exclusive)."""

    arrivals: Arrivals
    priority: int
    size_bits: float
    images: int
    deadline_s: float = math.inf
    expires: bool = False
    work: float = 1.0


class TaskSource:
    """Makes one user's tasks, numbered from `generated`, and asks to be woken for each."""

    __slots__ = (
        "_demand",
        "_next_s",
        "_tempo",
        "_timer_s",
        "_uniform",
        "_user",
        "_void_s",
        "_wait_s",
        "at_will",
        "generated",
        "on_grant",
        "size_bits",
    )

    def __init__(self, user: NodeId, demand: Demand, uniform: Uniform, generated: int) -> None:
        self._user = user
        self._demand = demand
        self._uniform = uniform
        self.generated = generated
        self.size_bits = demand.size_bits
        self.on_grant = isinstance(demand.arrivals, OnGrant)
        # After the end of a task, where they are generated at will.
        self.at_will = isinstance(demand.arrivals, AtWill)
        self._wait_s = demand.arrivals.wait_s if isinstance(demand.arrivals, AtWill) else None
        self._next_s = math.inf  # when the next task is due, by the clock as it is now,
        self._timer_s = math.inf  # and as it was when the timer for it was set
        self._void_s: list[float] = []  # when it would have been due before the tempo changed
        self._tempo = 1.0

    def start(self, now_s: float) -> Send:
        self._next_s = self._timer_s = self._demand.arrivals.next_s(0, now_s, self._uniform)
        return self._wake(self._next_s)

    def is_due(self, wake: Wake) -> bool:
        """Says whether a wake-up to generate a task holds: what came since may have voided it."""
        if self.at_will and wake.key != self.generated:
            return False  # a time-out, and news came before it
        if self._void_s and wake.at_s in self._void_s:
            self._void_s.remove(wake.at_s)
            return False
        return True

    def make(self, now_s: float) -> Task:
        demand = self._demand
        task = Task(
            self._user,
            self.generated,
            now_s,
            demand.priority,
            demand.size_bits,
            int(self._uniform() * demand.images),
            now_s + demand.deadline_s,
            demand.expires,
            demand.work,
        )
        self.generated += 1
        return task

    def following(self, now_s: float) -> Send:
        """Asks to be woken for the task after the one made now."""
        at_s = self._demand.arrivals.next_s(self.generated, now_s, self._uniform)
        if self._tempo != 1.0:
            at_s = now_s + (at_s - now_s) / self._tempo
        self._next_s = self._timer_s = at_s
        return Send(CLOCK, Wake(at_s, GENERATE, self.generated))

    def after(self, ended_seq: int, now_s: float, wait_min_s: float = 0.0) -> list[Send]:
        """Asks to be woken for the task that a user makes at will when its last one has ended."""
        if self._wait_s is None or ended_seq != self.generated - 1:
            return []
        return [self._wake(now_s + max(self._wait_s, wait_min_s))]

    def hurry(self, tempo: Tempo, now_s: float) -> list[Send]:
        """Changes the speed at which the time between tasks passes, of the gap now on as well."""
        self._next_s += tempo.moved_s
        if tempo.factor == self._tempo:
            return []  # a clock set anew moves no timer
        self._void_s.append(self._timer_s)
        left_s = (self._next_s - now_s) * self._tempo / tempo.factor
        self._tempo = tempo.factor
        self._next_s = self._timer_s = now_s + left_s
        return [self._wake(self._next_s)]

    def _wake(self, at_s: float) -> Send:
        return Send(CLOCK, Wake(at_s, GENERATE, self.generated))
