"""The same metrics for Prometheus: a page on loopback, made afresh while the run goes on.

The number of series does not depend on the number of users. A scrape reads a finished snapshot,
so it never waits for the run and the run never for it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import HTTPServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from emulator.results.histogram import Bins
from emulator.results.measures import METRICS
from emulator.results.metrics import Metrics
from emulator.results.stats import ALL
from emulator.runtime.recorder import Progress
from emulator.runtime.session import versions
from emulator.scenario.schema import Scenario

CLASS = ("group", "priority")
USERS_MAX = 200  # users with a series of their own, where that is asked for
LAST_SCRAPE_MAX_S = 5.0  # wall; the end of a run waits so long for who scrapes it to be told
CELLS_MAX = 64  # cells with a label of their own; what happens in further ones is `other`'s


class Exporter(Collector):
    """Serves `/metrics`; `take` is called after steps."""

    def __init__(self, scenario: Scenario, per_user: bool = False) -> None:
        """`per_user`: the age of each of the first `USERS_MAX` users too."""
        self._scenario, self._per_user = scenario, per_user
        self._snapshot: Sequence[Metric] = ()
        self._is_over, self._is_scraped, self._told = False, False, threading.Event()
        self._ages_s: dict[str, Bins] = {}
        # Every accelerator of a server group runs the same network.
        self._models = {
            f"{group.name}-{number}": getattr(group.accelerator, "model", "fitted")
            for group in scenario.servers
            for number in range(group.count)
        }
        self._build = {"scenario": scenario.name, "protocol": scenario.protocol.kind, **versions()}

    def serve(self, port: int) -> tuple[str, HTTPServer]:
        """Starts serving on loopback; port 0 takes a free one. OSError where it is taken."""
        registry = CollectorRegistry()
        registry.register(self)
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
        return f"http://127.0.0.1:{server.server_port}/metrics", server

    def collect(self) -> Iterator[Metric]:
        is_over, self._is_scraped = self._is_over, True
        yield from self._snapshot
        about = "1 when the run is over or was stopped; a run that falls silent at 0 has broken"
        yield GaugeMetricFamily("fresco_run_over", about, value=is_over)
        if is_over:
            self._told.set()

    def finish(self) -> None:
        """Says that the run is over, and waits for one more scrape if anybody scrapes."""
        self._is_over = True
        if self._is_scraped:
            self._told.wait(LAST_SCRAPE_MAX_S)

    def take(self, progress: Progress) -> None:
        """Makes the page of this step, and looks at the age of each user once."""
        now_s = progress.step.now_s
        for name, stats in progress.metrics.groups.items():
            ages_s = self._ages_s.setdefault(name, Bins(stats.ages.bounds_s))
            for tracker in stats.ages.users:
                if tracker.is_present:
                    ages_s.add(tracker.age_s(now_s))
            ages_s.settle()
        self._snapshot = [
            *self._classes(progress.metrics, now_s),
            *self._links(progress.metrics),
            *self._servers(progress.metrics),
            *self._declared(progress.metrics),
            *self._protocol(progress.metrics),
            *self._negotiation(progress.metrics),
            *(self._users(progress.metrics, now_s) if self._per_user else ()),
            *self._faults(progress.metrics),
            *self._pace(progress),
        ]

    def _classes(self, metrics: Metrics, now_s: float) -> Iterator[Metric]:
        mean = GaugeMetricFamily(
            "fresco_aoi_mean_seconds", "Age of information now, mean over users", labels=CLASS
        )
        age = HistogramMetricFamily(
            "fresco_aoi_seconds",
            "Age of information, looked at up to five times a second",
            labels=CLASS,
        )
        peak = HistogramMetricFamily(
            "fresco_peak_aoi_seconds", "Peak age of information", labels=CLASS
        )
        delay = HistogramMetricFamily(
            "fresco_task_delay_seconds",
            "Delay of tasks that brought a result, by stage",
            labels=("stage", *CLASS),
        )
        tasks = CounterMetricFamily("fresco_tasks", "Tasks that ended", labels=("outcome", *CLASS))
        missed = CounterMetricFamily(
            "fresco_deadline_misses", "Tasks that did not meet their deadline", labels=CLASS
        )
        bound = CounterMetricFamily(
            "fresco_deadline_tasks", "Tasks that ended and had a deadline", labels=CLASS
        )
        for name, stats in metrics.groups.items():
            labels = (name, str(stats.group.priority))
            ages_s = [tracker.age_s(now_s) for tracker in stats.ages.users if tracker.is_present]
            if ages_s:
                mean.add_metric(labels, sum(ages_s) / len(ages_s))
            _add(age, labels, self._ages_s[name])
            _add(peak, labels, stats.ages.peak_s)
            _add(delay, ("total", *labels), stats.delays.total_s)
            for stage, bins in stats.delays.stages_s.items():
                _add(delay, (stage, *labels), bins)
            missed.add_metric(labels, stats.tasks.missed)
            bound.add_metric(labels, stats.tasks.with_deadline)
            for outcome in ("completed", "expired", "dropped"):
                tasks.add_metric((outcome, *labels), stats.tasks.outcomes[outcome])
        yield from (mean, age, peak, delay, tasks, missed, bound)

    def _links(self, metrics: Metrics) -> Iterator[Metric]:
        cells = sorted({bs for bs, _ in metrics.links.attempts})[:CELLS_MAX]
        attempts, losses = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        for (bs, kind), count in metrics.links.attempts.items():
            attempts[bs if bs in cells else "other", kind] += count
        for (bs, kind, reason), count in metrics.links.losses.items():
            losses[bs if bs in cells else "other", kind, reason] += count
        yield _counter("fresco_link_attempts", "Transmission attempts", ("bs", "link"), attempts)
        labels = ("bs", "link", "reason")
        yield _counter("fresco_link_drops", "Transmission attempts lost", labels, losses)
        yield CounterMetricFamily(
            "fresco_link_bytes",
            "Bytes that all attempts put on the air",
            value=metrics.links.bits / 8.0,
        )

    def _servers(self, metrics: Metrics) -> Iterator[Metric]:
        backlog = GaugeMetricFamily(
            "fresco_queue_backlog_tasks", "Tasks waiting or running", labels=("server",)
        )
        service = HistogramMetricFamily(
            "fresco_inference_duration_seconds",
            "Service of a task, all of its batch",
            labels=("model", "server"),
        )
        busy = CounterMetricFamily(
            "fresco_server_busy_seconds", "Emulated time spent serving", labels=("server",)
        )
        for name, server in metrics.servers.items():
            backlog.add_metric((name,), server.report.backlog)
            busy.add_metric((name,), server.report.busy_s)
            _add(service, (self._models[name], name), server.service_s)
        yield from (backlog, busy, service)

    def _declared(self, metrics: Metrics) -> Iterator[Metric]:
        """Gauges of the metrics that no counter or histogram tells, since the warm-up ended."""
        for metric in (each for each in METRICS.values() if each.is_gauge):
            labels: dict[str, tuple[str, ...]] = {ALL: ()}
            if metric.of == "group":
                labels = {k: (k, str(stats.group.priority)) for k, stats in metrics.groups.items()}
            elif metric.of == "server":
                labels = {name: (name,) for name in metrics.servers}
            keys = {"group": CLASS, "server": ("server",), "network": ()}[metric.of]
            about = metric.about[0].upper() + metric.about[1:]
            family = GaugeMetricFamily(metric.gauge, about, labels=keys)
            for name, values in labels.items():
                if (value := metrics.value(metric, name)) is not None:
                    family.add_metric(values, value)
            if family.samples:
                yield family

    def _protocol(self, metrics: Metrics) -> Iterator[Metric]:
        """What the protocol reports of itself, at its latest: as in the report."""
        series, kind = metrics.series, self._scenario.protocol.kind
        shown = GaugeMetricFamily(
            "fresco_protocol_reading",
            "What the protocol reports of itself",
            labels=("protocol", "reading"),
        )
        residual = GaugeMetricFamily("fresco_admm_residual", "Residual", labels=("kind",))
        for reading in series.readings:
            value = series.newest(f"protocol/{reading.name}")
            if value is None:
                continue
            shown.add_metric((kind, reading.name), value)
            if reading.name in ("primal", "dual"):
                residual.add_metric((reading.name,), value)
        yield from (shown, residual)

    def _negotiation(self, metrics: Metrics) -> Iterator[Metric]:
        """What nodes say to each other to decide, and the queues that TODG keeps for it."""
        reported, kind = metrics.hosts.reported(), self._scenario.protocol.kind
        for reading, name, about in (
            ("messages", "fresco_messages", "Control messages sent"),
            ("bytes", "fresco_message_bytes", "Bytes of the control messages sent"),
        ):
            if reading in reported:
                family = CounterMetricFamily(name, about, labels=("protocol",))
                family.add_metric((kind,), reported[reading])
                yield family
        if "rounds" in reported:
            rounds = CounterMetricFamily(
                "fresco_admm_iterations", "Rounds of all users", labels=("mode",)
            )
            rounds.add_metric(("async" if kind.endswith("-async") else "sync",), reported["rounds"])
            yield rounds
        queues = GaugeMetricFamily(
            "fresco_virtual_queue_backlog", "Virtual queues, all together", labels=("kind",)
        )
        for name in ("persistence", "admission"):
            if name in reported:
                queues.add_metric((name,), reported[name])
        if queues.samples:
            yield queues

    def _users(self, metrics: Metrics, now_s: float) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "fresco_user_aoi_seconds", "Age of information of a user now", labels=("user",)
        )
        for user, tracker in list(metrics.ages.items())[:USERS_MAX]:
            if tracker.is_present:
                ages.add_metric((user,), tracker.age_s(now_s))
        yield ages

    def _faults(self, metrics: Metrics) -> Iterator[Metric]:
        begun = Counter(str(c.fault["type"]) for c in metrics.fault_log if c.op == "begin")
        active = Counter(str(c.fault["type"]) for c in metrics.faults_active.values())
        now = GaugeMetricFamily("fresco_faults_active", "Active faults", labels=("type",))
        ever = CounterMetricFamily("fresco_faults_injected", "Faults so far", labels=("type",))
        for kind in sorted({fault.type for fault in self._scenario.faults} | begun.keys()):
            now.add_metric((kind,), active[kind])
            ever.add_metric((kind,), begun[kind])
        yield from (now, ever)

    def _pace(self, progress: Progress) -> Iterator[Metric]:
        now_s, lateness, scenario = progress.step.now_s, progress.step.lateness, self._scenario
        actors = GaugeMetricFamily("fresco_actors", "Nodes", labels=("kind",))
        for kind in ("users", "base_stations", "servers"):
            actors.add_metric(
                (kind.removesuffix("s"),), sum(g.count for g in getattr(scenario, kind))
            )
        yield actors
        yield GaugeMetricFamily("fresco_sim_time_seconds", "Emulated time", value=now_s)
        if progress.speed > 0.0:
            yield GaugeMetricFamily(
                "fresco_time_scale_ratio",
                "Emulated seconds per second of the wall clock",
                value=progress.speed,
            )
        if lateness is not None:
            late = GaugeMetricFamily(
                "fresco_lateness_seconds", "How late events were handled", labels=("quantile",)
            )
            for q in (0.5, 0.99):
                late.add_metric((str(q),), lateness.quantile_s(q))
            yield late
        yield InfoMetricFamily("fresco_build", "What runs", value=self._build)


def _counter(
    name: str, about: str, labels: tuple[str, ...], counts: Counter[tuple[str, ...]]
) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], bins: Bins) -> None:
    bounds = [*map(str, bins.bounds), "+Inf"]
    cumulative = map(float, bins.cumulative())
    family.add_metric(labels, list(zip(bounds, cumulative, strict=True)), bins.total)
