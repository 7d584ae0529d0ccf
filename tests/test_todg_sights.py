"""What is seen of a scheduled network: schedules against the optimum, stays, drops, violations."""

import math
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from conftest import Played, Spec, perform, unfold
from test_report import play_into
from todg_network import SLOT_S, kind, network

from agents.messages import TaskEnd
from agents.messages.slots import Allocated
from agents.todg.allocation.conflict_graph import ConflictGraph
from agents.todg.line import Line
from agents.todg.readings import BREACHES
from emulator.build.planning import plan
from emulator.results.metrics import broken_bounds
from emulator.results.stats import SOJOURN_BINS
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import SAMPLED_SLOTS, bounds_s, sampled_slots
from emulator.views import report
from tests.todg_reference import conflict

# Twice what the channels carry, so that the bound drops tasks.
BUSY = network(
    duration_s=6.0,
    users=[
        kind("alarm", value=4.0, input_bits=4.0e4),
        kind("survey", priority=1, input_bits=1.5e5, deadline_s=4.0, work=5.0),
    ],
)


def frame_of(spec: Spec) -> Any:
    return plan(Scenario.model_validate(spec), stopwatch=False).frame()


@pytest.fixture(scope="module")
def played() -> Played:
    return perform(BUSY | {"protocol": {"kind": "todg", "effort": 0}})


def ends_of(played: Played, group: str) -> list[TaskEnd]:
    return [r for r in played.records if isinstance(r, TaskEnd) and r.user.startswith(group)]


def sojourn_s(end: TaskEnd) -> float:
    return (end.finished_s if end.outcome == "completed" else end.ended_s) - end.born_s


def heaviest(graph: ConflictGraph, weights: dict[tuple[int, int], float]) -> float:
    """The optimum by another way than the observer's: a clique of the complement, in integers."""
    vertices: nx.Graph[tuple[int, int]] = nx.Graph()
    vertices.add_nodes_from((user, k) for user in graph.users for k in range(graph.channels))
    vertices.add_edges_from(
        ((a, k), (b, m))
        for a, k in list(vertices)
        for b, m in list(vertices)
        if (a == b and k != m) or (a != b and k == m and conflict(graph.at[a], graph.at[b]))
    )
    free = nx.complement(vertices)
    free.remove_nodes_from([vertex for vertex in list(free) if weights[vertex] <= 0.0])
    nx.set_node_attributes(free, {v: round(1e6 * weights[v]) for v in free}, "units")
    return nx.max_weight_clique(free, "units")[1] / 1e6


def test_the_achieved_weight_is_that_of_the_schedule_over_the_heaviest(played: Played) -> None:
    graph = frame_of(BUSY).graph
    slots: dict[int, list[Allocated]] = {}
    for record in played.records:
        if isinstance(record, Allocated):
            slots.setdefault(record.slot, []).append(record)
    expected = []
    for parts in slots.values():
        weights, won = {}, 0.0
        for part in parts:
            reported = np.frombuffer(part.weights, dtype=np.float32).reshape(len(part.users), -1)
            for user, row, channel in zip(part.users, reported, part.channel, strict=True):
                weights |= {(user, k): float(w) for k, w in enumerate(row)}
                won += weights[user, channel] if channel >= 0 else 0.0
        if (most := heaviest(graph, weights)) > 0.0:
            expected.append(won / most)

    allocations = played.metrics.allocations

    assert allocations is not None
    # Weights are rounded to 1e-6 for the clique; they are of the order of 1 and more.
    assert allocations.shares == pytest.approx(expected, abs=1e-5)
    assert len(expected) > SAMPLED_SLOTS / 2
    assert min(expected) < 0.999, "one mini-round is too little to always find the optimum"
    summary = played.metrics.summary()["all"]
    assert summary["weight_ratio_mean"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert summary["weight_ratio_min"] == pytest.approx(min(expected), abs=1e-5)
    column = played.metrics.series.columns["weight_ratio"]
    assert [each for each in column if each is not None]


def test_told_slots_are_one_of_each_equal_stretch() -> None:
    chosen = Scenario.model_validate(BUSY)
    frame = frame_of(BUSY)

    slots = sampled_slots(chosen, frame)

    stretch = 6.0 / SLOT_S / SAMPLED_SLOTS
    assert [math.floor(slot / stretch) for slot in sorted(slots)] == list(range(SAMPLED_SLOTS))
    assert (
        slots
        == sampled_slots(chosen, frame)
        != sampled_slots(chosen.model_copy(update={"seed": 2}), frame)
    )
    many = [kind("alarm", count=201)]
    spec = BUSY | {"users": many}
    assert sampled_slots(Scenario.model_validate(spec), frame_of(spec)) == frozenset()


@pytest.mark.parametrize("group", ["alarm", "survey"])
def test_the_histogram_of_stays_is_that_of_the_journal(played: Played, group: str) -> None:
    ends = ends_of(played, group)
    stats = played.metrics.groups[group]
    due_s = stats.group.deadline_s
    edges = np.array([0.0, *(due_s * n / SOJOURN_BINS for n in range(1, SOJOURN_BINS + 1))])

    for counts, completed in ((stats.stays.finished_s, True), (stats.stays.given_up_s, False)):
        stays = [sojourn_s(end) for end in ends if (end.outcome == "completed") == completed]
        # Bins hold their upper bound, numpy's their lower: mirrored, they are the same.
        expected, _ = np.histogram([-each for each in stays], bins=-edges[::-1])
        assert counts.counts() == [*expected[::-1].tolist(), 0]
    longest_s = max(map(sojourn_s, ends))
    assert (
        played.metrics.summary()[group]["sojourn_max_ratio"] == longest_s / stats.group.deadline_s
    )
    curve = played.metrics.series.columns[f"sojourn_s/{group}"]
    assert max(each for each in curve if each is not None) == longest_s


def test_the_reasons_add_up_to_all_that_was_given_up(played: Played) -> None:
    balance, groups = played.metrics.balance(), played.metrics.groups.values()

    assert sum(stats.drops.total() for stats in groups) == balance["expired"] + balance["dropped"]
    series = played.metrics.series
    steps_s = np.diff([0.0, *series.at_s])
    reasons = {end.reason for end in ends_of(played, "")} - {""}
    assert "bound" in reasons
    for reason in reasons:
        gained = series.columns[f"given_up_hz/{reason}"]
        total = sum((each or 0.0) * step_s for each, step_s in zip(gained, steps_s, strict=True))
        expected = sum(end.reason == reason for end in ends_of(played, ""))
        assert total == pytest.approx(expected)


def test_no_stay_is_longer_than_the_bound_and_a_smaller_v_bounds_it_lower() -> None:
    bounds = []
    for v in (5, 20):
        spec = BUSY | {"protocol": {"kind": "todg", "V": v}}
        bounds.append(bounds_s(Scenario.model_validate(spec), frame_of(spec)))
        played = perform(spec)
        for group, bound_s in bounds[-1].items():
            assert max(map(sojourn_s, ends_of(played, group))) <= bound_s
    assert all(bounds[0][group] < bounds[1][group] for group in bounds[0])
    rival = BUSY | {"protocol": {"kind": "edf"}}
    assert bounds_s(Scenario.model_validate(rival), frame_of(rival)) == {}


def test_violations_are_counted_while_the_run_goes_on() -> None:
    faults = [{"at_s": 1.0, "for_s": 1.0, "type": "delay", "target": "rack-0,box-0", "delay_s": 6}]
    spec = network(duration_s=9.0, faults=faults, users=[kind("alarm")])

    counted, last = [], None
    for _, metrics in unfold(spec):
        last = metrics
        counted.append(metrics.violations)

    assert last is not None
    assert counted[0] == 0
    assert counted == sorted(counted)
    assert counted[-1] == last.summary()["all"]["overdue"] > 0
    assert last.series.columns["violations"] == counted


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "0 tasks late, no queue bound exceeded"),
        ({"late": 1}, "1 task late, no queue bound exceeded"),
        ({"backlog_breaches": 1}, "0 tasks late; a backlog bound was exceeded"),
        (
            {"late": 2, "wait_breaches": 3, "admission_breaches": 1},
            "2 tasks late; a bound of waiting in a queue was exceeded 3 times; "
            "an admission bound was exceeded",
        ),
    ],
)
def test_which_bound_broke_is_said(broken: dict[str, int], said: str) -> None:
    assert broken_bounds(dict.fromkeys(["late", *BREACHES], 0) | broken) == said


def test_a_broken_backlog_bound_is_not_called_a_broken_delay_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Line, "is_within_bounds", False)
    folder = play_into(tmp_path, BUSY)

    summary = report.read(folder).summary
    broken = summary["bounds_broken"]
    assert broken["backlog_breaches"] == summary["violations"] > 1
    assert summary["verdict"] == "failed"
    (cause,) = summary["causes"]
    assert cause == f"0 tasks late; a backlog bound was exceeded {summary['violations']:,} times"
    page = report.write(folder, report.read(folder)).read_text()
    assert page.count(cause) == 3  # alert, head, and the picture of stays
    assert "violations" not in cause


def test_the_report_draws_deadline_bound_and_longest_stay(tmp_path: Path) -> None:
    page = report.write(tmp_path, report.read(play_into(tmp_path, BUSY))).read_text()

    drawing = re.findall(r"<h2>How long tasks stayed.*?</svg>", page, re.DOTALL)[0]
    assert "0 tasks late, no queue bound exceeded" in drawing
    assert len(re.findall(r">\w+: longest .* of the deadline; bound \d", drawing)) == 2
    assert all(f">{mark}<" in drawing for mark in ("deadline", "proven bound", "longest"))
    assert "weight of a slot&#x27;s schedule over the heaviest there is, mean" in page
    assert "<td>bound</td>" in page
