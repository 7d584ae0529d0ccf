"""Metrics as folds of the journal: ages, delays, misses, losses, and how they go over time.

Memory does not grow with the number of tasks: quantiles come from histograms with buckets 2 %
apart. What happened before the warm-up ends is left out of every number but the time series.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from agents.bodies import NodeId, ServerReport, TaskEnd
from agents.freshness import AgeIntegral, AgeTracker
from emulator.journal import FaultChange, HostLost, LinkCount, Record, Remains

ALL = "all"
STAGES = ("uplink", "queue", "compute", "downlink")
METRICS: dict[str, str] = {
    "aoi_mean_s": "age of information, averaged over time and users",
    "paoi_mean_s": "peak age of information, mean",
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

    def add(self, value: float) -> None:
        self._fresh.append(value)
        if len(self._fresh) >= self.BATCH:
            self._settle()

    def merge(self, other: "Histogram") -> None:
        """Adds what another histogram counted."""
        for histogram in (self, other):
            histogram._settle()
        self._buckets.update(other._buckets)
        self._total += other._total

    @property
    def count(self) -> int:
        return self._buckets.total() + len(self._fresh)

    @property
    def total(self) -> float:
        self._settle()
        return self._total

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """Returns the middle of the bucket that holds the quantile; None when empty."""
        self._settle()
        below, count = 0, self.count
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= q * count:
                return math.exp((bucket + 0.5) * self.GROWTH)
        return None

    def distribution(self) -> list[tuple[float, float]]:
        """Returns (upper edge, share of values below it) of every bucket in use, rising."""
        self._settle()
        below, count = 0, self.count
        points = []
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            points.append((math.exp((bucket + 1) * self.GROWTH), below / count))
        return points

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """Returns how many values lie below each bound, to the resolution of the buckets."""
        self._settle()
        return [
            sum(
                n for bucket, n in self._buckets.items() if (bucket + 0.5) * self.GROWTH < log_bound
            )
            for log_bound in map(math.log, bounds)
        ]

    def _settle(self) -> None:
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._total += math.fsum(fresh)
            logs = np.log(np.maximum(fresh, self.SMALLEST))
            buckets, counts = np.unique(np.floor(logs / self.GROWTH), return_counts=True)
            self._buckets.update(dict(zip(map(int, buckets), map(int, counts), strict=True)))


class GroupStats:
    """The running numbers of one user group, or of several together."""

    def __init__(self, priority: int | None) -> None:
        self.priority = priority  # None: several groups together
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

    @classmethod
    def together(cls, groups: Iterable["GroupStats"]) -> "GroupStats":
        """Adds up several groups."""
        everyone = cls(None)
        for group in groups:
            everyone.users += group.users
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
        return everyone

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        outcome, ended_s, due_s = end.outcome, end.ended_s, end.due_s
        self.outcomes[outcome] += 1
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
            f"{stage}_mean_s": _ratio(total_s, completed)
            for stage, total_s in zip(STAGES, self.stage_s, strict=True)
        }
        return {
            "aoi_mean_s": _ratio(area_s2, users * span_s),
            "paoi_mean_s": self.peak_s.mean,
            "paoi_p95_s": self.peak_s.quantile(0.95),
            "delay_mean_s": self.delay_s.mean,
            "delay_p50_s": self.delay_s.quantile(0.5),
            "delay_p95_s": self.delay_s.quantile(0.95),
            **stages,
            "miss_ratio": _ratio(self.missed, self.with_deadline),
            "drop_ratio": _ratio(ended - completed, ended),
            "accuracy": _ratio(self.correct, self.answered),
            "fresh_correct_hz": _ratio(self.fresh_correct, users * span_s)
            if self.answered
            else None,
            "throughput_hz": _ratio(completed, span_s),
            "completed": completed,
            "ended": ended,
        }


class Metrics:
    """Folds records, in the order they come; `priorities` maps each group to its class."""

    def __init__(
        self, group_of: Mapping[NodeId, str], priorities: Mapping[str, int], warmup_s: float
    ) -> None:
        self.now_s = 0.0
        self.groups = {name: GroupStats(priority) for name, priority in priorities.items()}
        self.ages: dict[NodeId, AgeTracker] = {}
        self.attempts: Counter[tuple[str, str]] = Counter()  # (base station, link kind)
        self.losses: Counter[tuple[str, str, str]] = Counter()  # the same and the reason
        self.bits = 0.0
        self.servers: dict[NodeId, ServerReport] = {}
        self.faults_active: dict[int, FaultChange] = {}
        self.fault_log: list[FaultChange] = []
        self.hosts_lost: list[HostLost] = []
        self.remains: list[Remains] = []
        self.series = Series()
        self._warmup_s = warmup_s
        self._warm = False
        self._group_of = group_of
        self._stats: dict[NodeId, tuple[AgeTracker, GroupStats]] = {}
        for user, group in group_of.items():
            tracker = AgeTracker()
            self.ages[user] = tracker
            self._stats[user] = (tracker, self.groups[group])
            self.groups[group].users.append(tracker)
            self.groups[group].ages.users += 1

    def fold(self, records: Sequence[Record], now_s: float) -> None:
        """Takes in what happened up to `now_s` and adds one point to the time series."""
        for record in records:
            if type(record) is TaskEnd:  # nearly all are
                self._fold_end(record)
                continue
            match record:
                case LinkCount(bs=bs, kind=kind):
                    self.attempts[bs, kind] += record.attempts
                    self.bits += record.bits
                    for reason, count in record.losses.items():
                        self.losses[bs, kind, reason] += count
                case ServerReport(server=server):
                    self.servers[server] = record
                case FaultChange(number=number, op=op):
                    self.fault_log.append(record)
                    if op == "begin":
                        self.faults_active[number] = record
                    else:
                        self.faults_active.pop(number, None)
                case HostLost():
                    self.hosts_lost.append(record)
                case Remains():
                    self.remains.append(record)
        if now_s >= self._warmup_s:
            self._end_warm_up()
        self.now_s = now_s
        self.series.add(self)

    def _end_warm_up(self) -> None:
        """Takes the areas under the ages when the warm-up ends, before any later receipt."""
        if not self._warm:
            self._warm = True
            for stats in self.groups.values():
                stats.area_at_warmup_s2 = stats.ages.until_s2(self._warmup_s)

    def _fold_end(self, end: TaskEnd) -> None:
        if end.ended_s >= self._warmup_s:
            self._end_warm_up()
        tracker, stats = self._stats[end.user]
        peak_s = None
        if end.outcome == "completed":
            peak_s = tracker.receive(end.born_s, end.ended_s)
            if peak_s is not None:
                stats.ages.fall(peak_s - (end.ended_s - end.born_s), end.ended_s)
        if end.ended_s >= self._warmup_s:
            stats.count(end, peak_s)
        self.series.count(end, peak_s)

    def uplink_counts(self) -> tuple[int, int]:
        """Returns the attempts on all uplinks so far, and how many of them were lost."""
        attempts = sum(n for (_, kind), n in self.attempts.items() if kind == "uplink")
        losses = sum(n for (_, kind, _), n in self.losses.items() if kind == "uplink")
        return attempts, losses

    @property
    def uplink_loss_ratio(self) -> float | None:
        """The share of uplink attempts that were lost; None before any."""
        attempts, losses = self.uplink_counts()
        return _ratio(losses, attempts)

    def everyone(self) -> GroupStats:
        """Returns the numbers of all groups together."""
        return GroupStats.together(self.groups.values())

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Returns every metric of every group, and of `all`."""
        span_s = max(0.0, self.now_s - self._warmup_s)  # 0: nothing counts yet
        groups = {**self.groups, ALL: self.everyone()}
        return {name: stats.summary(self.now_s, span_s) for name, stats in groups.items()}

    def balance(self) -> dict[str, int]:
        """Returns the account of all tasks: generated = completed + expired + dropped + in flight
        + lost with a host. Warm-up included."""
        ended = self.series.outcomes
        in_flight = sum(len(remains.in_flight) for remains in self.remains)
        generated = sum(sum(remains.generated.values()) for remains in self.remains)
        return {
            "generated": generated,
            "completed": ended["completed"],
            "expired": ended["expired"],
            "dropped": ended["dropped"],
            "in_flight": in_flight,
            "lost": generated - ended.total() - in_flight,
        }


class Series:
    """How things went over time: one row a step. Window values cover the step just ended."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.columns: dict[str, list[float | None]] = {}
        self.outcomes: Counter[str] = Counter()
        self._peaks: dict[int, list[float]] = {}
        self._delays: list[float] = []
        self._area_s2: dict[str, float] = {}
        self._attempts = 0
        self._losses = 0

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        self.outcomes[end.outcome] += 1
        if end.outcome == "completed":
            self._delays.append(end.ended_s - end.born_s)
        if peak_s is not None:
            self._peaks.setdefault(end.priority, []).append(peak_s)

    def add(self, metrics: Metrics) -> None:
        now_s = metrics.now_s
        step_s = now_s - (self.at_s[-1] if self.at_s else 0.0)
        if step_s <= 0.0:
            return
        self.at_s.append(now_s)
        gained_all_s2 = 0.0
        for name, stats in metrics.groups.items():
            area_s2 = stats.ages.until_s2(now_s)
            gained_s2 = area_s2 - self._area_s2.get(name, 0.0)
            gained_all_s2 += gained_s2
            self._put(f"aoi_s/{name}", gained_s2 / (len(stats.users) * step_s))
            self._area_s2[name] = area_s2
        self._put(f"aoi_s/{ALL}", gained_all_s2 / (len(metrics.ages) * step_s))
        for priority in sorted({stats.priority or 0 for stats in metrics.groups.values()}):
            peaks = self._peaks.pop(priority, [])
            self._put(f"paoi_s/{priority}", _ratio(sum(peaks), len(peaks)))
        delays, self._delays = sorted(self._delays), []
        self._put("delay_s/mean", _ratio(sum(delays), len(delays)))
        self._put("delay_s/p95", delays[int(0.95 * len(delays))] if delays else None)
        attempts, losses = metrics.uplink_counts()
        self._put("uplink_loss_ratio", _ratio(losses - self._losses, attempts - self._attempts))
        self._attempts, self._losses = attempts, losses
        for server, report in metrics.servers.items():
            self._put(f"backlog/{server}", float(report.backlog))

    def _put(self, column: str, value: float | None) -> None:
        values = self.columns.setdefault(column, [])
        values.extend([None] * (len(self.at_s) - 1 - len(values)))
        values.append(value)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
