"""People change a run while it goes: what they did is recorded, and can be played again."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from conftest import Spec, distribution, in_real_time, perform, scenario, server_group, user_group
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.messages import TaskEnd
from emulator.build.known_fault import Applied
from emulator.build.planning import plan
from emulator.checks.fault_words import Conflict, Invalid, Refused, types
from emulator.faults.activation import Activation, FaultOrder
from emulator.faults.effects import HEALTHY
from emulator.faults.fold import fold
from emulator.faults.link_types import Loss
from emulator.live import replay
from emulator.live.changes import STATUS
from emulator.results import journal
from emulator.results.journal import FaultChange, Record, Remains
from emulator.runtime.recorder import Progress
from emulator.runtime.session import Session
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.sim.clock import ClockOrder, Pace
from emulator.views import report

# A tick longer than the run: an event counts as on time however busy the machine is, so paced and
# virtual time must agree exactly.
SPEC: Spec = scenario(
    duration_s=20.0,
    users=[user_group(count=4, arrival={"kind": "periodic", "period_s": 0.25})],
    base_stations=[{"name": "bs", "count": 2}],
    servers=[server_group(distribution("exponential", 0.02), count=2)],
    channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 1.0e5},
    resend={"attempts_max": 3},
    faults=[{"at_s": 3.0, "for_s": 2.0, "type": "loss", "target": "bs-1", "p": 0.5}],
    runtime=in_real_time("loop", time_scale=0.05, tick_s=100.0),
)
BLACKOUT = {"type": "blackout", "target": "bs-0", "for_s": 4.0}
Deeds = dict[float, Callable[[Steering], object]]


def live(folder: Path, spec: Spec, deeds: Deeds) -> tuple[dict[str, Any], Steering]:
    """Plays a paced run; does each deed at the first step after its instant."""
    chosen = Scenario.model_validate(spec)
    session = Session(chosen, folder, paced=True, stopwatch=False)
    ahead = dict(deeds)

    def show(progress: Progress) -> None:
        for at_s in [at_s for at_s in ahead if at_s <= progress.step.now_s]:
            ahead.pop(at_s)(session.steering)

    return session.run(show), session.steering


def records(folder: Path) -> list[Record]:
    return [record for frame in journal.read_frames(folder) for record in frame.records]


def changes(folder: Path) -> list[tuple[str, int]]:
    return [(r.op, r.number) for r in records(folder) if isinstance(r, FaultChange)]


def injected(given: dict[str, Any]) -> Callable[[Steering], object]:
    return lambda steering: steering.inject(given, "test")


def ends(played: list[Record]) -> list[str]:
    """Every digit of every end, as text: a dropped task has instants that are no number."""
    return [repr(record) for record in played if isinstance(record, TaskEnd)]


def nap(steering: Steering) -> None:
    """Pauses; goes on as soon as the run stands still."""
    steering.pause().add_done_callback(lambda _: steering.resume())


def test_what_was_done_by_hand_replays_to_the_same_tasks(tmp_path: Path) -> None:
    live(
        tmp_path,
        SPEC,
        {
            1.0: injected(BLACKOUT),
            2.0: injected(
                {"type": "burst_loss", "target": "user-*", "loss": 0.4, "burst_length": 5}
            ),
            3.5: lambda steering: steering.heal([1]),
            4.0: lambda steering: steering.patch(0, {"p": 0.9}),
            6.0: injected({"type": "server_slowdown", "target": "edge-0", "factor": 5.0}),
            8.0: lambda steering: steering.heal(),
            9.0: nap,
            12.0: injected({"type": "delay", "target": "bs-1", "delay_s": 0.1, "jitter_s": 0.05}),
        },
    )

    again = perform(replay.export(tmp_path).model_dump())

    assert ends(again.records) == ends(records(tmp_path))
    assert len(ends(again.records)) > 200
    assert again.metrics.series.columns == report.read(tmp_path).metrics.series.columns
    assert ends(again.records) != ends(perform(SPEC).records)  # the faults did something


def test_choice_growth_and_chance_by_hand_replay_to_the_same_tasks(tmp_path: Path) -> None:
    again = {"at_s": 1.0, "for_s": 0.5, "every_s": 3.0, "probability": 0.8, "mode": "one"}
    spec = SPEC | {"faults": [{**again, "type": "blackout", "target": "bs-*"}]}

    _, steering = live(
        tmp_path,
        spec,
        {
            1.0: injected({"type": "loss", "target": "user-*", "p": 0.9, "mode": "one"}),
            2.0: injected({"type": "delay", "target": "group:user", "delay_s": 0.2, "ramp_s": 5.0}),
            3.0: injected({"type": "loss", "target": "bs-*", "p": 0.5, "correlation": 0.7}),
            5.0: lambda steering: steering.patch(1, {"p": 0.6}),
            7.0: lambda steering: steering.heal([2]),
            10.0: lambda steering: steering.stop("enough"),
        },
    )
    exported = replay.export(tmp_path)
    ended_s = max(record.at_s for record in records(tmp_path) if isinstance(record, Remains))
    played = perform({**exported.model_dump(), "duration_s": ended_s})

    assert ends(played.records) == ends(records(tmp_path))
    assert len(ends(played.records)) > 100
    # The change of p kept who was chosen, and what repeats goes on after the end of that run.
    losses = [each for each in exported.faults if isinstance(each, Loss) and not each.correlation]
    assert [each.p for each in losses] == [0.9, 0.6]
    assert len({each.target for each in losses}) == 1
    assert len(steering.faults[1].resolved) == 4
    assert all(losses[0].target in link.split("->") for link in steering.faults[1].resolved)
    assert {each.mode for each in exported.faults} == {"all"}
    assert sum(each.at_s > ended_s for each in exported.faults) >= 1


def test_a_preview_says_whom_the_next_injection_hits_and_begins_nothing() -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC), stopwatch=False))
    steering.begin()
    given_ = {"type": "loss", "target": "user-*", "p": 0.5, "mode": "fixed", "value": 2.0}

    before = steering.preview(given_, "test")
    known, _, _ = steering.inject(given_, "test")

    assert before.resolved == known.resolved
    assert len(known.resolved) == 2 * 2 * 2  # links of two users with two cells, both ways
    assert len(steering.faults) == 2


def test_what_chance_spares_is_named_and_gives_no_order(tmp_path: Path) -> None:
    spared = {"type": "blackout", "target": "bs-0", "probability": 1e-9, "for_s": 1.0}
    spec = SPEC | {"faults": [{**spared, "at_s": 1.0}]}

    _, steering = live(tmp_path, spec, {2.0: injected(spared)})

    assert [known.state for known in steering.faults.values()] == ["spared", "spared"]
    assert all(known.resolved == [] for known in steering.faults.values())
    assert changes(tmp_path) == []


def test_a_repeating_fault_shows_its_occurrence_and_outlives_its_healing(tmp_path: Path) -> None:
    flaps = {"type": "blackout", "at_s": 2.0, "for_s": 3.0, "every_s": 6.0, "target": "bs-0"}

    _, steering = live(tmp_path, SPEC | {"faults": [flaps]}, {3.0: lambda s: s.heal([0])})

    begun = [r.at_s for r in records(tmp_path) if isinstance(r, FaultChange) and r.op == "begin"]
    assert begun == [2.0, 8.0, 14.0]
    assert changes(tmp_path) == [("begin", 0), ("heal", 0)] * 3
    assert steering.faults[0].fault.at_s == 14.0
    assert steering.faults[0].state == "expired"


def test_faults_of_nodes_that_were_injected_and_changed_replay_to_the_same_tasks(
    tmp_path: Path,
) -> None:
    churn = {"type": "user_churn", "target": "user-*", "leave_rate_hz": 1.0, "join_rate_hz": 2.0}
    live(
        tmp_path,
        SPEC | {"faults": []},
        {
            1.0: injected({"type": "server_crash", "target": "edge-0", "for_s": 2.0}),
            2.0: injected(churn),
            3.0: injected({"type": "clock_skew", "target": "bs-0,user-1", "offset_s": 0.02}),
            5.0: lambda steering: steering.patch(1, {"leave_rate_hz": 3.0}),
            8.0: injected({"type": "bs_outage", "target": "bs-0", "handover": "nearest"}),
            9.0: injected({"type": "arrival_burst", "target": "user-0", "factor": 4.0}),
            12.0: lambda steering: steering.patch(4, {"factor": 8.0}),
            14.0: lambda steering: steering.heal([1, 3, 4]),
        },
    )

    again = perform(replay.export(tmp_path).model_dump())

    assert ends(again.records) == ends(records(tmp_path))
    assert again.metrics.series.columns == report.read(tmp_path).metrics.series.columns
    reasons = {r.reason for r in again.records if isinstance(r, TaskEnd)}
    assert {"crash", "away"} <= reasons


def test_a_fault_takes_effect_ends_by_itself_and_shows_as_a_band(tmp_path: Path) -> None:
    summary, steering = live(tmp_path, SPEC | {"faults": []}, {2.0: injected(BLACKOUT)})

    assert summary["verdict"] == "good"
    begin, heal = (r for r in records(tmp_path) if isinstance(r, FaultChange))
    assert 2.0 <= begin.at_s < 3.5
    assert heal.at_s == pytest.approx(begin.at_s + 4.0)
    assert steering.faults[0].state == "expired"
    assert steering.faults[0].applied == Applied(begin.at_s, 1, 1)
    ended = [r for r in records(tmp_path) if isinstance(r, TaskEnd)]
    lost_s = [end.ended_s for end in ended if end.reason == "blackout"]
    assert begin.at_s <= min(lost_s) < max(lost_s) <= heal.at_s + 0.1
    bands = report.bands_of(report.read(tmp_path).metrics)
    assert [(band.from_s, band.to_s) for band in bands] == [(begin.at_s, heal.at_s)]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    reported = [(e["op"], e.get("source"), e.get("by")) for e in events]
    assert reported == [
        ("start", None, None),
        ("begin", "test", None),
        ("heal", "test", "ttl"),
        ("end", None, None),
    ]


def test_changes_of_one_fault_in_one_turn_all_take_effect(tmp_path: Path) -> None:
    loss = {"type": "loss", "target": "bs-0", "p": 0.5, "for_s": 3.0}

    def both(steering: Steering) -> None:  # between two turns
        steering.patch(0, {"p": 0.9})
        steering.patch(0, {"correlation": 0.7})
        steering.patch(0, {"for_s": 6.0})
        steering.patch(0, {"target": "bs-1", "note": "moved"})

    _, steering = live(tmp_path, SPEC | {"faults": []}, {2.0: injected(loss), 3.0: both})

    known = steering.faults[0]
    wanted = {"p": 0.9, "correlation": 0.7, "target": "bs-1", "note": "moved"}
    assert known.fault.described().items() >= wanted.items()
    assert {link.split("->")[-1] for link in known.resolved} & {"bs-0", "bs-1"} == {"bs-1"}
    reported = [r for r in records(tmp_path) if isinstance(r, FaultChange)]
    assert [each.op for each in reported] == ["begin", "patch", "patch", "extend", "patch", "heal"]
    assert len({each.at_s for each in reported[1:5]}) == 1
    assert reported[4].fault.items() >= wanted.items()
    assert reported[5].at_s == pytest.approx(reported[1].at_s + 6.0)
    # The kernel's fold was the same: a replay of the last one gives the same tasks.
    again = perform(replay.export(tmp_path).model_dump())
    assert ends(again.records) == ends(records(tmp_path))


def test_a_change_that_another_of_its_turn_makes_impossible_is_refused(tmp_path: Path) -> None:
    loss = {"type": "loss", "target": "bs-0", "p": 0.5, "for_s": 9.0}
    answers: list[Future[Applied]] = []

    def both(steering: Steering) -> None:
        steering.patch(0, {"p": 0.9})
        _, answer, is_same = steering.inject(loss, "test")  # as it was asked, and no longer is
        assert is_same
        answers.append(answer)

    live(tmp_path, SPEC | {"faults": []}, {2.0: injected(loss), 3.0: both})

    with pytest.raises(Conflict, match="fault 0 was changed meanwhile"):
        answers[0].result()
    assert [op for op, _ in changes(tmp_path)] == ["begin", "patch", "heal"]


def test_viewers_hear_of_a_fault_at_once_and_that_it_is_not_in_effect() -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC), stopwatch=False))
    steering.begin()
    seen: list[str] = []
    steering.tell_changes_to(lambda: seen.append(steering.faults[1].state))

    steering.inject(BLACKOUT, "test")  # no turn yet
    assert seen == ["scheduled"]
    steering.finish()  # it never came to it

    assert seen[-1] == "failed"
    assert steering.faults[1].applied is None


def test_the_same_fault_again_extends_it_and_a_patch_changes_it(tmp_path: Path) -> None:
    loss = {"type": "loss", "target": "bs-0", "p": 0.5, "for_s": 3.0}
    asked: list[bool] = []

    _, steering = live(
        tmp_path,
        SPEC | {"faults": []},
        {
            2.0: injected(loss),
            4.0: lambda s: asked.append(s.inject(loss, "test")[2]),
            5.0: lambda s: s.patch(0, {"p": 1.0}),
        },
    )

    assert asked == [True]
    assert changes(tmp_path) == [("begin", 0), ("extend", 0), ("patch", 0), ("heal", 0)]
    first, second = replay.export(tmp_path).faults
    assert (first.p, second.p) == (0.5, 1.0)  # type: ignore[union-attr]
    assert first.until_s == pytest.approx(second.at_s)
    assert 7.0 < second.until_s < 9.0
    assert steering.faults[0].state == "expired"


def test_pausing_takes_no_emulated_time(tmp_path: Path) -> None:
    summary, _ = live(tmp_path, SPEC, {5.0: nap})

    assert summary["verdict"] == "good"
    reference = perform(SPEC)
    assert ends(records(tmp_path)) == ends(reference.records)


def test_stopping_heals_accounts_for_every_task_and_says_so(tmp_path: Path) -> None:
    deeds: Deeds = {2.0: injected(BLACKOUT), 4.0: lambda s: s.stop("stopped by a test")}

    summary, _ = live(tmp_path, SPEC | {"faults": []}, deeds)

    assert summary["verdict"] == "interrupted"
    assert summary["causes"][0].startswith("stopped by a test at 4")
    assert 4.0 <= summary["emulated_s"] < 6.0
    assert changes(tmp_path) == [("begin", 0), ("heal", 0)]
    balance = summary["balance"]
    assert balance["lost"] == 0
    assert balance["generated"] > 40


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"type": "blackot", "target": "bs-0"}, "did you mean 'blackout'"),
        ({"type": "blackout", "target": "bs-7"}, "'bs-7' selects no node; did you mean 'bs-"),
        ({"type": "loss", "target": "bs-0"}, "p: loss needs it"),
        (
            {"type": "loss", "target": "bs-0", "p": 2.0},
            "p: Input should be less than or equal to 1",
        ),
        ({"type": "loss", "target": "bs-0", "q": 0.5}, "q: loss has no such parameter"),
        ({"type": "blackout", "target": "user-0->edge-0"}, "no link joins these nodes"),
        ({"type": "blackout", "target": "bs-0", "for_s": 1e6}, "for_s: at most 3600 s"),
        ({"type": "blackout", "target": "bs-0", "at_s": 3.0}, "begins now"),
        ({"type": "blackout", "target": "x" * 500}, "longer than 128 characters"),
        ({"type": "blackout", "target": "bs-0", "note": "x" * 500}, "note: String should have"),
        ({"type": "blackout", "target": "bs-0", "every_s": 3.0}, "only a scenario repeats"),
        ({"type": "blackout", "target": "bs-0", "ramp_s": 3.0}, "ramp_s: blackout has no strength"),
        ({"type": "blackout", "target": "group:usr"}, "no node; did you mean 'group:user'"),
        ({"type": "blackout", "target": "area:1,2"}, "target: 'area:1,2': an area is"),
        ({"type": "blackout", "target": "bs-0", "mode": "some"}, "mode: Input should be 'all'"),
        ({"type": "blackout", "target": "bs-0", "mode": "percent"}, "value: mode percent needs it"),
        ({"type": "message_drop", "target": "*", "message": "ask"}, "its nodes send none"),
        ({"type": "blackout", "target": "user-0->bs-0", "direction": "down"}, "no link joins"),
        ({"type": "clock_skew", "target": "user-0->bs-0", "offset_s": 1.0}, "nodes, not a link"),
        ({"type": "server_crash", "target": "edge-7"}, "'edge-7' selects no server; did you mean"),
        (
            {"type": "model_swap", "target": "edge-0", "model": "digits-s"},
            "serves by a fitted distribution",
        ),
        ({"type": "actor_kill", "target": "edge-0"}, "all nodes live in one process"),
    ],
)
def test_a_bad_fault_is_explained(given_: dict[str, Any], says: str) -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC), stopwatch=False))
    steering.begin()

    with pytest.raises(Invalid, match=says.replace("?", r"\?")):
        steering.inject(given_, "test")


def test_http_has_a_status_for_every_kind_of_refusal() -> None:
    assert set(STATUS) == set(Refused.__subclasses__())


def test_nothing_is_injected_before_or_after_the_run() -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC), stopwatch=False))
    with pytest.raises(Conflict, match="starting"):
        steering.inject(BLACKOUT, "test")
    steering.begin()
    waiting: Future[Applied] = steering.inject(BLACKOUT, "test")[1]
    steering.finish()
    assert waiting.cancelled()
    with pytest.raises(Conflict, match="ended"):
        steering.inject(BLACKOUT, "test")


def test_every_type_of_the_vocabulary_is_offered_with_its_fields() -> None:
    assert {"blackout", "loss", "burst_loss", "delay", "partition", "server_slowdown"} <= set(
        types()
    )
    for schema in types().values():
        assert schema["properties"]["for_s"]["default"] == 30.0
        assert not schema["properties"].keys() & {"at_s", "every_s"}
        rare = {name for name, spec in schema["properties"].items() if spec.get("modifier")}
        assert {"mode", "value", "probability", "note"} <= rare
        assert not rare & {"target", "for_s", "p"}
    assert "ramp_s" in types()["loss"]["properties"]
    assert "ramp_s" not in types()["blackout"]["properties"]


FAULTS = [
    {"type": "blackout", "target": "bs-0"},
    {"type": "loss", "target": "user-1", "p": 0.3},
    {"type": "loss", "target": "bs-*", "p": 0.7},
    {"type": "delay", "target": "bs-1", "delay_s": 0.1},
    {"type": "rate", "target": "user-*", "rate_bps": 10.0},
]


@given(st.permutations(range(len(FAULTS))), st.permutations(range(len(FAULTS))))
@settings(max_examples=40, deadline=None)
def test_healing_in_any_order_returns_exactly_to_the_baseline(begin: Any, heal: Any) -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC | {"faults": []}), stopwatch=False))
    faults = [steering.preview(given_, "test").fault for given_ in FAULTS]
    activation = Activation()
    for at, number in enumerate(begin):
        activation.add(FaultOrder(float(at), "begin", number, faults[number]))
    for at, number in enumerate(heal):
        activation.add(FaultOrder(20.0 + at, "heal", number))

    activation.advance(15.0)
    effect = fold(activation.active.values(), "user-1", "bs-1", "uplink")
    assert effect == fold(faults, "user-1", "bs-1", "uplink")
    assert effect != HEALTHY
    activation.advance(30.0)
    assert activation.active == {}


def test_a_released_clock_goes_on_from_where_it_was_held() -> None:
    pace = Pace(1.0, 0.01, 100.0)
    pace.begin(0.0)  # long ago
    assert pace.now_s() == 100.0
    pace.obey(ClockOrder(40.0, "hold"))
    assert pace.held
    assert pace.now_s() == 40.0
    pace.obey(ClockOrder(40.0, "release", wall_s=4.0e9))  # far ahead
    assert pace.now_s() == 40.0
