"""Metrics as a fold of the journal: ages, delays, misses, losses, and how they go over time.

What happened before the warm-up ends is left out of every number but the time series.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from agents.freshness import AgeTracker
from agents.messages import NodeId, ServerReport, TaskEnd
from agents.messages.slots import Allocated
from agents.policy import Reading
from agents.reasons import Reason
from agents.todg.readings import BREACHES
from emulator.faults.activation import after
from emulator.results.journal import (
    DeadLetter,
    FaultChange,
    HostLost,
    LinkCount,
    Presence,
    Readings,
    Record,
    Remains,
    Timed,
)
from emulator.results.optimality import Allocations
from emulator.results.series import Series
from emulator.results.stats import ALL, DELAY_BOUNDS_S, Bins, GroupStats, ratio

ROUNDING_S = 1e-9  # instants are sums of floats
STARVED = 10.0  # mean peak ages; by chance, with exponential gaps, one user in 20,000


def broken_bounds(broken: Mapping[str, int]) -> str:
    """Says which bounds broke; `broken` is as in `Metrics.bounds_broken`."""
    late = broken["late"]
    said = [f"{late:,} task{'' if late == 1 else 's'} late"]
    for name, bound in BREACHES.items():
        if count := broken[name]:
            said.append(f"{bound} was exceeded" + (f" {count:,} times" if count > 1 else ""))
    return "; ".join(said) if len(said) > 1 else f"{said[0]}, no queue bound exceeded"


class Metrics:
    """Folds records, in the order they come. `readings` says what the protocol reports."""

    def __init__(
        self,
        group_of: Mapping[NodeId, str],
        groups: Mapping[str, GroupStats],
        warmup_s: float,
        readings: Sequence[Reading] = (),
        *,
        allocations: Allocations | None = None,
        is_bounded: bool = False,
    ) -> None:
        """`allocations` watches a scheduled network; `is_bounded`: its protocol bounds delays."""
        self.now_s = 0.0
        self.groups = dict(groups)
        self.ages: dict[NodeId, AgeTracker] = {}
        self.attempts: Counter[tuple[str, str]] = Counter()  # (base station, link kind)
        self.losses: Counter[tuple[str, str, Reason]] = Counter()  # the same and the reason
        self.bits = 0.0
        self.servers: dict[NodeId, ServerReport] = {}
        # Of each edge server, from its first report on; a user's own CPU is in its group's stages.
        self.service_s: dict[NodeId, Bins] = {}
        self.faults_active: dict[int, FaultChange] = {}
        self.fault_log: list[FaultChange] = []
        self.hosts_lost: list[HostLost] = []
        self.dead_letters: Counter[tuple[NodeId, str]] = Counter()  # (node, what)
        self.remains: list[Remains] = []
        self.timed: dict[NodeId, Timed] = {}  # of each host, added up
        self.readings: dict[NodeId, Readings] = {}  # the newest of each host
        self.series = Series(readings)
        self.allocations = allocations
        self._is_bounded = is_bounded
        self._compared = 0  # slots, at the last row of the series
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
                    if server not in self.service_s:
                        self.service_s[server] = Bins(DELAY_BOUNDS_S)
                case FaultChange(number=number, op=op):
                    self.fault_log.append(record)
                    self.faults_active = after(self.faults_active, op, number, record)
                case Presence():
                    self._fold_presence(record)
                case HostLost():
                    self.hosts_lost.append(record)
                case Readings(host=host):
                    self.readings[host] = record
                case Timed(host=host):
                    before = self.timed.get(host, Timed(0.0, host, 0.0, 0.0))
                    cpu_s, trace_s = before.cpu_s + record.cpu_s, before.trace_s + record.trace_s
                    self.timed[host] = Timed(record.at_s, host, cpu_s, trace_s)
                case Allocated() if self.allocations is not None:
                    self.allocations.take(record)
                case DeadLetter(node=node, what=what):
                    self.dead_letters[node, what] += 1
                case Remains():
                    self.remains.append(record)
        if now_s >= self._warmup_s and not self._warm:
            self._end_warm_up()
        self.now_s = now_s
        for stats in self.groups.values():
            stats.settle()
        for service in self.service_s.values():
            service.settle()
        reported = self.reported()
        self.series.add(now_s, self.groups, self.uplink_counts(), self.servers, reported)
        self.series.put(self._kept(now_s))

    def _end_warm_up(self) -> None:
        """Takes the areas under the ages when the warm-up ends, before any later receipt."""
        self._warm = True
        for stats in self.groups.values():
            stats.area_at_warmup_s2 = stats.ages.until_s2(self._warmup_s)
            stats.presence_at_warmup_s = stats.ages.presence_s(self._warmup_s)

    def _fold_presence(self, change: Presence) -> None:
        if change.at_s >= self._warmup_s and not self._warm:
            self._end_warm_up()
        tracker, stats = self._stats[change.user]
        if change.is_present:
            tracker.join(change.at_s)
            stats.ages.join(change.at_s)
        else:
            stats.ages.leave(tracker.leave(change.at_s), change.at_s)

    def _fold_end(self, end: TaskEnd) -> None:
        """Costs every task of every run: one call, one look at each field."""
        ended_s, series = end.ended_s, self.series
        counts = ended_s >= self._warmup_s
        if counts and not self._warm:
            self._end_warm_up()
        tracker, stats = self._stats[end.user]
        series.outcomes[end.outcome] += 1
        due_s = end.due_s
        if due_s < math.inf:
            if end.outcome == "completed":
                left_s, sojourns_s = end.finished_s, stats.sojourns_finished_s
            else:
                left_s, sojourns_s = ended_s, stats.sojourns_given_up_s
            sojourn_s = left_s - end.born_s
            sojourns_s.add(sojourn_s)
            if sojourn_s > stats.sojourn_step_s:
                stats.sojourn_step_s = sojourn_s
            stats.overdue += left_s > due_s + ROUNDING_S
            if counts and end.outcome == "completed" and ended_s <= due_s:
                tracker.on_time += 1
        peak_s = None
        if end.outcome == "completed":
            # A clock set back while the task was under way: its birth would be yet to come, and
            # whatever follows no news until then.
            born_s = min(end.born_s, ended_s)
            delay_s = ended_s - born_s
            series.delays_s.append(delay_s)
            peak_s = tracker.receive(born_s, ended_s)
            if peak_s is not None:
                series.peaks_s[end.priority].append(peak_s)
                stats.ages.fall(peak_s - delay_s, ended_s)
        else:
            stats.drops[end.reason] += 1
        if counts:
            stats.count(end, peak_s)
            service = self.service_s.get(end.server)
            if service is not None and end.outcome == "completed":
                service.add(end.finished_s - end.started_s)
            if peak_s is not None:
                tracker.peaks += 1
                tracker.peaks_s += peak_s

    def _kept(self, now_s: float) -> dict[str, float | None]:
        """Says how well deadlines are kept, in the step that ends now or so far: columns."""
        kept: dict[str, float | None] = {}
        for name, stats in self.groups.items():
            if stats.deadline_s < math.inf:
                kept[f"sojourn_ratio/{name}"] = (stats.sojourn_step_s or None) and (
                    stats.sojourn_step_s / stats.deadline_s
                )
                stats.sojourn_step_s = 0.0
        worth = [each.utility(now_s - self._warmup_s) for each in self.groups.values()]
        if now_s > self._warmup_s and any(each is not None for each in worth):
            kept["utility"] = math.fsum(each or 0.0 for each in worth)
        if self.violations is not None:
            kept["violations"] = self.violations
        if self.allocations is not None:
            fresh = self.allocations.shares[self._compared :]
            self._compared += len(fresh)
            kept["weight_ratio"] = ratio(math.fsum(fresh), len(fresh))
        return kept

    @property
    def violations(self) -> int | None:
        """Counts tasks neither finished nor given up in time, and broken queue bounds; None where
        the protocol gives no bound."""
        broken = self.bounds_broken
        return None if broken is None else sum(broken.values())

    @property
    def bounds_broken(self) -> dict[str, int] | None:
        """Returns how often each bound was broken: `late` tasks, and those of queues by name."""
        if not self._is_bounded:
            return None
        reported = self.reported()
        late = sum(stats.overdue for stats in self.groups.values())
        return {"late": late} | {name: int(reported.get(name, 0.0)) for name in BREACHES}

    def reported(self) -> dict[str, float]:
        """Returns what all nodes' policies report, added up over the hosts."""
        names = {name for readings in self.readings.values() for name in readings.values}
        return {
            name: sum(readings.values.get(name, 0.0) for readings in self.readings.values())
            for name in names
        }

    @property
    def live_to_trace(self) -> float | None:
        """What live inference took on these machines, over what the traces say of the same batches;
        None where no stopwatch timed any."""
        timed = self.timed.values()
        return ratio(math.fsum(t.cpu_s for t in timed), math.fsum(t.trace_s for t in timed))

    @property
    def starved(self) -> dict[NodeId, float]:
        """The ages, in s, of users whose results stopped: beyond `STARVED` of their mean peaks."""
        return {
            user: age_s
            for user, tracker in self.ages.items()
            if tracker.peaks
            and (age_s := tracker.age_s(self.now_s)) > STARVED * tracker.paoi_mean_s(self.now_s)
        }

    def uplink_counts(self) -> tuple[int, int]:
        """Returns the attempts on all uplinks so far, and how many of them were lost."""
        attempts = sum(n for (_, kind), n in self.attempts.items() if kind == "uplink")
        losses = sum(n for (_, kind, _), n in self.losses.items() if kind == "uplink")
        return attempts, losses

    @property
    def uplink_loss_ratio(self) -> float | None:
        """The share of uplink attempts that were lost; None before any."""
        attempts, losses = self.uplink_counts()
        return ratio(losses, attempts)

    def everyone(self) -> GroupStats:
        """Returns the numbers of all groups together."""
        return GroupStats.together(self.groups.values())

    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """Returns every metric of every group, and of `all`."""
        span_s = max(0.0, self.now_s - self._warmup_s)  # 0: nothing counts yet
        groups = {**self.groups, ALL: self.everyone()}
        found = {name: stats.summary(self.now_s, span_s) for name, stats in groups.items()}
        if self.allocations is not None:
            found[ALL] |= self.allocations.summary(self.reported(), self.now_s)
        return found

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
