"""The same metrics for Prometheus: a page on loopback, made afresh after every step.

The number of series does not depend on the number of users. A scrape reads a finished snapshot,
so it never waits for the run and the run never for it.
"""

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

from emulator.run import Progress, versions
from emulator.scenario import Scenario
from emulator.stats import Histogram

AGE_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
DELAY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CLASS = ("group", "priority")


class Exporter(Collector):
    """Serves `/metrics`; `take` is called after every step."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._snapshot: Sequence[Metric] = ()
        self._build = {"scenario": scenario.name, "protocol": scenario.protocol.kind, **versions()}

    def serve(self, port: int) -> tuple[str, HTTPServer]:
        """Starts serving on loopback; port 0 takes a free one. OSError where it is taken."""
        registry = CollectorRegistry()
        registry.register(self)
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
        return f"http://127.0.0.1:{server.server_port}/metrics", server

    def collect(self) -> Iterator[Metric]:
        yield from self._snapshot

    def take(self, progress: Progress) -> None:
        self._snapshot = list(self._families(progress))

    def _families(self, progress: Progress) -> Iterator[Metric]:
        metrics, step = progress.metrics, progress.step
        age = GaugeMetricFamily(
            "fresco_aoi_mean_seconds", "Age of information now, mean over users", labels=CLASS
        )
        peak = HistogramMetricFamily(
            "fresco_peak_aoi_seconds", "Peak age of information", labels=CLASS
        )
        delay = HistogramMetricFamily(
            "fresco_task_delay_seconds", "Birth of a task to receipt of its result", labels=CLASS
        )
        tasks = CounterMetricFamily("fresco_tasks", "Tasks that ended", labels=("outcome", *CLASS))
        missed = CounterMetricFamily(
            "fresco_deadline_misses", "Tasks that did not meet their deadline", labels=CLASS
        )
        users = GaugeMetricFamily("fresco_users", "Users", labels=CLASS)
        for name, stats in metrics.groups.items():
            labels = (name, str(stats.priority))
            ages_s = [tracker.age_s(step.now_s) for tracker in stats.users]
            age.add_metric(labels, sum(ages_s) / len(ages_s))
            users.add_metric(labels, len(ages_s))
            missed.add_metric(labels, stats.missed)
            for outcome in ("completed", "expired", "dropped"):
                tasks.add_metric((outcome, *labels), stats.outcomes[outcome])
            for family, histogram, bounds_s in (
                (peak, stats.peak_s, AGE_BUCKETS_S),
                (delay, stats.delay_s, DELAY_BUCKETS_S),
            ):
                family.add_metric(labels, _buckets(histogram, bounds_s), histogram.total)
        yield from (age, peak, delay, tasks, missed, users)

        attempts = CounterMetricFamily(
            "fresco_link_attempts", "Transmission attempts", labels=("bs", "link")
        )
        for (bs, kind), count in metrics.attempts.items():
            attempts.add_metric((bs, kind), count)
        losses = CounterMetricFamily(
            "fresco_link_losses", "Transmission attempts lost", labels=("bs", "link", "reason")
        )
        for key, count in metrics.losses.items():
            losses.add_metric(key, count)
        backlog = GaugeMetricFamily(
            "fresco_queue_backlog_tasks", "Tasks waiting or running", labels=("server",)
        )
        service = GaugeMetricFamily(
            "fresco_service_mean_seconds", "Running estimate of E[S]", labels=("server",)
        )
        for server, report in metrics.servers.items():
            backlog.add_metric((server,), report.backlog)
            service.add_metric((server,), report.mean_s)
        faults = GaugeMetricFamily("fresco_faults_active", "Active faults", labels=("type",))
        for kind in sorted({fault.type for fault in self._scenario.faults}):
            active = sum(c.fault["type"] == kind for c in metrics.faults_active.values())
            faults.add_metric((kind,), active)
        yield from (attempts, losses, backlog, service, faults)
        yield GaugeMetricFamily("fresco_sim_time_seconds", "Emulated time", value=step.now_s)
        if step.lateness is not None:
            late = GaugeMetricFamily(
                "fresco_lateness_seconds", "How late events were handled", labels=("quantile",)
            )
            for q in (0.5, 0.99):
                late.add_metric((str(q),), step.lateness.quantile_s(q))
            yield late
        yield InfoMetricFamily("fresco_build", "What runs", value=self._build)


def _buckets(histogram: Histogram, bounds_s: Sequence[float]) -> list[tuple[str, float]]:
    counts = histogram.cumulative(bounds_s)
    labelled = [(str(bound_s), float(n)) for bound_s, n in zip(bounds_s, counts, strict=True)]
    return [*labelled, ("+Inf", float(histogram.count))]
