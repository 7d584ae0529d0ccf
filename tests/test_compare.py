"""Paired comparison against an independent computation of the same intervals."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from conftest import PATIENCE_S, Spec, distribution, perform, scenario, server_group, user_group
from rich.console import Console
from scipy import stats

from emulator.experiments import compare
from emulator.results.measures import METRICS
from emulator.scenario.schema import ProtocolChoice, Scenario

SPEC = scenario(
    duration_s=20.0,
    users=[user_group(count=4, arrival={"kind": "poisson", "rate_hz": 4.0})],
    servers=[
        server_group(distribution("exponential", 0.05), name="fast"),
        server_group(distribution("exponential", 0.05), name="slow", speed=0.5),
    ],
)
SEEDS = [1, 2, 3, 4]


def variants_of(chosen: Scenario, protocols: list[str]) -> dict[str, Scenario]:
    return {
        kind: chosen.model_copy(update={"protocol": ProtocolChoice(kind=kind)})
        for kind in protocols
    }


def test_the_paired_interval_is_that_of_scipy() -> None:
    a, b = np.array([1.0, 2.5, 3.0, 4.5]), np.array([0.5, 2.4, 2.0, 4.4])

    found = compare.estimate((a - b).tolist())

    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.half_width == pytest.approx((interval.high - interval.low) / 2)


class Compared(NamedTuple):
    comparison: compare.Comparison
    done: list[int]  # what the progress callback was told
    folder: Path


def measured(
    spec: Spec, protocols: list[str], seeds: list[int], **hooks: Any
) -> compare.Comparison:
    scenario = Scenario.model_validate(spec)
    on_progress = hooks.pop("on_progress", lambda n, of: None)
    variants = variants_of(scenario, protocols)
    return compare.measure(scenario.name, variants, seeds, on_progress, **hooks)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Two protocols at four seeds."""
    done: list[int] = []
    folder = tmp_path_factory.mktemp("compared")
    keep = compare.Lines(folder).take
    hooks: dict[str, Any] = {"on_progress": lambda n, of: done.append(n), "keep": keep}
    return Compared(measured(SPEC, ["random", "shortest-wait"], SEEDS, **hooks), done, folder)


def test_the_pool_finds_what_runs_in_this_process_find(compared: Compared) -> None:
    comparison, done, _ = compared

    assert done == list(range(1, 9))
    delays = {r.protocol: r.values for r in comparison.rows if r.metric == "delay_mean_s"}
    for protocol, values in delays.items():
        expected = [
            perform(SPEC | {"seed": seed, "protocol": {"kind": protocol}}).metrics.summary()
            for seed in SEEDS
        ]
        assert values == [summary["all"]["delay_mean_s"] for summary in expected]


def test_knowing_the_backlog_beats_not_knowing_it(compared: Compared) -> None:
    comparison = compared.comparison

    (gap,) = [r for r in comparison.rows if r.metric == "delay_mean_s" and r.difference]
    # At every seed, at this load of 0.53.
    assert gap.wins == 4
    assert gap.difference is not None
    assert gap.difference.mean + gap.difference.half_width < 0.0
    assert gap.differs


def test_better_is_counted_whichever_way_a_metric_goes(compared: Compared) -> None:
    comparison = compared.comparison
    rows = {(row.metric, row.protocol): row for row in comparison.rows}

    delays = [rows["delay_mean_s", name].values for name in ("random", "shortest-wait")]
    assert rows["delay_mean_s", "shortest-wait"].wins == sum(
        b < a for a, b in zip(*delays, strict=True)
    )
    assert compare.is_better("accuracy", 0.1)
    assert not compare.is_better("accuracy", -0.1)
    assert compare.is_better("delay_mean_s", -0.1)
    # Every metric of a comparison has a direction: more of a share of losses is never better.
    for name in ("miss_ratio", "drop_ratio", "aoi_mean_s", "sojourn_max_ratio"):
        assert not METRICS[name].more_is_better


def test_tables_use_the_words_of_run(compared: Compared, tmp_path: Path) -> None:
    comparison = compared.comparison
    console = Console(width=120, record=True, file=io.StringIO())

    console.print(comparison.table())

    text = console.export_text()
    assert all(METRICS[row.metric].label in text for row in comparison.rows)
    assert "age of information, mean" in text
    assert "better" in text
    assert "aoi_mean_s" not in text


def test_every_difference_is_that_of_scipy(compared: Compared) -> None:
    comparison = compared.comparison

    values = {(row.metric, row.protocol): np.array(row.values) for row in comparison.rows}
    for row in comparison.rows:
        if row.difference is not None and np.ptp(values[row.metric, "random"] - row.values) > 0:
            interval = stats.ttest_rel(
                values[row.metric, row.protocol], values[row.metric, "random"]
            ).confidence_interval(0.95)
            low = row.difference.mean - row.difference.half_width
            high = row.difference.mean + row.difference.half_width
            assert (low, high) == pytest.approx((interval.low, interval.high))


def test_what_is_written_holds_every_run(compared: Compared) -> None:
    comparison, _, folder = compared

    comparison.write(folder, ["svg"])

    found = msgspec.json.decode((folder / "compare.json").read_bytes(), type=compare.Comparison)
    assert found == comparison
    with (folder / "compare.csv").open() as file:
        lines = {
            (line["metric"], line["protocol"], int(line["seed"])): float(line["value"])
            for line in csv.DictReader(file)
        }
    expected = {
        (row.metric, row.protocol, seed): value
        for row in comparison.rows
        for seed, value in zip(SEEDS, row.values, strict=True)
    }
    assert lines == expected
    page = (folder / "compare.html").read_text()
    metrics = {row.metric for row in comparison.rows}
    assert page.count("<svg") == len(metrics)
    assert {file.name for file in (folder / "figures").iterdir()} == {f"{m}.svg" for m in metrics}
    assert "http" not in page.replace("http-equiv", "")


def test_a_metric_that_some_runs_lack_is_named() -> None:
    # random reaches both servers, nearest the unreachable one only: it has no delay at all
    spec = SPEC | {
        "faults": [{"at_s": 0.0, "type": "blackout", "target": "fast-0"}],
        "duration_s": 5.0,
    }

    comparison = measured(spec, ["random", "nearest"], [1, 2])

    assert "delay_mean_s" in comparison.left_out
    assert {row.metric for row in comparison.rows} >= {"aoi_mean_s", "drop_ratio"}


def test_what_is_only_rounding_is_not_printed() -> None:
    assert compare.said("sojourn_max_ratio", compare.Estimate(1.0, 1e-16)) == "100 % ± 0 %"
    assert compare.said("sojourn_max_ratio", compare.Estimate(-0.5, 0.01)) == "-50 % ± 1 %"


def test_one_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="two at least"):
        measured(SPEC, ["random"], [1])


LIVE_THEN_COMPARE = """
from emulator.views import compare
from emulator.runtime.loop import play
from emulator.scenario.schema import Scenario
from emulator.build.planning import plan

if __name__ == "__main__":
    chosen = Scenario.model_validate({spec!r})
    for step in play(plan(chosen, stopwatch=True)):
        pass
    variants = {{"as it is": chosen}}
    compare.measure("live", variants, [1, 2], lambda n, of: print(n))
"""


def test_comparing_after_a_live_run_in_the_same_process(tmp_path: Path) -> None:
    """Forked workers would hang in torch, whose threads the fork leaves behind."""
    live = {"kind": "live", "model": "digits-s", "threads": 2}
    spec = SPEC | {"duration_s": 2.0, "servers": [{"name": "edge", "accelerator": live}]}
    script = tmp_path / "live.py"
    script.write_text(LIVE_THEN_COMPARE.format(spec=spec))

    root = str(Path(compare.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout.split()) == (0, ["1", "2"]), done.stderr
