"""A real Prometheus scrapes a run that a fault disturbs; its rules, alerts and dashboard answer."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    PATIENCE_S,
    UNHURRIED,
    Spec,
    distribution,
    free_port,
    scenario,
    server_group,
    unfold,
    user_group,
)
from prometheus_client import CollectorRegistry, generate_latest
from ruamel.yaml import YAML

from agents.messages import TaskEnd
from emulator.checks import source
from emulator.live.prometheus import LAST_SCRAPE_MAX_S, USERS_MAX, Exporter
from emulator.results.histogram import Bins
from emulator.results.journal import Readings
from emulator.runtime.recorder import Progress
from emulator.scenario.schema import Scenario

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy" / "prometheus"
BOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "fresco.json").read_text())
TOKEN_PATH = "/run/secrets/fresco-token"
DEADLINE_S = 0.37  # no bucket's border by itself

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="no prometheus here: apt-get install prometheus",
)


def spec(users: int = 2) -> Spec:
    return scenario(
        duration_s=60.0,
        users=[user_group(count=users, deadline_s=DEADLINE_S)],
        servers=[server_group(distribution("exponential", 0.01), count=2)],
        channel={"kind": "bernoulli", "loss": 0.3, "rate_bps": 3.0e3},
        faults=[{"type": "loss", "target": "*", "p": 0.1, "at_s": 2.0}],
    )


def page(given: Spec) -> tuple[str, list[TaskEnd]]:
    """Plays a scenario; returns the last page of metrics and the ends of all tasks."""
    exporter, ends = Exporter(Scenario.model_validate(given)), []
    for step, metrics in unfold(given):
        exporter.take(Progress(metrics, step, 1.0))
        ends += [record for record in step.records if isinstance(record, TaskEnd)]
    registry = CollectorRegistry()
    registry.register(exporter)
    return generate_latest(registry).decode(), ends


def expressions() -> list[str]:
    panels = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    return panels + [each["expr"] for each in BOARD["annotations"]["list"]]


def test_bins_count_as_one_by_one_would() -> None:
    values = [float(v) for v in np.random.default_rng(1).integers(0, 40, 10_000)] + [7.0, 20.0]
    bins = Bins((7.0, 20.0, 30.5))
    for value in values:
        bins.add(value)
        bins.settle()

    assert bins.cumulative() == [
        sum(v <= bound for v in values) for bound in (7.0, 20.0, 30.5, np.inf)
    ]
    assert bins.total == sum(values)


def test_a_deadline_is_a_border_so_that_late_results_can_be_counted_exactly() -> None:
    text, ends = page(spec())

    sample = f'fresco_task_delay_seconds_bucket{{group="user",le="{DEADLINE_S}",priority="0",'
    (line,) = (line for line in text.splitlines() if line.startswith(sample + 'stage="total"'))
    done = [end for end in ends if end.outcome == "completed"]
    assert float(line.split()[-1]) == sum(e.ended_s - e.born_s <= DEADLINE_S for e in done)
    assert len(done) > 10


def test_the_number_of_series_does_not_depend_on_the_number_of_users() -> None:
    counts = {sum(line[0] != "#" for line in page(spec(n))[0].splitlines()) for n in (2, 40)}

    assert len(counts) == 1


def test_how_long_a_server_was_busy_is_the_time_that_its_tasks_were_in_service() -> None:
    text, ends = page(spec())

    served_s = dict.fromkeys(("edge-0", "edge-1"), 0.0)
    for end in ends:
        if end.outcome == "completed":
            served_s[end.server] += end.finished_s - end.started_s
    for server, known_s in served_s.items():
        sample = f'fresco_server_busy_seconds_total{{server="{server}"}} '
        (line,) = (line for line in text.splitlines() if line.startswith(sample))
        # One task at a time; those whose result was still on its way add some of 10 ms at most.
        assert known_s <= float(line.split()[-1]) * (1.0 + 1e-9)
        assert float(line.split()[-1]) == pytest.approx(known_s, rel=0.1, abs=0.1)
    assert sum(served_s.values()) > 0.2


@pytest.mark.parametrize("name", ["popec-async", "todg-blackout"])
def test_what_the_nodes_say_to_each_other_is_counted(name: str) -> None:
    changes = {"duration_s": 3.0, "warmup_s": 0.0, "faults": [], "expect": []}
    chosen = source.load(ROOT / "scenarios" / f"{name}.yaml", changes)
    exporter, newest = Exporter(chosen), {}
    for step, metrics in unfold(chosen.model_dump(exclude_none=True)):
        exporter.take(Progress(metrics, step, 1.0))
        newest |= {r.host: r for r in step.records if isinstance(r, Readings)}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in exporter.collect()
        for sample in family.samples
    }

    reported = {
        key: sum(each.values.get(key, 0.0) for each in newest.values())
        for key in ("messages", "bytes", "rounds", "persistence", "admission")
    }
    kind = chosen.protocol.kind
    assert samples["fresco_messages_total", kind] == reported["messages"] > 100
    assert samples["fresco_message_bytes_total", kind] == reported["bytes"]
    if name == "popec-async":
        assert samples["fresco_admm_iterations_total", "async"] == reported["rounds"] > 0
        assert samples["fresco_admm_residual", "primal"] > 0
    else:
        assert samples["fresco_virtual_queue_backlog", "persistence"] == reported["persistence"]
        assert samples["fresco_virtual_queue_backlog", "admission"] == reported["admission"] > 0


def test_single_users_are_shown_only_where_that_is_asked_for_and_not_all_of_many() -> None:
    given = spec(USERS_MAX + 50)
    chosen = Scenario.model_validate(given)
    exporters = Exporter(chosen), Exporter(chosen, per_user=True)
    for step, metrics in unfold(given | {"duration_s": 2.0}):
        for exporter in exporters:
            exporter.take(Progress(metrics, step, 1.0))
    without, shown = (
        [
            s
            for family in e.collect()
            if family.name == "fresco_user_aoi_seconds"
            for s in family.samples
        ]
        for e in exporters
    )

    assert without == []
    assert len(shown) == USERS_MAX
    assert shown[7].value == metrics.ages["user-7"].age_s(step.now_s)


def test_a_user_who_left_is_not_shown() -> None:
    churn = {"type": "user_churn", "target": "user-1", "at_s": 1.0}
    given = spec(3) | {"duration_s": 2.0, "faults": [churn]}
    exporter = Exporter(Scenario.model_validate(given), per_user=True)
    shown = []
    for step, metrics in unfold(given):
        exporter.take(Progress(metrics, step, 1.0))
        ages = next(f for f in exporter.collect() if f.name == "fresco_user_aoi_seconds")
        shown.append([sample.labels["user"] for sample in ages.samples])

    assert shown[0] == ["user-0", "user-1", "user-2"]
    assert shown[-1] == ["user-0", "user-2"]


def test_the_dashboard_is_well_formed_and_names_the_provisioned_source() -> None:
    source = YAML(typ="safe").load(ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml")
    uids = {each["uid"] for each in source["datasources"]}

    identities = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in BOARD["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"]["uid"] in uids
    assert BOARD["annotations"]["list"][0]["datasource"]["uid"] in uids


@needs_prometheus
@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", "--syntax-only", "prometheus.yml"],  # the token's file is a secret
        ["check", "rules", "--lint=all", "--lint-fatal", "rules.yml", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ],
)
def test_promtool_accepts(words: list[str]) -> None:
    done = subprocess.run(["promtool", *words], cwd=RULES, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_promtool_finds_no_fault_with_the_metrics() -> None:
    text, _ = page(spec())

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_end_of_a_run_waits_for_one_more_scrape_where_somebody_scrapes() -> None:
    exporter = Exporter(Scenario.model_validate(spec()))

    def scrape() -> float:
        (over,) = (f for f in exporter.collect() if f.name == "fresco_run_over")
        return over.samples[0].value

    exporter.finish()  # nobody has scraped: it would wait for `LAST_SCRAPE_MAX_S` otherwise
    exporter = Exporter(Scenario.model_validate(spec()))
    assert scrape() == 0.0
    ending = threading.Thread(target=exporter.finish)
    ending.start()
    reported = eventually("over", scrape, within_s=LAST_SCRAPE_MAX_S)
    ending.join(timeout=LAST_SCRAPE_MAX_S / 2)

    assert reported == 1.0
    assert not ending.is_alive()


def eventually(what: str, holds: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """Asks until the answer is true; the limit only ends a test that fails."""
    give_up_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < give_up_s, f"never: {what}"
        time.sleep(0.3)
    return found


class Asking:
    """One Prometheus with our rules, scraping one run."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except ConnectionError:
            return {}
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return {}
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        except urllib.error.URLError:
            return {}

    def series(self, expr: str) -> list[Any]:
        return self.get("query", query=expr).get("result", [])

    def firing(self) -> set[str]:
        alerts = self.get("alerts").get("alerts", [])
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder, port, metrics = tmp_path_factory.mktemp("prom"), free_port(), free_port()
    secret = folder / "token"
    secret.write_text("a secret\n")
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(RULES / name, folder)
    config = (RULES / "prometheus.yml").read_text()
    config = (
        config[: config.index("  - job_name: ray")]
        .replace("emulator:7373", f"127.0.0.1:{metrics}")
        .replace(TOKEN_PATH, str(secret))
    )
    (folder / "prometheus.yml").write_text(config)
    words = ["run", "popec-live", "--runtime", "loop", "--paced", "--duration", "300"]
    words += ["--accelerator", "replay", "--dashboard-port", str(metrics), "--out", str(folder)]
    words += UNHURRIED
    # From 10 to 25 s nothing gets through, then everything is as before.
    words += ["-s", "users.0.deadline_s=0.3"]
    words += ["-s", "faults=[{at_s: 10, for_s: 15, type: blackout, target: '*'}]"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "emulator", *words],
            cwd=ROOT,
            env={**os.environ, "FRESCO_TOKEN_FILE": str(secret)},
            stdout=subprocess.DEVNULL,
        ),
        subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=subprocess.DEVNULL,
        ),
    ]
    try:
        yield Asking(f"http://127.0.0.1:{port}")
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


@needs_prometheus
def test_a_fault_makes_the_alert_fire_and_its_end_resolves_it(asking: Asking) -> None:
    eventually("a fault", lambda: asking.series("fresco_faults_active > 0"))
    eventually("PeakAoITooHigh", lambda: "PeakAoITooHigh" in asking.firing())
    eventually("healed", lambda: not asking.series("fresco_faults_active > 0"))
    eventually("silence", lambda: "PeakAoITooHigh" not in asking.firing())
    assert asking.series('up{job="fresco"} == 1')


@needs_prometheus
@pytest.mark.parametrize("expr", expressions())
def test_every_expression_of_the_dashboard_returns_data(asking: Asking, expr: str) -> None:
    # The fault is healed by now, so the annotation's bare condition holds no more.
    always = expr.removesuffix(" > 0")
    eventually(expr, lambda: asking.series(always))


@needs_prometheus
def test_every_rule_evaluates_and_every_metric_it_names_exists(asking: Asking) -> None:
    names: set[str] = set()
    for file in ("rules.yml", "alerts.yml"):
        for group in YAML(typ="safe").load(RULES / file)["groups"]:
            for rule in group["rules"]:
                unquoted = re.sub(r'"[^"]*"', "", rule["expr"])
                names |= set(re.findall(r"\b(?:fresco[a-z0-9_:]*|up)\b", unquoted))

    for name in sorted(names):
        eventually(name, lambda name=name: asking.series(name))
    groups = asking.get("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
