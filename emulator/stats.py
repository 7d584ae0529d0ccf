"""The numbers of one user group, and the histogram they stand on.

Memory does not grow with the number of tasks: quantiles come from buckets 2 % apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from agents.bodies import TaskEnd
from agents.freshness import AgeIntegral, AgeTracker

ALL = "all"
STAGES = ("uplink", "queue", "compute", "downlink")
METRICS: dict[str, str] = {
    "aoi_mean_s": "age of information, averaged over time and users",
    "paoi_mean_s": "peak age of information, mean",
    "paoi_weighted_s": "peak age, mean of each user, then over users by their weight",
    "paoi_p95_s": "peak age of information, 95th percentile",
    "delay_mean_s": "birth of a task to receipt of its result, mean",
    "delay_p50_s": "the same, median",
    "delay_p95_s": "the same, 95th percentile",
    "uplink_mean_s": "birth to arrival at the server, mean",
    "queue_mean_s": "waiting at the server, mean",
    "compute_mean_s": "service at the server, mean",
    "downlink_mean_s": "end of service to receipt, mean",
    "miss_ratio": "share of ended tasks with a deadline that did not meet it",
    "drop_ratio": "share of ended tasks that brought no result",
    "accuracy": "share of results that are right",
    "fresh_correct_hz": "right results that brought news in time, per second and user",
    "backlog_mean": "tasks under way, averaged over time (Little's law)",
    "utility": "what came back on time is worth: sum of value x rate x ln(1 + got / rate)",
    "stay_max_s": "birth to end of service, or to being given up, longest",
    "overdue": "tasks neither finished nor given up by their deadline",
    "throughput_hz": "results per second, all users together",
    "completed": "tasks that brought a result",
    "ended": "tasks that ended in any way",
}


class Histogram:
    """Counts of positive values in buckets 2 % apart; mean exact, quantiles within 1 %."""

    GROWTH = math.log(1.02)
    SMALLEST = 1e-9  # anything below counts as it
    BATCH = 4096  # values are put into buckets together: ten times cheaper than one by one

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()  # bucket b holds 1.02^b up to 1.02^(b+1)
        self._total = 0.0
        self._fresh: list[float] = []  # not yet in their buckets
        self.add: Callable[[float], None] = self._fresh.append
        """Takes a value in. Whoever adds many calls `settle` now and then."""

    def merge(self, other: "Histogram") -> None:
        """Adds what another histogram counted."""
        for histogram in (self, other):
            histogram.settle(1)
        self._buckets.update(other._buckets)
        self._total += other._total

    @property
    def count(self) -> int:
        return self._buckets.total() + len(self._fresh)

    @property
    def total(self) -> float:
        self.settle(1)
        return self._total

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """Returns the middle of the bucket that holds the quantile; None when empty."""
        self.settle(1)
        below, count = 0, self.count
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= q * count:
                return math.exp((bucket + 0.5) * self.GROWTH)
        return None

    def distribution(self) -> list[tuple[float, float]]:
        """Returns (upper edge, share of values below it) of every bucket in use, rising."""
        self.settle(1)
        below, count = 0, self.count
        points = []
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            points.append((math.exp((bucket + 1) * self.GROWTH), below / count))
        return points

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """Returns how many values lie below each bound, to the resolution of the buckets."""
        self.settle(1)
        return [
            sum(
                n for bucket, n in self._buckets.items() if (bucket + 0.5) * self.GROWTH < log_bound
            )
            for log_bound in map(math.log, bounds)
        ]

    def settle(self, at_least: int = BATCH) -> None:
        """Puts the values added since into their buckets, once they are that many."""
        fresh = self._fresh
        if len(fresh) >= at_least:
            self._total += math.fsum(fresh)
            logs = np.log(np.maximum(fresh, self.SMALLEST))
            buckets, counts = np.unique(np.floor(logs / self.GROWTH), return_counts=True)
            self._buckets.update(dict(zip(map(int, buckets), map(int, counts), strict=True)))
            fresh.clear()


class GroupStats:
    """The running numbers of one user group, or of several together."""

    def __init__(
        self,
        priority: int | None,
        weight: float = 1.0,
        value: float = 1.0,
        rate_hz: float = 0.0,
    ) -> None:
        self.priority = priority  # None: several groups together
        self.weight = weight  # of each user, as are:
        self.value = value  # what a task is worth on time
        self.rate_hz = rate_hz  # declared; 0: none is
        self.stay_max_s = 0.0  # of tasks with a deadline, warm-up included, as is:
        self.overdue = 0  # those neither finished nor given up by then
        self.parts: list[GroupStats] = [self]
        self.users: list[AgeTracker] = []
        self.ages = AgeIntegral(0)
        self.peak_s = Histogram()
        self.delay_s = Histogram()
        self.stage_s = [0.0] * len(STAGES)
        self.outcomes: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.with_deadline = 0
        self.missed = 0
        self.answered = 0
        self.correct = 0
        self.fresh_correct = 0
        self.area_at_warmup_s2 = 0.0
        self.stays_s = 0.0  # birth to end, all tasks

    @classmethod
    def together(cls, groups: Iterable["GroupStats"]) -> "GroupStats":
        """Adds up several groups."""
        everyone = cls(None)
        everyone.parts = []
        for group in groups:
            everyone.users += group.users
            everyone.parts += group.parts
            everyone.ages.add(group.ages)
            everyone.peak_s.merge(group.peak_s)
            everyone.delay_s.merge(group.delay_s)
            everyone.stage_s = [a + b for a, b in zip(everyone.stage_s, group.stage_s, strict=True)]
            everyone.outcomes.update(group.outcomes)
            everyone.drops.update(group.drops)
            everyone.with_deadline += group.with_deadline
            everyone.missed += group.missed
            everyone.answered += group.answered
            everyone.correct += group.correct
            everyone.fresh_correct += group.fresh_correct
            everyone.area_at_warmup_s2 += group.area_at_warmup_s2
            everyone.stays_s += group.stays_s
            everyone.stay_max_s = max(everyone.stay_max_s, group.stay_max_s)
            everyone.overdue += group.overdue
        return everyone

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        outcome, ended_s, due_s = end.outcome, end.ended_s, end.due_s
        self.outcomes[outcome] += 1
        self.stays_s += ended_s - end.born_s
        if due_s < math.inf:
            self.with_deadline += 1
            self.missed += ended_s > due_s or outcome != "completed"
        if outcome != "completed":
            self.drops[end.reason] += 1
            return
        born_s, arrived_s = end.born_s, end.arrived_s
        started_s, finished_s = end.started_s, end.finished_s
        self.delay_s.add(ended_s - born_s)
        stage_s = self.stage_s
        stage_s[0] += arrived_s - born_s
        stage_s[1] += started_s - arrived_s
        stage_s[2] += finished_s - started_s
        stage_s[3] += ended_s - finished_s
        if peak_s is not None:
            self.peak_s.add(peak_s)
        if end.correct is not None:
            self.answered += 1
            self.correct += end.correct
            self.fresh_correct += end.correct and peak_s is not None and ended_s <= due_s

    def summary(self, now_s: float, span_s: float) -> dict[str, float | int | None]:
        """Returns every metric by name; None where nothing was seen to measure."""
        completed, ended = self.outcomes["completed"], self.outcomes.total()
        users, area_s2 = len(self.users), self.ages.until_s2(now_s) - self.area_at_warmup_s2
        stages = {
            f"{stage}_mean_s": ratio(total_s, completed)
            for stage, total_s in zip(STAGES, self.stage_s, strict=True)
        }
        return {
            "aoi_mean_s": ratio(area_s2, users * span_s),
            "paoi_mean_s": self.peak_s.mean,
            "paoi_weighted_s": self._paoi_weighted_s(now_s),
            "paoi_p95_s": self.peak_s.quantile(0.95),
            "delay_mean_s": self.delay_s.mean,
            "delay_p50_s": self.delay_s.quantile(0.5),
            "delay_p95_s": self.delay_s.quantile(0.95),
            **stages,
            "miss_ratio": ratio(self.missed, self.with_deadline),
            "drop_ratio": ratio(ended - completed, ended),
            "accuracy": ratio(self.correct, self.answered),
            "fresh_correct_hz": ratio(self.fresh_correct, users * span_s)
            if self.answered
            else None,
            "backlog_mean": ratio(self.stays_s, span_s),
            "utility": self._utility(span_s),
            "stay_max_s": self.stay_max_s or None,
            "overdue": self.overdue if self.with_deadline else None,
            "throughput_hz": ratio(completed, span_s),
            "completed": completed,
            "ended": ended,
        }

    def _utility(self, span_s: float) -> float | None:
        """Proportional fairness by value: sum of value rate ln(1 + on-time rate / rate)."""
        worth = [
            part.value * part.rate_hz * math.log1p(user.on_time / (span_s * part.rate_hz))
            for part in self.parts
            if part.rate_hz and part.with_deadline and span_s
            for user in part.users
        ]
        return math.fsum(worth) if worth else None

    def _paoi_weighted_s(self, now_s: float) -> float | None:
        """A user that had no peak yet counts with its age: its peak will be no less."""
        total_s = sum(
            part.weight * sum(user.paoi_mean_s(now_s) for user in part.users) for part in self.parts
        )
        return ratio(total_s, sum(part.weight * len(part.users) for part in self.parts))


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
