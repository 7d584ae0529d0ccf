"""TODG in the emulator: the bound whatever happens, exact accounts, no conflicting bursts."""

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import Spec, distribution, perform, server_group
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import exp1
from todg_network import SLOT_S, kind, network

from agents import radio
from agents.api import RADIO, Message, Send
from agents.messages import Body, TaskEnd, Undelivered, Wake
from agents.messages.slots import Burst, Sensed, SlotGrant
from agents.reasons import Reason, UserCause
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.results.journal import LinkCount, Readings, Remains
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.sim.air import Air, Flight
from emulator.sim.channel import Adaptive
from emulator.streams import Streams
from tests.todg_reference import rivals

CHANCE = st.sampled_from([0.1, 0.5, 0.9])
WHEN = {"at_s": st.sampled_from([0.0, 0.6, 1.3]), "for_s": st.sampled_from([None, 0.4, 1.0])}
MESSAGES = ["*", "table", "state,propose,commit", "slot-grant", "queue-report,board"]
FAULTS: tuple[dict[str, Any], ...] = (
    {"type": "blackout", "target": st.sampled_from(["bs-0", "bs-*", "alarm-*", "rack-0"])},
    {"type": "channel_loss", "target": "bs-*", "channels": st.sampled_from([[0], [1], [0, 1]])},
    {"type": "loss", "target": "bs-*", "p": CHANCE},
    {"type": "loss", "target": "bs-*", "p": CHANCE, "only": "control"},
    {"type": "delay", "target": "bs-*", "delay_s": 0.07, "only": "control"},
    {"type": "fading", "target": "alarm-*", "depth_db": 12.0},
    {"type": "server_slowdown", "target": "*", "factor": st.sampled_from([3.0, 100.0])},
    {"type": "shadowing", "target": "*", "sigma_db": 8.0, "ramp_s": 0.5},
    {"type": "duplicate", "target": "*", "p": CHANCE, "only": "control"},
    {"type": "reorder", "target": "*", "p": 0.3, "delay_s": 0.04, "only": "control"},
    {"type": "message_drop", "target": "*", "p": CHANCE, "message": st.sampled_from(MESSAGES)},
    {"type": "message_delay", "target": "bs-0", "delay_s": 0.03, "message": "*"},
    {"type": "server_pause", "target": st.sampled_from(["*", "rack-0"])},
    {"type": "server_crash", "target": st.sampled_from(["*", "rack-0"])},
    {"type": "bs_outage", "target": st.sampled_from(["*", "bs-0"])}
    | {"handover": st.sampled_from(["none", "nearest"])},
    {"type": "user_churn", "target": "*", "leave_rate_hz": st.sampled_from([None, 1.0, 9.0])}
    | {"join_rate_hz": st.sampled_from([0.0, 9.0])},
    {"type": "arrival_burst", "target": "*", "factor": st.sampled_from([0.3, 4.0])},
)


def strategy(fault: dict[str, Any]) -> st.SearchStrategy[Spec]:
    parts = {**WHEN, **fault}
    return st.fixed_dictionaries(
        {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in parts.items()}
    )


@st.composite
def networks(draw: st.DrawFn) -> Spec:
    rate_hz = draw(st.sampled_from([4.0, 12.0, 40.0]))
    cpu = draw(
        st.none() | st.just({"speed": 0.1, **server_group(distribution("gamma", 0.005, 1.0))})
    )
    users = [
        kind(name, **changes) | {"arrival": {"kind": "poisson", "rate_hz": rate_hz}, "cpu": cpu}
        for name, changes in (
            ("alarm", {"value": 4.0, "input_bits": 2.0e4}),
            ("survey", {"priority": 1, "input_bits": 1.5e5, "work": 5.0, "deadline_s": 3.0}),
        )
    ]
    for group in users:
        if group["cpu"] is not None:
            group["cpu"] = {k: v for k, v in group["cpu"].items() if k != "name"}
    mode = draw(st.sampled_from(["hol", "capped", "persistent"]))
    return network(
        seed=draw(st.integers(0, 2**32)),
        duration_s=3.0,
        protocol={"kind": "todg", "mode": mode, "effort": draw(st.integers(0, 5))},
        users=users,
        topology={
            "kind": "generated",
            "area_m": 200.0,
            "cells_per_user": draw(st.integers(1, 2)),
            "hear_m": 110.0,
        },
        faults=draw(st.lists(st.one_of(*map(strategy, FAULTS)), max_size=4)),
    )


@settings(max_examples=100, derandomize=True, deadline=None)
@given(networks())
def test_no_task_stays_beyond_its_deadline_and_none_is_lost(spec: Spec) -> None:
    records, metrics, _ = perform(spec)

    ends = [record for record in records if isinstance(record, TaskEnd)]
    for end in ends:
        left_s = end.finished_s if end.outcome == "completed" else end.ended_s
        assert left_s <= end.due_s + 1e-9, end
        assert end.outcome == "completed" or end.reason
    assert metrics.violations == 0
    (remains,) = (record for record in records if isinstance(record, Remains))
    account = [(end.user, end.seq) for end in ends] + list(remains.in_flight)
    assert len(account) == len(set(account)), "a task is accounted for twice"
    generated = {(u, k) for u, count in remains.generated.items() for k in range(count)}
    assert set(account) == generated


def near(**changes: Any) -> Spec:
    """The network where users reach both base stations."""
    both = {"kind": "generated", "area_m": 200.0, "cells_per_user": 2, "hear_m": 110.0}
    return network(topology=both, **changes)


def test_users_of_a_base_station_that_is_out_are_served_by_the_next_and_come_back() -> None:
    outage = {"type": "bs_outage", "target": "bs-0", "at_s": 1.02, "for_s": 1.5}
    spec = near(faults=[outage | {"handover": "nearest"}])
    cells = plan(Scenario.model_validate(spec), stopwatch=False).layout.cells
    moved = {user for user, near in cells.items() if near[0][0] == "bs-0"}
    assert 0 < len(moved) < len(cells)

    def served(spec: Spec, from_s: float, until_s: float) -> set[str]:
        ends = (r for r in perform(spec).records if isinstance(r, TaskEnd))
        return {e.user for e in ends if e.reason == "" and from_s < e.arrived_s < until_s}

    # From the second slot after either change
    assert served(spec, 1.15, 2.5) >= {user for user in moved if user.startswith("alarm")}
    assert served(near(faults=[outage]), 1.15, 2.5) & moved == set()
    counts = [r for r in perform(spec).records if isinstance(r, LinkCount) and r.kind == "uplink"]
    assert not [r for r in counts if r.bs == "bs-0" and 1.2 < r.at_s < 2.5]
    assert [r for r in counts if r.bs == "bs-0" and r.at_s > 2.7]


def test_mini_rounds_are_counted_as_played_and_by_those_who_take_part() -> None:
    # Six base stations play six mini-rounds a slot; two suffice for the conflict graph that is left
    # when the users of bs-0 are with others.
    outage = {"type": "bs_outage", "target": "bs-0", "at_s": 1.0, "for_s": 2.0}
    wide = {"kind": "generated", "area_m": 500.0, "cells_per_user": 2, "hear_m": 140.0}

    def rounds(**fields: str) -> tuple[float | None, list[float | None], list[float]]:
        spec = network(topology=wide, protocol={"kind": "todg", "effort": 3})
        spec["base_stations"][0]["count"] = 6
        records, metrics, _ = perform(spec | {"faults": [outage | fields]})
        reported = [r.values["mini_rounds"] for r in records if isinstance(r, Readings)]
        per_slot = metrics.summary()["all"]["mini_rounds_per_slot"]
        return per_slot, metrics.series.columns["protocol/mini_rounds"], reported

    assert rounds()[0] == 6.0  # the five that are left play as many as before
    per_slot, by_slot, reported = rounds(handover="nearest")

    assert by_slot == [6.0] * 20 + [2.0] * 40 + [6.0] * 20
    assert per_slot == pytest.approx((40 * 6 * 6 + 40 * 5 * 2) / (40 * 6 + 40 * 5))
    assert reported == sorted(reported)


@pytest.mark.parametrize(
    ("loss", "moving"),
    [(0.0, False), (0.1, False), (0.5, False), (0.9, False), (0.0, True), (0.5, True)],
)
def test_bursts_on_one_channel_never_conflict(
    loss: float, moving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    aloft: defaultdict[tuple[int, int], list[str]] = defaultdict(list)  # slot, channel -> users
    enter = Air.enter

    def watched(air: Air, flight: Flight) -> None:
        slot = math.floor(flight.sent_s / SLOT_S)
        aloft[slot, flight.channel].append(flight.source)
        enter(air, flight)

    monkeypatch.setattr(Air, "enter", watched)
    faults = [{"at_s": 0.0, "type": "loss", "target": "bs-*", "only": "control", "p": loss}]
    # From slot 21 to 40 the users of bs-0 are with bs-1, and conflict with others.
    outage = {"type": "bs_outage", "target": "bs-0", "at_s": 1.02, "for_s": 1.0}
    outages = [outage | {"handover": "nearest"}] if moving else []
    spec = near(faults=[*(faults if loss else []), *outages])
    frame = plan(Scenario.model_validate(spec), stopwatch=False).frame()

    perform(spec)

    assert len(aloft) > 40 * (1.0 - loss)
    gone = frozenset({frame.station_number["bs-0"]})
    for (slot, _), users in aloft.items():
        graph = frame.graph_without(gone) if moving and 21 <= slot <= 40 else frame.graph
        numbers = [frame.users.index(user) for user in users]
        assert len(numbers) == len(set(numbers))
        for number in numbers:
            assert not rivals(graph, number) & set(numbers)


@pytest.mark.parametrize("protocol", ["todg", "max-weight", "edf"])
def test_copies_of_every_message_change_nothing(protocol: str) -> None:
    def ends(p: float) -> list[str]:
        copies = {"type": "duplicate", "target": "*", "at_s": 0.0, "p": p}
        faults = [copies, {**copies, "only": "control"}]
        played = perform(network(protocol={"kind": protocol}, faults=faults))
        return [repr(record) for record in played.records if isinstance(record, TaskEnd)]

    assert ends(1.0) == ends(0.0)
    assert len(ends(1.0)) > 100


@pytest.mark.parametrize(
    "protocol", ["todg", "max-weight", "edf", "max-rate", "round-robin", "random"]
)
def test_same_seed_same_digest_and_work_gets_done(protocol: str) -> None:
    spec = network(protocol={"kind": protocol})

    first, second = perform(spec), perform(spec)

    assert first.digest == second.digest
    assert first.metrics.outcomes["completed"] > 50


def test_local_only_sends_nothing_by_radio() -> None:
    cpu = {"accelerator": {"kind": "fitted", "service": distribution("deterministic", 0.02)}}
    users = [kind("alarm", cpu=cpu)]
    records, metrics, _ = perform(network(protocol={"kind": "local-only"}, users=users))

    assert metrics.outcomes["completed"] > 30
    assert not any(isinstance(r, LinkCount) and r.kind == "uplink" for r in records)


def test_a_task_in_service_is_given_up_at_its_deadline() -> None:
    # A hundred times slower, no service of 25 ms and more ends before its 2 s are over.
    faults = [{"at_s": 1.0, "type": "server_slowdown", "target": "*", "factor": 100.0}]
    records, _, _ = perform(network(duration_s=8.0, faults=faults))

    overrun = [r for r in records if isinstance(r, TaskEnd) and r.reason == "overrun"]
    assert overrun
    assert all(end.ended_s == pytest.approx(end.due_s, abs=1e-9) for end in overrun)


def test_a_burst_told_lost_too_late_is_not_taken_for_the_next_one() -> None:
    planned = plan(Scenario.model_validate(network()), stopwatch=False)
    user = assemble(planned, planned.names).nodes["alarm-0"]
    until_s, servers = SLOT_S - 1e-3, ("rack-0",)

    def reported(source: str, body: Body, slot: int) -> list[Send]:
        now_s = slot * SLOT_S + 0.01
        return user.on_message(Message(source, user.id, now_s, body), now_s)

    def burst(slot: int) -> Burst:
        user.on_tick(Wake(slot * SLOT_S, UserCause.SLOT, slot), slot * SLOT_S)
        reported(
            RADIO, Sensed("bs-0", (1.0e6, 1.0e6)), slot
        )  # room for one task of 20 kbit, granted
        (sent,) = reported("bs-0", SlotGrant(slot, 0, slot * SLOT_S + until_s, servers), slot)
        assert isinstance(sent.body, Burst)
        return sent.body

    for _ in range(3):
        user.on_tick(Wake(0.0, UserCause.GENERATE, 0), 0.0)
    first, second = burst(1), burst(2)

    (given_up,) = reported(RADIO, Undelivered(first, "bs-0", Reason.LOSS, 1), 2)
    assert isinstance(given_up.body, TaskEnd)
    assert (given_up.body.seq, given_up.body.reason) == (first.tasks[0].seq, "loss")
    assert reported(RADIO, Undelivered(second, "bs-0", Reason.LOSS, 1), 2) == []
    assert burst(3).tasks == second.tasks


def test_a_broken_promise_fails_the_run() -> None:
    # The wire to the server delays what was sent beyond any deadline: nobody holds the task then.
    faults = [{"at_s": 1.0, "for_s": 1.0, "type": "delay", "target": "rack-0,box-0", "delay_s": 6}]
    spec = network(duration_s=9.0, faults=faults)
    spec["users"] = [kind("alarm")]
    summary = Session(Scenario.model_validate(spec)).run()

    late = summary["violations"]
    assert summary["verdict"] == "failed"
    assert late == summary["balance"]["expired"] > 0  # each of them, also at an idle server
    assert summary["causes"] == [f"{late} tasks late, no queue bound exceeded"]


def test_half_of_the_channels_carry_nothing_while_they_are_lost() -> None:
    faults = [{"at_s": 1.0, "type": "channel_loss", "target": "bs-*", "channels": [0, 1]}]
    users = [kind("alarm")]
    records, _, _ = perform(network(faults=faults, users=users))

    arrived = [r.arrived_s for r in records if isinstance(r, TaskEnd) and r.outcome == "completed"]
    assert len(arrived) > 20
    assert max(arrived) < 1.0 + SLOT_S


def test_the_mean_rate_of_an_adaptive_channel() -> None:
    # E[log2(1 + s h)], h exponential: exp(1/s) E1(1/s) / ln 2. 20,000 blocks of two channels;
    # the rate's standard deviation is below 1.3 bit/s/Hz, four standard errors are 0.026.
    snr = radio.linear(10.0)
    field = Streams(3).field("fading")
    channel = Adaptive(10.0, 2, SLOT_S, 1.0, math.inf, field)

    rates = [channel.rate_bps(k, n * SLOT_S, 0.0) for n in range(20_000) for k in (0, 1)]

    expected = math.exp(1.0 / snr) * float(exp1(1.0 / snr)) / math.log(2.0)
    assert np.mean(rates) == pytest.approx(expected, abs=0.026)
    faded = Adaptive(4.0, 2, SLOT_S, 1.0, math.inf, field)
    assert channel.rate_bps(1, 0.3, 6.0) == pytest.approx(faded.rate_bps(1, 0.3, 0.0), rel=1e-12)


def test_utility_is_that_of_the_tasks_that_came_back_on_time() -> None:
    spec = network(warmup_s=1.0)
    records, metrics, _ = perform(spec)

    expected = 0.0
    for group in spec["users"]:
        rate_hz = group["arrival"]["rate_hz"]
        for number in range(group["count"]):
            on_time = sum(
                isinstance(r, TaskEnd)
                and r.user == f"{group['name']}-{number}"
                and r.outcome == "completed"
                and 1.0 <= r.ended_s <= r.due_s
                for r in records
            )
            got_hz = on_time / (spec["duration_s"] - 1.0)
            expected += group.get("value", 1.0) * rate_hz * math.log(1.0 + got_hz / rate_hz)
    assert metrics.summary()["all"]["utility"] == pytest.approx(expected, rel=1e-12)


def test_a_service_is_recorded_as_long_as_it_took_also_where_the_next_follows_at_once() -> None:
    spec = network(users=[kind("alarm", input_bits=2.0e4)], duration_s=10.0)
    spec["servers"] = [server_group(distribution("deterministic", 0.02), name="rack")]

    played = perform(spec)

    ends = [r for r in played.records if isinstance(r, TaskEnd) and r.outcome == "completed"]
    assert len(ends) > 100
    services_s = [end.finished_s - end.started_s for end in ends]
    assert services_s == pytest.approx([0.02] * len(ends), abs=1e-9)
    starts_s = sorted(end.started_s for end in ends)
    assert any(b - a == pytest.approx(0.02) for a, b in pairwise(starts_s))  # at once
