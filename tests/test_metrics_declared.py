"""A metric is declared once: it is shown everywhere, and agrees with a closed form."""

from pathlib import Path

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, unfold, user_group
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from agents.messages import TaskEnd
from emulator.checks import source
from emulator.experiments import compare
from emulator.live.prometheus import Exporter
from emulator.results.measures import METRICS
from emulator.results.units import readable
from emulator.runtime.recorder import Progress
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.views import report
from emulator.views.panels import panels
from emulator.views.terminal import metrics_table

SERVICE_S = 0.1
WHOLE = 1.0 + 1e-9  # steps are differences of running sums of floats
ADDED = ("utilisation", "queueing_share")


def queue(rho: float, kind: str = "exponential", **changes: object) -> Spec:
    """One user and one server of load `rho`; nothing else takes time."""
    arrival = {"kind": "poisson", "rate_hz": rho / SERVICE_S}
    return scenario(
        duration_s=3000.0,
        users=[user_group(arrival=arrival)],
        servers=[server_group(distribution(kind, SERVICE_S), queue_len_max=10_000)],
    ) | dict(changes)


# Seed 1, 3000 s: 15,000 to 21,000 services. The busy share of M/M/1 spreads by
# sqrt(2 rho (1 + rho) s / ((1 - rho) T)) of itself times (1 - rho): under 0.01. Four of that.
@pytest.mark.parametrize("rho", [0.5, 0.7])
@pytest.mark.parametrize(
    ("kind", "scv"), [("exponential", 1.0), ("deterministic", 0.0)], ids=["M/M/1", "M/D/1"]
)
def test_load_and_waiting_are_those_of_the_closed_form(rho: float, kind: str, scv: float) -> None:
    found = perform(queue(rho, kind, warmup_s=50.0)).metrics

    wait_s = rho * SERVICE_S * (1.0 + scv) / (2.0 * (1.0 - rho))  # Pollaczek and Khinchine
    numbers = found.summary()["all"]
    assert numbers["utilisation"] == pytest.approx(rho, abs=0.03)
    assert numbers["queueing_share"] == pytest.approx(wait_s / (wait_s + SERVICE_S), abs=0.04)
    assert found.of_servers()["edge-0"]["utilisation"] == numbers["utilisation"]


def test_how_busy_a_server_is_follows_from_the_services_that_the_journal_holds() -> None:
    servers = [server_group(distribution("exponential", 0.05), count=2)]
    spec = scenario(
        duration_s=200.0, users=[user_group(count=8)], servers=servers, protocol={"kind": "random"}
    )

    records, metrics, _ = perform(spec)

    served_s = dict.fromkeys(("edge-0", "edge-1"), 0.0)
    for end in records:
        if isinstance(end, TaskEnd) and end.outcome == "completed":
            served_s[end.server] += end.finished_s - end.started_s
    for server, found in metrics.of_servers().items():
        assert found["utilisation"] == pytest.approx(served_s[server] / 200.0, abs=0.002)
    both = metrics.summary()["all"]["utilisation"]
    assert both == pytest.approx(sum(served_s.values()) / 400.0, abs=0.002)


@pytest.mark.parametrize(
    ("at_s", "for_s"), [(0.0, 10.0), (20.0, 15.0), (20.0, None)], ids=["first", "middle", "last"]
)
def test_time_in_which_a_server_is_down_counts_for_nothing(at_s: float, for_s: object) -> None:
    crash = {"type": "server_crash", "target": "edge-*", "at_s": at_s}
    spec = queue(3.0, duration_s=60.0, faults=[crash | ({"for_s": for_s} if for_s else {})])

    curve, last = [], {}
    for _, metrics in unfold(spec):
        curve.append(metrics.series.newest("utilisation/edge-0"))
        last = metrics.of_servers()["edge-0"]

    # At three times what it can serve it is always busy, but for the first gap after each start.
    assert 0.98 < last["utilisation"] <= WHOLE
    assert all(each is None or 0.0 <= each <= WHOLE for each in curve)
    down_until_s = 60.0 if for_s is None else at_s + float(str(for_s))
    step_s = 60.0 / len(curve)
    dark = curve[int(at_s / step_s) + 2 : int(down_until_s / step_s) - 2]
    assert dark.count(None) == len(dark) > 10


def test_a_slower_server_is_busier() -> None:
    slow = {"type": "server_slowdown", "target": "*", "factor": 3.0, "at_s": 0.0}

    found = perform(queue(0.25, faults=[slow])).metrics.summary()["all"]

    assert found["utilisation"] == pytest.approx(0.75, abs=0.03)


def test_a_wrong_clock_leaves_a_share_a_share() -> None:
    skew = {"type": "clock_skew", "target": "edge-0", "offset_s": 5.0, "at_s": 10.0, "for_s": 20.0}

    for _, metrics in unfold(queue(0.9, duration_s=60.0, faults=[skew])):
        value = metrics.series.newest("utilisation/edge-0")
        assert value is not None
        assert 0.0 <= value <= WHOLE


def test_what_is_declared_is_shown_everywhere(tmp_path: Path) -> None:
    spec = queue(0.6, duration_s=20.0)
    chosen = Scenario.model_validate(spec)
    session, exporter = Session(chosen, tmp_path), Exporter(chosen)
    for progress in session:
        exporter.take(Progress(progress.metrics, progress.step, 1.0))
    registry, console = CollectorRegistry(), Console(record=True, width=120)
    registry.register(exporter)

    console.print(metrics_table(session.summary["metrics"], chosen, ""))
    terminal, scraped = console.export_text(), generate_latest(registry).decode()
    page = report.write(tmp_path, report.read(tmp_path)).read_text()
    plots = {panel.title: panel for panel in panels(chosen)}
    names = Scenario.model_json_schema()["$defs"]["Expect"]["properties"]["metric"]["enum"]

    for metric in (METRICS[name] for name in ADDED):
        value = session.summary["metrics"]["all"][metric.name]
        assert metric.label in terminal
        assert readable(metric.unit, value) in terminal
        assert metric.label in page
        assert metric.curve is not None
        assert metric.curve.title in page
        assert plots[metric.curve.title].curves[0].column in session.metrics.series.columns
        assert f"\n{metric.gauge}{{" in scraped
        assert metric in compare.COMPARED
        assert metric.name in names
    assert METRICS["utilisation"].gauge == "fresco_utilisation_ratio"


def test_metrics_have_labels_and_gauges_of_their_own() -> None:
    for what in ("label", "gauge", "column"):
        assert len({getattr(metric, what) for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"metric": "utilisation", "of": "edge-0", "below": 0.9}, ""),
        ({"metric": "utilisation", "of": "all", "below": 0.9}, ""),
        ({"metric": "utilisation", "of": "user", "below": 0.9}, "unknown server 'user'"),
        ({"metric": "queueing_share", "of": "edge-0", "below": 0.9}, "unknown group 'edge-0'"),
        ({"metric": "bytes_per_slot", "of": "user", "below": 9}, "is of the whole network"),
    ],
)
def test_expectations_name_what_a_metric_is_of(expect: Spec, said: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        source.dump(Scenario.model_validate(queue(0.5, duration_s=5.0, expect=[expect])))
    )

    if said:
        with pytest.raises(source.ScenarioError, match=said):
            source.load(path)
        return
    (checked,) = Session(source.load(path)).run()["expect"]
    assert checked["holds"]
