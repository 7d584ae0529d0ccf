"""Emulated time from the wall clock, and the honesty about being late.

An event handled within `tick_s` of its due time is stamped with its due time: that is the declared
resolution of a real-time run, and it keeps the wake-up error of timers and the transport between
hosts out of the measured delays. An event that is later is stamped with the time it is, so real
overload shows in the metrics. Both count in the lateness record.
"""

import math
import time

from emulator.faults.timeline import Order

BUCKETS_S = tuple(1e-4 * 10 ** (i / 8) for i in range(41))  # 0.1 ms to 10 s, 33 % apart


class Lateness:
    """A histogram of how late events were handled, in emulated seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)

    def add(self, late_s: float) -> None:
        bucket = 0 if late_s <= BUCKETS_S[0] else math.ceil(8 * math.log10(late_s / BUCKETS_S[0]))
        self.counts[min(bucket, len(BUCKETS_S))] += 1

    def merge(self, counts: list[int]) -> None:
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]

    def quantile_s(self, q: float) -> float:
        """Returns the upper edge of the bucket that holds the quantile; 0 when nothing ran."""
        total = sum(self.counts)
        if total == 0:
            return 0.0
        below = 0
        for edge_s, count in zip(BUCKETS_S, self.counts, strict=False):
            below += count
            if below >= q * total:
                return edge_s
        return math.inf


class Pace:
    """Emulated now = (wall - epoch) / time_scale; `time_scale` 2 takes twice as long as reality.

    Before `begin` emulated time stands at minus infinity; it stops at `end_s`, and in between
    where it is held.
    """

    def __init__(self, time_scale: float, tick_s: float, end_s: float) -> None:
        self._origin_s = math.inf
        self._time_scale = time_scale
        self._tick_s = tick_s
        self.end_s = end_s
        self.held_s = math.inf
        self._floor_s = -math.inf  # hosts release a hold a moment ahead: time waits for it
        self.lateness = Lateness()

    def begin(self, epoch_s: float) -> None:
        """Lets emulated time be zero at `epoch_s`, a `time.time()`.

        The wall clock is read once: hosts on several machines agree as well as their clocks do,
        and from here on the monotonic clock counts.
        """
        self._origin_s = time.monotonic() + (epoch_s - time.time())

    def now_s(self) -> float:
        run_s = (time.monotonic() - self._origin_s) / self._time_scale
        return min(self.end_s, self.held_s, max(run_s, self._floor_s))

    @property
    def held(self) -> bool:
        """Whether time stands still."""
        return self.now_s() >= self.held_s

    def obey(self, order: Order) -> None:
        """Holds, releases or ends emulated time."""
        match order.op:
            case "hold":
                self.held_s = order.at_s
            case "release":
                self._floor_s = order.at_s
                self.begin(order.wall_s - self.wall_s(order.at_s))
                self.held_s = math.inf
            case "end":
                self.end_s = order.at_s

    def wall_s(self, emulated_s: float) -> float:
        """Converts a span of emulated time to one of wall time."""
        return emulated_s * self._time_scale

    def stamp(self, due_s: float) -> float:
        """Returns the time an event handled now counts as, and books how late it is."""
        now_s = self.now_s()
        late_s = now_s - due_s
        self.lateness.add(late_s)
        return due_s if late_s <= self._tick_s else now_s


class VirtualPace(Pace):
    """Emulated time that whoever steps the run moves on: no clock ties it, nothing holds it."""

    def __init__(self, end_s: float) -> None:
        super().__init__(1.0, 0.0, end_s)
        self.at_s = 0.0

    def now_s(self) -> float:
        return min(self.end_s, self.at_s)
