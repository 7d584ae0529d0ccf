"""What the live page is told, compared with the records that it is made from."""

from base64 import b64decode
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import SHIPPED, distribution, scenario, server_group, unfold, user_group

from agents.messages import TaskEnd
from emulator.build.planning import plan
from emulator.checks import source
from emulator.live.answers import Frame
from emulator.live.feed import Feed
from emulator.live.recent import ROWS, Recent
from emulator.live.tiles import tiles
from emulator.runtime.recorder import Progress, fresh_metrics
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.views.panels import CURVES_MAX, panels

SPEC = scenario(
    duration_s=20.0,
    users=[
        user_group(name="fast", count=2, priority=0, deadline_s=0.4),
        user_group(name="slow", count=3, priority=1, arrival={"kind": "poisson", "rate_hz": 6.0}),
    ],
    servers=[server_group(distribution("exponential", 0.05), count=2)],
    channel={"kind": "bernoulli", "loss": 0.2, "rate_bps": 1.0e5},
    faults=[{"type": "blackout", "target": "bs-0", "at_s": 10.0, "for_s": 5.0}],
)


def test_a_row_says_what_its_tasks_say_and_nothing_where_none_ended() -> None:
    recent = Recent()
    rows, ends, peaks = [], [], 0
    born_s: dict[str, float] = {}
    for step, metrics in unfold(SPEC):
        recent.take(metrics.window)
        done = [r for r in step.records if isinstance(r, TaskEnd) and r.outcome == "completed"]
        window = recent.row()
        row = window.columns() | window.details(metrics.servers)
        rows.append((step.now_s, row))
        ends += done
        if not done:
            assert row["delay_s/p95"] is row["part_s/queue"] is None
            continue
        delays_s = [end.ended_s - end.born_s for end in done]
        queued_s = [end.started_s - end.arrived_s for end in done]
        assert row["delay_s/p95"] == pytest.approx(np.quantile(delays_s, 0.95))
        assert row["part_s/queue"] == pytest.approx(np.quantile(queued_s, 0.95))
        urgent = [end for end in done if end.priority == 0]
        fresh_s = []  # a naive sawtooth: a fresher birth than any before ends a peak
        for end in urgent:
            if end.born_s > born_s.get(end.user, 0.0):
                fresh_s.append(end.ended_s - born_s.get(end.user, 0.0))
                born_s[end.user] = end.born_s
        peaks += len(fresh_s)
        if fresh_s:
            assert row["paoi_s/0"] == pytest.approx(sum(fresh_s) / len(fresh_s))

    assert len(ends) > 50
    assert peaks > 10
    dark = [row for now_s, row in rows if 11.0 < now_s < 14.5]
    assert all(row["delay_s/p95"] is None for row in dark)
    assert all(row.get("loss_ratio/bs-0", 1.0) == 1.0 for row in dark)


def test_a_birth_that_is_yet_to_come_counts_as_now_and_hides_no_later_news() -> None:
    metrics = fresh_metrics(Scenario.model_validate(SPEC), None)
    rows = []
    for born_s, ended_s in ((0.5, 1.0), (6.0, 2.0), (2.5, 3.0)):  # the second by a clock set back
        instants = (ended_s, ended_s, ended_s)
        reported = TaskEnd(
            "fast-0", 0, 0, born_s, 9.0, ended_s, "completed", "", "edge-0", *instants
        )
        metrics.fold([reported], ended_s)
        rows.append(metrics.window.columns())

    assert [row["delay_s/p95"] for row in rows] == [0.5, 0.0, 0.5]
    assert [row["paoi_s/0"] for row in rows] == [1.0, 1.5, 1.0]


def test_the_last_tiles_cover_the_last_rows_only() -> None:
    recent, steps = Recent(), []
    for step, metrics in unfold(SPEC):
        steps.append(step)
        recent.take(metrics.window)
        recent.row()
    span_s = steps[-1].now_s - steps[-ROWS - 1].now_s
    ends = [r for step in steps[-ROWS:] for r in step.records if isinstance(r, TaskEnd)]
    late_s = [end.ended_s - end.born_s for end in ends if end.outcome == "completed"]
    lost = sum(end.outcome != "completed" for end in ends)

    shown = recent.tiles(urgent=0)

    assert len(late_s) > 2

    assert shown["delay_p95"] == pytest.approx(np.quantile(late_s, 0.95))
    assert shown["lost"] == pytest.approx(lost / span_s)


@pytest.mark.parametrize("path", SHIPPED)
def test_every_scenario_has_panels_that_fit(path: Path) -> None:
    chosen = source.load(path)

    shown = panels(chosen)

    columns = [curve.column for panel in shown for curve in panel.curves]
    assert len(columns) == len(set(columns))
    assert all(0 < len(panel.curves) <= CURVES_MAX for panel in shown)
    assert len({tile.name for tile in tiles(chosen)}) == len(tiles(chosen))


def test_a_frame_has_every_tile_and_only_finite_numbers(tmp_path: Path) -> None:
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    feed = Feed(planned, Steering(planned), str(tmp_path))
    for step, metrics in unfold(SPEC):
        feed.take(Progress(metrics, step, 1.0))

    frame = msgspec.json.decode(feed.frame, type=Frame, strict=True)
    assert frame.tiles.keys() >= {tile.name for tile in tiles(planned.scenario)}
    assert len(b64decode(frame.ages)) == len(feed.topology().users)
    history = feed.history()
    assert all(len(values) == len(history.at_s) for values in history.columns.values())


def test_a_long_run_keeps_its_beginning_in_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FRAME_S", 0.0), ("ROW_S", 0.0), ("ROWS_MAX", 50)):
        monkeypatch.setattr(f"emulator.live.feed.{name}", value)
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    feed, steps = Feed(planned, Steering(planned), str(tmp_path)), 0
    for step, metrics in unfold(SPEC):
        feed.take(Progress(metrics, step, 1.0))
        steps += 1
        assert len(feed.rows) <= 50

    at_s = feed.history().at_s
    assert steps > 300
    assert at_s == sorted(set(at_s))
    assert at_s[0] < 2.0
    assert at_s[-1] == 20.0
