"""Metrics as a fold of the journal: ages, delays, misses, losses, and how they go over time.

What happened before the warm-up ends is left out of every number but the time series.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

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
from emulator.results.links import Links
from emulator.results.measures import METRICS, utility
from emulator.results.metric import Metric, Span, Value, ratio
from emulator.results.optimality import Allocations
from emulator.results.series import Series
from emulator.results.servers import DOWN, Server
from emulator.results.stats import ALL, GroupStats
from emulator.results.window import Window

CURVED = [(metric, metric.curve) for metric in METRICS.values() if metric.curve is not None]
STARVED = 10.0  # mean peak ages; by chance, with exponential gaps, one user in 20,000


def broken_bounds(broken: Mapping[str, int]) -> str:
    """Says which bounds broke; `broken` is as in `Metrics.bounds_broken`."""
    late = broken["late"]
    said = [f"{late:,} task{'' if late == 1 else 's'} late"]
    for name, bound in BREACHES.items():
        if count := broken[name]:
            said.append(f"{bound} was exceeded" + (f" {count:,} times" if count > 1 else ""))
    return "; ".join(said) if len(said) > 1 else f"{said[0]}, no queue bound exceeded"


Hits = Callable[[Mapping[str, Any], NodeId], bool]


class Hosts:
    """What hosts tell of themselves, and which were lost."""

    def __init__(self) -> None:
        self.lost: list[HostLost] = []
        self.timed: dict[NodeId, Timed] = {}  # of each host, added up
        self.readings: dict[NodeId, Readings] = {}  # the newest of each host

    def take(self, record: HostLost | Readings | Timed) -> None:
        match record:
            case HostLost():
                self.lost.append(record)
            case Readings(host=host):
                self.readings[host] = record
            case Timed(host=host):
                before = self.timed.get(host, Timed(0.0, host, 0.0, 0.0))
                cpu_s, trace_s = before.cpu_s + record.cpu_s, before.trace_s + record.trace_s
                self.timed[host] = Timed(record.at_s, host, cpu_s, trace_s)

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


class Metrics:
    """Folds records, in the order they come. `readings` says what the protocol reports.

    Many attributes: one for each kind of record, and a few for the step that is under way.
    """

    def __init__(
        self,
        group_of: Mapping[NodeId, str],
        groups: Mapping[str, GroupStats],
        warmup_s: float,
        readings: Sequence[Reading] = (),
        *,
        allocations: Allocations | None = None,
        is_bounded: bool = False,
        hits: Hits = lambda fault, node: False,
    ) -> None:
        """`allocations` watches a scheduled network; `is_bounded`: its protocol bounds delays;
        `hits` says whether a fault, as the journal has it, means a node."""
        self.now_s = 0.0
        self.groups = dict(groups)
        self.ages = {user: AgeTracker() for user in group_of}
        self.links = Links()
        self.servers: dict[NodeId, Server] = {}
        self.faults_active: dict[int, FaultChange] = {}
        self.fault_log: list[FaultChange] = []
        self.hosts = Hosts()
        self.dead_letters: Counter[tuple[NodeId, str]] = Counter()  # (node, what)
        self.remains: list[Remains] = []
        self.outcomes: Counter[str] = Counter()  # of all tasks, warm-up included
        self.series = Series(readings)
        self.window = Window()  # of the last step that took time
        self.allocations = allocations
        self._filling = Window()
        self._is_bounded = is_bounded
        self._hits = hits
        self._warmup_s = warmup_s
        self._warm = False
        self._stats = {user: (self.ages[user], groups[group]) for user, group in group_of.items()}
        for tracker, stats in self._stats.values():
            stats.ages.users.append(tracker)
            stats.ages.integral.users += 1

    def fold(self, records: Sequence[Record], now_s: float) -> None:
        """Takes in what happened up to `now_s` and adds one point to the time series."""
        results_before = len(self._filling.results)
        for record in records:
            if type(record) is TaskEnd:  # nearly all are
                self._fold_end(record)
                continue
            match record:
                case LinkCount():
                    self.links.take(record)
                    self._filling.counts.append(record)
                case ServerReport(server=server):
                    if server not in self.servers:
                        self.servers[server] = Server(server)
                        self._turn(server, self.fault_log)
                    self.servers[server].take(record)
                case FaultChange(number=number, op=op):
                    self.fault_log.append(record)
                    for server in self.servers:
                        self._turn(server, [record])
                    self.faults_active = after(self.faults_active, op, number, record)
                case Presence():
                    self._fold_presence(record)
                case HostLost() | Readings() | Timed():
                    self.hosts.take(record)
                case Allocated() if self.allocations is not None:
                    self.allocations.take(record)
                case DeadLetter(node=node, what=what):
                    self.dead_letters[node, what] += 1
                case Remains():
                    self.remains.append(record)
        self.outcomes["completed"] += len(self._filling.results) - results_before
        if now_s >= self._warmup_s and not self._warm:
            self._end_warm_up()
        for stats in self.groups.values():
            stats.settle()
        for each in self.servers.values():
            each.service_s.settle()
        if now_s > self.now_s:
            self._end_step(now_s)

    def _end_step(self, now_s: float) -> None:
        window, self._filling = self._filling, Window()
        window.end(now_s - self.now_s)
        self.now_s, self.window = now_s, window
        for name, stats in self.groups.items():
            if longest_s := stats.stays.end_step():
                window.stays_max_s[name] = longest_s
        row = {f"given_up_hz/{reason}": 0.0 for reason in self.given_up} | window.columns()
        row |= {f"backlog/{k}": float(each.report.backlog) for k, each in self.servers.items()}
        row["utility"] = utility([*self.groups.values()], self._span)
        if self.violations is not None:
            row["violations"] = self.violations
        reported = self.hosts.reported()
        if self.allocations is not None:
            row["weight_ratio"] = self.allocations.end_step(reported, now_s)
        self.series.add(now_s, row, dict(self._sums()), reported)

    def _turn(self, server: NodeId, changes: Sequence[FaultChange]) -> None:
        for change in changes:
            if change.fault["type"] == DOWN and self._hits(change.fault, server):
                self.servers[server].turn(change.number, change.op != "heal")

    def _sums(self) -> Iterator[tuple[str, tuple[float, float]]]:
        """Yields the sums of metrics that have a curve, by column: of each, and of all together."""
        for metric, curve in CURVED:
            if parts := self._parts(metric):
                found = {name: curve.sums(part, self.now_s) for name, part in parts.items()}
                found[ALL] = (sum(a for a, _ in found.values()), sum(b for _, b in found.values()))
                yield from ((f"{metric.column}/{name}", pair) for name, pair in found.items())

    def _parts(self, metric: Metric) -> Mapping[str, Any]:
        """Returns what a metric is of, by name."""
        match metric.of:
            case "group":
                return self.groups
            case "server":
                return self.servers
            case "network":
                return {} if self.allocations is None else {ALL: self.allocations}

    @property
    def _span(self) -> Span:
        return Span(self.now_s, max(0.0, self.now_s - self._warmup_s))

    def _end_warm_up(self) -> None:
        """Takes the areas under the ages when the warm-up ends, before any later receipt."""
        self._warm = True
        for stats in self.groups.values():
            stats.ages.end_warm_up(self._warmup_s)
        for server in self.servers.values():
            server.end_warm_up()

    def _fold_presence(self, change: Presence) -> None:
        if change.at_s >= self._warmup_s and not self._warm:
            self._end_warm_up()
        tracker, stats = self._stats[change.user]
        integral = stats.ages.integral
        if change.is_present:
            tracker.join(change.at_s)
            integral.join(change.at_s)
        else:
            integral.leave(tracker.leave(change.at_s), change.at_s)

    def _fold_end(self, end: TaskEnd) -> None:
        """Costs every task of every run: one call, one look at each field."""
        ended_s, window, due_s = end.ended_s, self._filling, end.due_s
        counts = ended_s >= self._warmup_s
        if counts and not self._warm:
            self._end_warm_up()
        tracker, stats = self._stats[end.user]
        if due_s < math.inf:
            stats.stays.count(end)
            if counts and end.outcome == "completed" and ended_s <= due_s:
                tracker.on_time += 1
        peak_s = None
        if end.outcome == "completed":
            window.results.append(end)
            # A clock set back while the task was under way: its birth would be yet to come, and
            # whatever follows no news until then.
            born_s = min(end.born_s, ended_s)
            peak_s = tracker.receive(born_s, ended_s)
            if peak_s is not None:
                window.peaks_s[end.priority].append(peak_s)
                stats.ages.integral.fall(peak_s - (ended_s - born_s), ended_s)
        else:
            stats.drops[end.reason] += 1
            window.lost[end.outcome] += 1
            self.outcomes[end.outcome] += 1
            window.given_up[end.reason] += 1
        if counts:
            stats.count(end, peak_s)
            server = self.servers.get(end.server)
            if server is not None and end.outcome == "completed":
                server.service_s.add(end.finished_s - end.started_s)
            if peak_s is not None:
                tracker.peaks += 1
                tracker.peaks_s += peak_s

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
        reported = self.hosts.reported()
        late = sum(stats.stays.overdue for stats in self.groups.values())
        return {"late": late} | {name: int(reported.get(name, 0.0)) for name in BREACHES}

    @property
    def starved(self) -> dict[NodeId, float]:
        """The ages, in s, of users whose results stopped: beyond `STARVED` of their mean peaks."""
        return {
            user: age_s
            for user, tracker in self.ages.items()
            if tracker.peaks
            and (age_s := tracker.age_s(self.now_s)) > STARVED * tracker.paoi_mean_s(self.now_s)
        }

    @property
    def given_up(self) -> Counter[Reason]:
        """Why tasks of all groups brought no result, warm-up included."""
        return sum((stats.drops for stats in self.groups.values()), Counter[Reason]())

    def value(self, metric: Metric, name: str = ALL) -> Value:
        """Returns a metric of a user group, of a server, or of all together; None where the
        metric is not of such."""
        parts = self._parts(metric)
        chosen = [*parts.values()] if name == ALL else [parts[name]] if name in parts else []
        return metric.fold(chosen, self._span) if chosen else None

    def summary(self) -> dict[str, dict[str, Value]]:
        """Returns every metric of every group, and of `all`."""
        return {
            name: {key: self.value(metric, name) for key, metric in METRICS.items()}
            for name in (*self.groups, ALL)
        }

    def of_servers(self) -> dict[str, dict[str, Value]]:
        """Returns the metrics of servers, of each."""
        return {
            name: {k: self.value(m, name) for k, m in METRICS.items() if m.of == "server"}
            for name in self.servers
        }

    def balance(self) -> dict[str, int]:
        """Returns the account of all tasks: generated = completed + expired + dropped + in flight
        + lost with a host. Warm-up included."""
        ended = self.outcomes
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
