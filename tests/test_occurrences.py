"""Whom a fault means, whom it chooses, when it happens: all of it drawn once, and recorded."""

import math
from collections import Counter
from pathlib import Path

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from pydantic import TypeAdapter, ValidationError

from agents.messages import TaskEnd
from emulator.build.known_fault import links_of
from emulator.build.planning import plan
from emulator.checks.check import problems, warnings
from emulator.checks.fault_words import types
from emulator.checks.faults import message_types
from emulator.faults.base import BaseFault
from emulator.faults.fold import AnyFault, Fault
from emulator.faults.selectors import Place, select, selects
from emulator.results.journal import FaultChange
from emulator.runtime.recorder import Recorder
from emulator.scenario.occurrences import Places, places_of, schedule, settle
from emulator.scenario.schema import Scenario
from emulator.streams import Streams
from emulator.views.terminal import describe

SEED = 5
SIGMAS = 4.0
ADAPTER: TypeAdapter[AnyFault] = TypeAdapter(Fault)
# A grid of cameras 100 m apart, alarms in its middle, two cells, two servers.
PLACES: Places = {
    **{f"camera-{n}": Place("user", "camera", 100.0 * n, 0.0, priority=1) for n in range(4)},
    **{f"alarm-{n}": Place("user", "alarm", 150.0, 50.0 * n, priority=0) for n in range(2)},
    **{f"bs-{n}": Place("base_station", "bs", 300.0 * n, 10.0, channels=n) for n in range(2)},
    **{f"edge-{n}": Place("server", "edge", 300.0 * n, -75.0, computes=True) for n in range(2)},
}
USERS = [f"camera-{n}" for n in range(4)] + ["alarm-0", "alarm-1"]


def fault(type_: str = "blackout", **fields: object) -> AnyFault:
    by_type = {} if type_ == "partition" else {"target": "*"}
    return ADAPTER.validate_python({"type": type_, "at_s": 0.0, **by_type, **fields})


def target(given: AnyFault, *which: str, places: Places = PLACES) -> str:
    settled = settle(given, places, Streams(SEED), *which)
    assert settled is not None
    return str(getattr(settled, "target", None) or settled.a)  # type: ignore[union-attr]


# Selectors


@pytest.mark.parametrize(
    ("selector", "meant"),
    [
        ("group:camera", ["camera-0", "camera-1", "camera-2", "camera-3"]),
        ("priority:0", ["alarm-0", "alarm-1"]),
        ("area:0,-10,100,10", ["camera-0", "camera-1", "bs-0"]),
        ("area:100,10,0,-10", ["camera-0", "camera-1", "bs-0"]),  # the other two corners
        ("area:0,-10,100,10,alarm-0", ["camera-0", "camera-1", "alarm-0", "bs-0"]),
        ("group:camera,!area:150,-10,400,10", ["camera-0", "camera-1"]),
        ("*,!priority:1,!group:edge", ["alarm-0", "alarm-1", "bs-0", "bs-1"]),
        ("priority:1, group:bs , !camera-[1-3]", ["camera-0", "bs-0", "bs-1"]),
        ("priority:7,group:nobody,area:900,900,999,999", []),
    ],
)
def test_a_selector_means_by_group_class_and_area(selector: str, meant: list[str]) -> None:
    assert select(selector, PLACES) == meant


def test_without_places_only_names_are_known() -> None:
    assert selects("group:camera,camera-1", "camera-1")
    assert not selects("group:camera", "camera-1")


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("area:1,2,3", "four numbers"),
        ("area:1,2,user-*,4", "four numbers"),
        ("area:0,0,inf,1", "four numbers"),
        ("priority:high", "priority:N"),
        ("tier:edge", "group:, priority: or area:"),
        ("user-0->aera:0,0,1,1", "group:, priority: or area:"),
    ],
)
def test_a_selector_that_cannot_be_read_is_refused(selector: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        fault(target=selector)


# Choice


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ({"mode": "one"}, 1),
        ({"mode": "fixed", "value": 3.0}, 3),
        ({"mode": "percent", "value": 50.0}, 3),
        ({"mode": "percent", "value": 51.0}, 4),  # rounded up
        ({"mode": "percent", "value": 1.0}, 1),
    ],
)
def test_a_mode_chooses_so_many_and_always_the_same(how: Spec, count: int) -> None:
    chosen = target(fault(target="camera-*,alarm-*", **how)).split(",")

    assert len(chosen) == len(set(chosen)) == count
    assert set(chosen) <= set(USERS)
    assert target(fault(target="camera-*,alarm-*", **how)).split(",") == chosen


def test_each_target_is_as_likely_as_any_other() -> None:
    count, one = 3000, fault(target="camera-*,alarm-*", mode="one")

    hits = Counter(target(one, str(number)) for number in range(count))

    error = math.sqrt(count * (1.0 / 6.0) * (5.0 / 6.0))
    assert hits.keys() == set(USERS)
    assert all(abs(found - count / 6.0) < SIGMAS * error for found in hits.values())


def test_a_node_more_changes_a_choice_only_to_itself() -> None:
    more = PLACES | {"camera-4": Place("user", "camera", 400.0, 0.0, priority=1)}
    moved = 0
    for number in range(200):
        one = fault(target="camera-*", mode="one")
        before, after = target(one, str(number)), target(one, str(number), places=more)
        assert after in (before, "camera-4")
        moved += after == "camera-4"
    assert 200 / 5 - SIGMAS * 6 < moved < 200 / 5 + SIGMAS * 6


def test_only_what_a_fault_can_hit_is_chosen() -> None:
    for number in range(40):
        which = str(number)
        assert target(fault("server_pause", mode="one"), which).startswith("edge-")
        assert target(fault("channel_loss", channels=[0], mode="one"), which) == "bs-1"
        heard = target(fault("interference", rise_db=1.0, mode="one"), which)
        assert not heard.startswith("edge-")
        left, right = target(fault(target="group:camera->bs-*", mode="one"), which).split("->")
        assert left in USERS
        assert right == "bs-*"
        (alone,) = target(fault("partition", a=["camera-*"], b=["bs-*"], mode="one"), which)[2:-2:9]
        assert alone == "c"


def test_what_is_settled_is_as_it_is_and_plain_globs_stay() -> None:
    again = settle(fault(target="priority:0", mode="one", every_s=None), PLACES, Streams(SEED))
    assert again is not None
    assert settle(again, PLACES, Streams(SEED)) == again
    assert target(fault(target="camera-*,!camera-0")) == "camera-*,!camera-0"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"mode": "fixed"}, "value: mode fixed needs it"),
        ({"mode": "fixed", "value": 1.5}, "value: 1.5 is no whole number"),
        ({"mode": "percent", "value": 150.0}, "value: 150 percent is more"),
        ({"value": 2.0}, "value: mode all has none"),
        ({"every_s": 2.0}, "every_s: needs a for_s shorter than its 2 s"),
        ({"every_s": 2.0, "for_s": 2.0}, "every_s: needs a for_s shorter"),
        ({"probability": 0.0}, "greater than 0"),
        ({"note": "x" * 201}, "at most 200 characters"),
    ],
)
def test_modifiers_that_contradict_each_other_are_refused(bad: Spec, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        fault(**bad)


# Chance and repetition


def small(*faults: Spec, **changes: object) -> Spec:
    return scenario(
        duration_s=20.0,
        users=[user_group(name="camera", count=6, priority=1), user_group(name="alarm", count=2)],
        base_stations=[{"name": "bs", "count": 2}],
        servers=[server_group(distribution("exponential", 0.02), count=2)],
        channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 1.0e5},
        faults=[{"at_s": 0.0, "target": "*", **each} for each in faults],
        **changes,
    )


def orders(spec: Spec) -> list[tuple[float, int, str]]:
    """Returns when which fault begins, and whom it hits."""
    planned = plan(Scenario.model_validate(spec), stopwatch=False)
    return [(o.at_s, o.number, o.fault.target) for o in planned.orders]  # type: ignore[union-attr]


def test_a_fault_repeats_with_a_choice_of_its_own_each_time() -> None:
    flaps = {"type": "blackout", "at_s": 3.0, "for_s": 1.0, "every_s": 4.0, "target": "camera-*"}

    begun = orders(small(flaps | {"mode": "one"}))

    assert [at_s for at_s, _, _ in begun] == [3.0, 7.0, 11.0, 15.0, 19.0]
    assert len({whom for _, _, whom in begun}) > 1


def test_chance_is_drawn_anew_for_each_occurrence() -> None:
    often = {"type": "blackout", "for_s": 0.01, "every_s": 0.02, "probability": 0.3}

    share = len(orders(small(often))) / 1000

    assert share == pytest.approx(0.3, abs=SIGMAS * math.sqrt(0.3 * 0.7 / 1000))


def test_equal_faults_choose_for_themselves_and_a_fault_more_changes_no_choice() -> None:
    one = {"type": "blackout", "at_s": 1.0, "target": "camera-*", "mode": "fixed", "value": 3.0}
    alike = orders(small(one, one, one, one))
    assert len({whom for _, _, whom in alike}) > 1  # of twenty choices that there are

    behind_another = orders(small({"type": "loss", "p": 0.1}, one, one, one, one))

    assert [whom for _, _, whom in behind_another[1:]] == [whom for _, _, whom in alike]


def test_every_occurrence_is_recorded_with_the_names_it_hit_and_healed() -> None:
    flaps = {"type": "blackout", "at_s": 2.0, "for_s": 1.0, "every_s": 5.0, "target": "camera-*"}
    spec = small(flaps | {"mode": "one", "note": "flaps"})
    changes: list[FaultChange] = []

    class Kept(Recorder):
        def note(self, op: str, at_s: float, **details: object) -> None:
            if "fault" in details:
                changes.append(FaultChange(at_s, op, 0, details["fault"]))  # type: ignore[arg-type]

    from emulator.runtime.loop import play

    chosen = plan(Scenario.model_validate(spec), stopwatch=False)
    recorder = Kept(chosen, None)
    ends = []
    for step in play(chosen):
        recorder.take(step)
        ends += [record for record in step.records if isinstance(record, TaskEnd)]

    hit = [change.fault["target"] for change in changes if change.op == "begin"]
    assert [(c.at_s, c.op) for c in changes[:4]] == [
        (2.0, "begin"), (3.0, "heal"), (7.0, "begin"), (8.0, "heal"),
    ]  # fmt: skip
    assert hit == [whom for _, _, whom in orders(spec)]
    for end in ends:
        if end.reason == "blackout":  # of a user that was hit when it was, plus one airtime
            assert 2.0 <= end.ended_s % 5.0 <= 3.0 + 0.03
            assert end.user == hit[int(end.ended_s // 5.0)]
    assert any(end.reason == "blackout" for end in ends)
    assert changes[0].fault["note"] == "flaps"


# Checks


def complaints(*faults: Spec, **changes: object) -> list[str]:
    chosen = Scenario.model_validate(small(*faults, **changes))
    return [f"{where[-1]}: {text}; {remedy}" for where, text, remedy in problems(chosen)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"target": "group:camra"}, "did you mean 'group:camera'?"),
        ({"target": "priority:3"}, "'priority:3' selects no node; did you mean 'priority:"),
        ({"target": "area:900,900,999,999"}, "selects no node; all are in area:"),
        ({"target": "camera-0->priority:0,!alarm-*"}, "'priority:0,!alarm-*' selects no node"),
        ({"mode": "fixed", "value": 9.0, "target": "camera-*"}, "9 nodes are to be chosen among 6"),
        ({"for_s": 0.001, "every_s": 0.002}, "every_s: it would happen 10000 times"),
        ({"type": "server_pause", "target": "group:camera"}, "selects no server; did you mean"),
        ({"type": "shadowing", "sigma_db": 3.0}, "shadowing needs a signal-to-noise ratio"),
        ({"type": "message_drop", "message": "aks"}, "'aks' is no protocol message"),
    ],
)
def test_a_fault_that_means_nobody_is_explained(bad: Spec, says: str) -> None:
    (complaint,) = complaints({"type": "blackout", **bad})

    assert says in complaint


def test_messages_are_those_that_the_protocol_sends_with_did_you_mean() -> None:
    drop = {"type": "message_drop", "message": "becon,!grant"}
    best = {"protocol": {"kind": "best-channel"}}

    assert complaints(drop | {"message": "*"}, **best) == []
    assert complaints(drop, **best) == [
        "message: 'becon' is no protocol message of this scenario; did you mean 'beacon'?",
        "message: '!grant' is no protocol message of this scenario; known: beacon",
    ]
    assert complaints(drop | {"message": "*"})[0].endswith("; its nodes send none")


def test_a_ramp_longer_than_its_fault_is_warned_of() -> None:
    short = {"type": "loss", "p": 0.5, "for_s": 1.0, "ramp_s": 2.0}
    chosen = Scenario.model_validate(small(short))

    said = [text for _, text, _ in warnings(chosen)]

    assert said == ["fault 0 (loss) ends before it has its full strength"]


@pytest.mark.parametrize("name", ["popec-async", "todg", "granted", "rayleigh"])
def test_what_is_said_in_a_run_is_known_beforehand(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.messages import tag_of
    from emulator.checks import source
    from emulator.sim.delivery import TOKENS
    from emulator.sim.network import Link

    heard: set[str] = set()
    hold_s = Link.hold_s

    def listening(link: Link, body: object, now_s: float) -> float:
        heard.add(tag_of(type(body)))
        return hold_s(link, body, now_s)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "hold_s", listening)
    path = Path(__file__).parent.parent / "scenarios" / f"{name}.yaml"
    chosen = source.load(path)
    # A delay of nearly nothing everywhere: no link may skip the question.
    slow = [
        fault("delay", target="*", delay_s=1e-9),
        fault("delay", target="*", delay_s=1e-9, only="control"),
    ]
    update = {"duration_s": 0.4, "warmup_s": 0.0, "faults": slow, "expect": []}
    perform(chosen.model_copy(update=update).model_dump())

    assert heard
    assert heard <= set(message_types(chosen))
    assert not heard & {tag_of(body) for body in TOKENS}


def test_every_link_of_a_scheduled_scenario_is_listed_once() -> None:
    from todg_network import network

    links = list(links_of(plan(Scenario.model_validate(network()), stopwatch=False)))

    assert len(links) == len(set(links))
    assert ("bs-0", "bs-1", "control-peer") in links


def test_every_fault_and_every_field_of_one_is_used_by_a_shipped_scenario() -> None:
    from emulator.checks import source

    used: set[tuple[str, str]] = set()
    common: set[str] = set()
    for path in (Path(__file__).parent.parent / "scenarios").glob("*.yaml"):
        if "faults:" in path.read_text():
            for each in source.load(path).faults:
                used |= {(each.type, field) for field in each.model_fields_set}
                common |= each.model_fields_set
    offered = {
        (name, field)
        for name, schema in types().items()
        if name != "actor_kill"  # a scenario with it never ends well
        for field, spec in schema["properties"].items()
        if not spec.get("modifier") and field != "for_s"
    }

    assert offered - used == set()
    assert common >= BaseFault.model_fields.keys() | {"direction", "only"}


def test_the_fields_of_all_faults_are_one_model() -> None:
    for each in ADAPTER.json_schema()["$defs"].values():
        assert BaseFault.model_fields.keys() <= each["properties"].keys()


def test_a_long_list_of_chosen_names_is_cut_to_fit_a_line() -> None:
    names = [f"user-{number}" for number in range(1000)]
    reported = {"type": "loss", "target": ",".join(names), "at_s": 1.0, "for_s": 2.0, "p": 0.5}

    line = describe(reported)

    assert line == "loss user-0,user-1,user-2,user-3,user-4,... p=0.5 until 3 s"
    assert describe(reported | {"target": "user-*"}) == "loss user-* p=0.5 until 3 s"


def test_schedule_needs_no_run() -> None:
    chosen = Scenario.model_validate(small({"type": "blackout", "target": "area:0,0,250,250"}))
    planned = plan(chosen, stopwatch=False)
    places = places_of(chosen, planned.layout)

    (order,) = schedule(chosen, places)

    x_m, y_m = 250.0, 250.0
    inside = [n for n, at in places.items() if 0 <= at.x_m <= x_m and 0 <= at.y_m <= y_m]
    assert order.fault is not None
    assert order.fault.target == ",".join(inside)  # type: ignore[union-attr]
