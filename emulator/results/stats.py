"""The numbers of one user group, and the histogram they stand on.

Memory does not grow with the number of tasks: quantiles come from buckets 2 % apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from agents.freshness import AgeIntegral, AgeTracker
from agents.messages import TaskEnd
from agents.reasons import Reason

ALL = "all"
STAGES = ("uplink", "queue", "compute", "downlink")
AGE_BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
DELAY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
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
    "sojourn_max_s": "birth to end of service, or to being given up, longest",
    "sojourn_max_ratio": "the longest sojourn time as a share of its deadline; above 1 broke it",
    "overdue": "tasks neither finished nor given up by their deadline",
    "throughput_hz": "results per second, all users together",
    "completed": "tasks that brought a result",
    "ended": "tasks that ended in any way",
    "weight_ratio_mean": "weight of a slot's schedule over the heaviest there is, mean",
    "weight_ratio_min": "weight of a slot's schedule over the heaviest there is, least",
    "mini_rounds_per_slot": "rounds of messages between base stations to agree on a schedule",
    "messages_per_slot": "control messages, all nodes together, per slot",
    "bytes_per_slot": "bytes of control messages, all nodes together, per slot",
}
MORE_IS_BETTER = frozenset(
    {
        *("accuracy", "fresh_correct_hz", "utility", "throughput_hz", "completed"),
        *("weight_ratio_mean", "weight_ratio_min"),
    }
)
"""Of all other metrics less is better."""
SOJOURN_BINS = 40  # of a histogram of sojourn times, up to the deadline


class Bins:
    """Counts of values between fixed bounds, and their exact sum.

    Values are put into bins together: ten times cheaper than one by one.
    """

    BATCH = 4096

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        """`bounds` rise; a value on a bound counts as below it."""
        self.bounds = tuple(bounds)
        self._binned = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self._count = 0
        self._total = 0.0
        self._fresh: list[float] = []  # not yet in their bins
        self.add: Callable[[float], None] = self._fresh.append
        """Takes a value in. Whoever adds many calls `settle` now and then."""

    @property
    def count(self) -> int:
        return self._count + len(self._fresh)

    @property
    def total(self) -> float:
        self.settle(1)
        return self._total

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def cumulative(self) -> list[int]:
        """Returns how many values are at most each bound, and last how many there are."""
        self.settle(1)
        return [int(n) for n in np.cumsum(self._binned)]

    def counts(self) -> list[int]:
        """Returns how many values each bin holds, and last how many lie above all bounds."""
        self.settle(1)
        return [int(n) for n in self._binned]

    def settle(self, at_least: int = BATCH) -> None:
        """Puts the values added since into their bins, once they are that many."""
        fresh = self._fresh
        if len(fresh) >= at_least:
            self._count += len(fresh)
            self._total += math.fsum(fresh)
            self._take(np.array(fresh))
            fresh.clear()

    def _take(self, values: NDArray[np.float64]) -> None:
        places = np.searchsorted(self.bounds, values, side="left")
        self._binned += np.bincount(places, minlength=len(self._binned))


class Histogram(Bins):
    """Bins that also know quantiles within 1 %, from buckets of positive values 2 % apart."""

    GROWTH = math.log(1.02)
    SMALLEST = 1e-9  # anything below counts as it

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        super().__init__(bounds)
        self._buckets: Counter[int] = Counter()  # bucket b holds 1.02^b up to 1.02^(b+1)

    def merge(self, other: "Histogram") -> None:
        """Adds what another histogram counted, its bins left out: their bounds may differ."""
        for histogram in (self, other):
            histogram.settle(1)
        self._buckets.update(other._buckets)
        self._count += other._count
        self._total += other._total

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

    def _take(self, values: NDArray[np.float64]) -> None:
        if self.bounds:
            super()._take(values)
        logs = np.log(np.maximum(values, self.SMALLEST))
        buckets, counts = np.unique(np.floor(logs / self.GROWTH), return_counts=True)
        self._buckets.update(dict(zip(map(int, buckets), map(int, counts), strict=True)))


class GroupStats:
    """The running numbers of one user group, or of several together."""

    def __init__(
        self,
        priority: int | None,
        weight: float = 1.0,
        deadlines_s: Iterable[float] = (),
        *,
        deadline_s: float = math.inf,
        value: float = 1.0,
        rate_hz: float = 0.0,
    ) -> None:
        """`deadlines_s`, those of all groups, are bounds too: what misses one is then exact."""
        deadlines_s = set(deadlines_s) - {math.inf}
        age_bounds_s = sorted(deadlines_s.union(AGE_BOUNDS_S))
        delay_bounds_s = sorted(deadlines_s.union(DELAY_BOUNDS_S))
        self.priority = priority  # None: several groups together
        self.weight = weight  # of each user, as are:
        self.value = value  # what a task is worth on time
        self.rate_hz = rate_hz  # declared; 0: none is
        self.deadline_s = deadline_s
        # Warm-up included: the bound holds always, and why tasks end adds up to all that ended.
        self.sojourn_max_s = 0.0  # of tasks with a deadline
        self.sojourn_step_s = 0.0  # the same, since the last row of the series
        self.overdue = 0  # tasks neither finished nor given up by their deadline
        self.sojourns_finished_s = Bins(
            sojourn_bounds(deadline_s)
        )  # of tasks that a server finished
        self.sojourns_given_up_s = Bins(sojourn_bounds(deadline_s))  # of the others
        self.drops: Counter[Reason] = Counter()  # why tasks brought no result
        self.parts: list[GroupStats] = [self]
        self.users: list[AgeTracker] = []
        self.ages = AgeIntegral(0)
        self.age_bounds_s = age_bounds_s
        self.peak_s = Histogram(age_bounds_s)
        self.delay_s = Histogram(delay_bounds_s)
        self.stages_s = [Bins(delay_bounds_s) for _ in STAGES]
        self._add_stages = [bins.add for bins in self.stages_s]  # looked up once
        self.outcomes: Counter[str] = Counter()
        self.with_deadline = 0
        self.missed = 0
        self.answered = 0
        self.correct = 0
        self.fresh_correct = 0
        self.area_at_warmup_s2 = 0.0
        self.presence_at_warmup_s = 0.0
        self.sojourns_s = 0.0  # birth to end, all tasks

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
            everyone.outcomes.update(group.outcomes)
            everyone.drops.update(group.drops)
            everyone.with_deadline += group.with_deadline
            everyone.missed += group.missed
            everyone.answered += group.answered
            everyone.correct += group.correct
            everyone.fresh_correct += group.fresh_correct
            everyone.area_at_warmup_s2 += group.area_at_warmup_s2
            everyone.presence_at_warmup_s += group.presence_at_warmup_s
            everyone.sojourns_s += group.sojourns_s
            everyone.sojourn_max_s = max(everyone.sojourn_max_s, group.sojourn_max_s)
            everyone.overdue += group.overdue
        return everyone

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        outcome, ended_s, due_s = end.outcome, end.ended_s, end.due_s
        sojourn_s = max(
            0.0, ended_s - end.born_s
        )  # 0: born by a clock that has been set back since
        self.outcomes[outcome] += 1
        self.sojourns_s += sojourn_s
        if due_s < math.inf:
            self.with_deadline += 1
            self.missed += ended_s > due_s or outcome != "completed"
        if outcome != "completed":
            return
        born_s, arrived_s = end.born_s, end.arrived_s
        started_s, finished_s = end.started_s, end.finished_s
        self.delay_s.add(sojourn_s)
        uplink, queue, compute, downlink = self._add_stages
        uplink(arrived_s - born_s)
        queue(started_s - arrived_s)
        compute(finished_s - started_s)
        downlink(ended_s - finished_s)
        if peak_s is not None:
            self.peak_s.add(peak_s)
        if end.correct is not None:
            self.answered += 1
            self.correct += end.correct
            self.fresh_correct += end.correct and peak_s is not None and ended_s <= due_s

    def settle(self) -> None:
        """Bounds the memory that values take which are not yet counted."""
        sojourns = (self.sojourns_finished_s, self.sojourns_given_up_s)
        self.sojourn_max_s = max(self.sojourn_max_s, self.sojourn_step_s)
        for bins in (self.peak_s, self.delay_s, *self.stages_s, *sojourns):
            bins.settle()

    def summary(self, now_s: float, span_s: float) -> dict[str, float | int | None]:
        """Returns every metric by name; None where nothing was seen to measure."""
        completed, ended = self.outcomes["completed"], self.outcomes.total()
        area_s2 = self.ages.until_s2(now_s) - self.area_at_warmup_s2
        # Whoever is away has no age; without churn it is the span times the users.
        present_s = self.ages.presence_s(now_s) - self.presence_at_warmup_s if span_s else 0.0
        stages = {
            f"{stage}_mean_s": ratio(
                math.fsum(part.stages_s[number].total for part in self.parts), completed
            )
            for number, stage in enumerate(STAGES)
        }
        return {
            "aoi_mean_s": ratio(area_s2, present_s),
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
            "fresh_correct_hz": ratio(self.fresh_correct, present_s) if self.answered else None,
            "backlog_mean": ratio(self.sojourns_s, span_s),
            "utility": self.utility(span_s),
            "sojourn_max_s": self.sojourn_max_s or None,
            "sojourn_max_ratio": self.sojourn_max_ratio,
            "overdue": self.overdue if self.with_deadline else None,
            "throughput_hz": ratio(completed, span_s),
            "completed": completed,
            "ended": ended,
            # Of the network as a whole, where its access is scheduled; see `optimality.py`.
            "weight_ratio_mean": None,
            "weight_ratio_min": None,
            "mini_rounds_per_slot": None,
            "messages_per_slot": None,
            "bytes_per_slot": None,
        }

    @property
    def sojourn_max_ratio(self) -> float | None:
        """The longest sojourn time over its deadline; None where none is known."""
        shares = [part.sojourn_max_s / part.deadline_s for part in self.parts]
        return max(shares, default=0.0) or None

    def utility(self, span_s: float) -> float | None:
        """Proportional fairness by value: sum of value rate ln(1 + on-time rate / rate)."""
        worth = [
            part.value * part.rate_hz * math.log1p(user.on_time / (span_s * part.rate_hz))
            for part in self.parts
            if part.rate_hz and part.with_deadline and span_s
            for user in part.users
        ]
        return math.fsum(worth) if worth else None

    def _paoi_weighted_s(self, now_s: float) -> float | None:
        """A user that had no peak yet counts with its age: its peak will be no less. Who had none
        and is away has no age either, and does not count."""
        counted = [
            (part.weight, user.paoi_mean_s(now_s))
            for part in self.parts
            for user in part.users
            if user.peaks or user.is_present
        ]
        total_s = sum(weight * peak_s for weight, peak_s in counted)
        return ratio(total_s, sum(weight for weight, _ in counted))


def sojourn_bounds(deadline_s: float) -> tuple[float, ...]:
    """Returns the bounds of the bins of sojourn times; the last is the deadline."""
    if deadline_s == math.inf:
        return ()
    return tuple(deadline_s * n / SOJOURN_BINS for n in range(1, SOJOURN_BINS + 1))


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
