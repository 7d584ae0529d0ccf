"""Tasks and the processes that generate them.

A task is a token: at every instant exactly one place holds it (a node, a queue, a message on its
way), and whoever holds it when it ends reports that end. Conservation follows from this.
"""

import math
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

HEADER_BITS = 192.0  # 24 bytes that every message has: type, times, source, target, number

Uniform = Callable[[], float]
"""A named random stream: each call draws from [0, 1). Nodes are handed theirs, never make one."""


class Task(Struct, frozen=True, gc=False):
    """One image to classify, named by (user, seq).

    `priority` 0 is the most urgent. `due_s` is the deadline as an instant (inf: none); with
    `expires` a task that is still waiting at `due_s` is given up instead of served late. `work` is
    how many times the service of a plain task it takes.
    """

    user: str
    seq: int
    born_s: float
    priority: int
    size_bits: float
    image: int
    due_s: float = math.inf
    expires: bool = False
    work: float = 1.0


class Arrivals(Protocol):
    """When a user generates its tasks."""

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        """Returns the instant of task number `count` (from 0); `now_s` is that of the one before,
        0 before the first. inf: never."""


class Poisson(Struct, frozen=True):
    """Independent exponential gaps of mean 1/rate_hz."""

    rate_hz: float

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        return now_s - math.log(1.0 - uniform()) / self.rate_hz


class Periodic(Struct, frozen=True):
    """Equal gaps; the first task falls at a random phase, so that users do not beat in step."""

    period_s: float

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        return now_s + (self.period_s if count else self.period_s * uniform())


class AtWill(Struct, frozen=True):
    """Generate-at-will: a fresh task `wait_s` after the previous one ended (0: zero-wait).

    The end of a task that was lost far away is never told to its user, so after `timeout_s`
    without news the user generates the next one all the same.
    """

    wait_s: float
    timeout_s: float

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        return now_s + self.timeout_s if count else now_s


class OnGrant(Struct, frozen=True):
    """A fresh task for every granted slot that the user's policy wants to use."""

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        return math.inf


class Trace(Struct, frozen=True):
    """Recorded instants, never falling, played once."""

    times_s: tuple[float, ...]

    def next_s(self, count: int, now_s: float, uniform: Uniform) -> float:
        return self.times_s[count] if count < len(self.times_s) else math.inf
