"""Metrics as folds of the journal: ages, delays, misses, losses, and how they go over time.

Memory does not grow with the number of tasks: quantiles come from histograms with buckets 2 %
apart. What happened before the warm-up ends is left out of every number but the time series.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from agents.bodies import NodeId, ServerReport, TaskEnd
from agents.freshness import AgeTracker
from emulator.journal import FaultChange, HostLost, LinkCount, Record, Remains

ALL = "all"
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

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._buckets: Counter[int] = Counter()  # bucket b holds 1.02^b up to 1.02^(b+1)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self._buckets[math.floor(math.log(max(value, self.SMALLEST)) / self.GROWTH)] += 1

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        """Returns the middle of the bucket that holds the quantile; None when empty."""
        below = 0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= q * self.count:
                return math.exp((bucket + 0.5) * self.GROWTH)
        return None

    def distribution(self) -> list[tuple[float, float]]:
        """Returns (upper edge, share of values below it) of every bucket in use, rising."""
        below, points = 0, []
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            points.append((math.exp((bucket + 1) * self.GROWTH), below / self.count))
        return points

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """Returns how many values lie below each bound, to the resolution of the buckets."""
        return [
            sum(
                n for bucket, n in self._buckets.items() if (bucket + 0.5) * self.GROWTH < log_bound
            )
            for log_bound in map(math.log, bounds)
        ]


class GroupStats:
    """The running numbers of one user group."""

    def __init__(self, priority: int | None) -> None:
        self.priority = priority  # None: the users of all groups together
        self.users: list[AgeTracker] = []
        self.peak_s = Histogram()
        self.delay_s = Histogram()
        self.stage_s = dict.fromkeys(("uplink", "queue", "compute", "downlink"), 0.0)
        self.outcomes: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.with_deadline = 0
        self.missed = 0
        self.answered = 0
        self.correct = 0
        self.fresh_correct = 0
        self.area_at_warmup_s2 = 0.0

    def age_area_s2(self, now_s: float) -> float:
        return sum(tracker.area_until_s2(now_s) for tracker in self.users)

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        self.outcomes[end.outcome] += 1
        late = end.ended_s > end.due_s
        if end.due_s < math.inf:
            self.with_deadline += 1
            self.missed += late or end.outcome != "completed"
        if end.outcome != "completed":
            self.drops[end.reason] += 1
            return
        self.delay_s.add(end.ended_s - end.born_s)
        stage_s = self.stage_s
        stage_s["uplink"] += end.arrived_s - end.born_s
        stage_s["queue"] += end.started_s - end.arrived_s
        stage_s["compute"] += end.finished_s - end.started_s
        stage_s["downlink"] += end.ended_s - end.finished_s
        if peak_s is not None:
            self.peak_s.add(peak_s)
        if end.correct is not None:
            self.answered += 1
            self.correct += end.correct
            self.fresh_correct += end.correct and peak_s is not None and not late

    def summary(self, now_s: float, span_s: float) -> dict[str, float | int | None]:
        """Returns every metric by name; None where nothing was seen to measure."""
        completed, ended = self.outcomes["completed"], self.outcomes.total()
        users, area_s2 = len(self.users), self.age_area_s2(now_s) - self.area_at_warmup_s2
        stages = {
            f"{stage}_mean_s": _ratio(total_s, completed) for stage, total_s in self.stage_s.items()
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
        self.groups[ALL] = GroupStats(None)
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
            self.groups[ALL].users.append(tracker)

    def fold(self, records: Sequence[Record], now_s: float) -> None:
        """Takes in what happened up to `now_s` and adds one point to the time series."""
        for record in records:
            match record:
                case TaskEnd():
                    self._fold_end(record)
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
                stats.area_at_warmup_s2 = stats.age_area_s2(self._warmup_s)

    def _fold_end(self, end: TaskEnd) -> None:
        if end.ended_s >= self._warmup_s:
            self._end_warm_up()
        tracker, stats = self._stats[end.user]
        peak_s = None
        if end.outcome == "completed":
            peak_s = tracker.receive(end.born_s, end.ended_s)
        if end.ended_s >= self._warmup_s:
            stats.count(end, peak_s)
            self.groups[ALL].count(end, peak_s)
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

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Returns every metric of every group, and of `all`."""
        span_s = self.now_s - self._warmup_s
        return {name: stats.summary(self.now_s, span_s) for name, stats in self.groups.items()}

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
        for name, stats in metrics.groups.items():
            area_s2 = stats.age_area_s2(now_s)
            gained_s2 = area_s2 - self._area_s2.get(name, 0.0)
            self._put(f"aoi_s/{name}", gained_s2 / (len(stats.users) * step_s))
            self._area_s2[name] = area_s2
        for priority in sorted(
            {s.priority for s in metrics.groups.values() if s.priority is not None}
        ):
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
