"""What breaks at nodes: what is lost, what is wrong meanwhile, and that nothing is left of it."""

import math
from collections import Counter
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from todg_network import network

from agents.messages import ServerReport, TaskEnd
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.checks.check import problems
from emulator.faults.activation import FaultOrder
from emulator.faults.fold import AnyFault, Fault
from emulator.faults.node_types import WELL, condition_of
from emulator.results.journal import LinkCount, Presence, Readings, Record
from emulator.scenario.schema import Scenario
from models import latency

SIGMAS = 4.0
AT_S, FOR_S = 3.0, 4.0
HEALED_S = AT_S + FOR_S
ADAPTER: TypeAdapter[AnyFault] = TypeAdapter(Fault)


POISSON = {"kind": "poisson", "rate_hz": 10.0}
REPLAY = {"kind": "replay", "model": "digits-s"}


def fault(type_: str, target: str, **fields: Any) -> Spec:
    return {"type": type_, "target": target, "at_s": AT_S, "for_s": FOR_S, **fields}


def ends(records: list[Record]) -> list[TaskEnd]:
    return [record for record in records if isinstance(record, TaskEnd)]


def played(spec: Spec) -> list[TaskEnd]:
    return sorted(ends(perform(spec).records), key=lambda end: (end.user, end.seq))


def cell(period_s: float = 0.1, service_s: float = 0.01, users: int = 1, **changes: Any) -> Spec:
    """Users that offload over a radio of 1 ms to one server; nothing is random or lost."""
    users_ = [user_group(count=users, arrival={"kind": "periodic", "period_s": period_s})]
    return scenario(
        users=users_,
        servers=[server_group(distribution("deterministic", service_s))],
        channel={"kind": "ideal", "delay_s": 0.001},
    ) | dict(changes)


# The fold


def node_faults() -> st.SearchStrategy[list[AnyFault]]:
    positive = st.floats(0.1, 9.0)
    rates = st.none() | st.floats(0.1, 9.0)

    def of(type_: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[AnyFault]:
        fixed = {"type": st.just(type_), "target": st.just("*"), "at_s": positive}
        return st.fixed_dictionaries(fixed | fields).map(ADAPTER.validate_python)

    return st.lists(
        st.one_of(
            of("server_pause"),
            of("server_slowdown", factor=positive),
            of("server_crash"),
            of("model_swap", model=st.sampled_from(["digits-s", "digits-l"])),
            of("bs_outage"),
            of("clock_skew", offset_s=positive, drift_ppm=positive),
            of("user_churn", leave_rate_hz=rates, join_rate_hz=positive),
            of("arrival_burst", factor=positive),
        ),
        max_size=6,
    )


@settings(max_examples=100, derandomize=True, deadline=None)
@given(faults=node_faults(), data=st.data())
def test_order_is_nothing_and_healing_all_returns_to_the_baseline(
    faults: list[AnyFault], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(faults))
    for node, kind in (("u", "user"), ("b", "base_station"), ("s", "server")):
        assert condition_of(shuffled, node, kind) == condition_of(faults, node, kind)  # type: ignore[arg-type]

    for healed in shuffled:
        faults.remove(healed)

    assert condition_of(faults, "s", "server") is WELL


@settings(max_examples=25, derandomize=True, deadline=None)
@given(faults=node_faults())
def test_a_host_whose_faults_are_healed_is_as_it_was(faults: list[AnyFault]) -> None:
    spec = cell(users=2) | {"servers": [{"name": "edge", "accelerator": REPLAY}]}
    planned = plan(Scenario.model_validate(spec), stopwatch=False)
    kernel = assemble(planned, planned.names)
    performer = kernel.performer
    own = dict(performer.devices.accelerators)
    for number, each in enumerate(faults):
        kernel.steer(FaultOrder(each.at_s, "begin", number, each))
        kernel.steer(FaultOrder(9.5 - 0.1 * number, "heal", number))

    kernel.start()
    kernel.run_until(9.6)

    assert performer.acting == kernel.nodes
    assert performer.devices.accelerators == own
    assert [performer.clock(name) for name in kernel.nodes] == [None] * len(kernel.nodes)
    assert list(performer.devices.tasks()) == []


ALL: list[Spec] = [
    fault("server_crash", "edge-0"),
    fault("bs_outage", "bs-0", handover="nearest"),
    fault("clock_skew", "user-0,edge-1,bs-1", offset_s=0.05, drift_ppm=200.0),
    fault("user_churn", "user-*", leave_rate_hz=2.0, join_rate_hz=2.0),
    fault("arrival_burst", "user-*", factor=3.0),
]


@pytest.mark.parametrize("broken", ALL, ids=lambda each: each["type"])
def test_a_healed_fault_leaves_no_trace_in_what_follows(broken: Spec) -> None:
    # Two tasks a second on idle servers: whatever the fault did is over a second later, and
    # periodic users that stayed keep their phases; those that left have new ones.
    spec = scenario(
        duration_s=20.0,
        users=[user_group(count=4, arrival={"kind": "periodic", "period_s": 0.5})],
        base_stations=[{"name": "bs", "count": 2}],
        servers=[server_group(distribution("deterministic", 0.01), count=2)],
        channel={"kind": "bernoulli", "rate_bps": 1.0e6},
        protocol={"kind": "round-robin"},
    )

    def after(played: list[TaskEnd]) -> list[tuple[str, float, float]]:
        late = (end for end in played if end.born_s > HEALED_S + 1.0)
        return [(e.outcome, round(e.ended_s - e.born_s, 6), e.attempts) for e in late]

    healthy, healed = after(played(spec)), after(played(spec | {"faults": [broken]}))

    assert len(healed) == pytest.approx(len(healthy), abs=4)
    assert Counter(healed) <= Counter(healthy) + Counter(dict.fromkeys(healthy, 4))


@pytest.mark.parametrize("count", [1, len(ALL)])
def test_equal_seeds_give_equal_digests(count: int) -> None:
    spec = cell(users=4, faults=ALL[-count:], base_stations=[{"name": "bs", "count": 2}])
    spec["servers"][0]["count"] = 2

    assert perform(spec).digest == perform(spec).digest


# Crashes


def test_a_crash_loses_exactly_what_the_server_held_and_what_comes_meanwhile() -> None:
    # A task every 0.04 s, served in 0.05 s: the queue grows until the crash.
    reported = played(cell(0.04, 0.05, faults=[fault("server_crash", "edge-0")]))

    free_s, lost = 0.0, set()
    for end in reported:  # Lindley's recursion; what is in service ends with the crash
        arrived_s = end.born_s + 0.001
        begins_s = max(arrived_s, free_s)
        if AT_S <= arrived_s < HEALED_S or (arrived_s < AT_S < begins_s + 0.05):
            lost.add(end.seq)
            free_s = HEALED_S
            assert end.ended_s == pytest.approx(max(AT_S, arrived_s))
        else:
            free_s = begins_s + 0.05
            assert end.finished_s == pytest.approx(free_s)
    dropped = {end.seq for end in reported if end.outcome == "dropped"}
    assert dropped == lost
    assert {(e.reason, e.server) for e in reported if e.seq in lost} == {("crash", "edge-0")}
    assert len(lost) > FOR_S / 0.04 + 10  # some of them were held when it crashed


def test_a_paused_server_that_crashes_loses_the_batch_that_it_had_not_begun() -> None:
    faults = [fault("server_pause", "edge-0"), fault("server_crash", "edge-0") | {"at_s": 5.0}]

    reported = played(cell(faults=faults))

    lost = {end.seq for end in reported if end.reason == "crash"}
    assert lost == {end.seq for end in reported if AT_S < end.born_s + 0.001 < 5.0 + FOR_S}


def test_a_restarted_server_knows_nothing_of_its_past() -> None:
    slow = fault("server_slowdown", "edge-0", factor=5.0)
    spec = cell(faults=[slow, fault("server_crash", "edge-0") | {"at_s": 6.9, "for_s": 0.5}])

    reports = [r for r in perform(spec).records if isinstance(r, ServerReport)]

    means_s = {round(r.at_s, 2): r.mean_s for r in reports}
    assert means_s[6.8] > 0.04
    assert means_s[7.2] == pytest.approx(0.01)  # what is written on it


def test_a_restarted_server_reports_as_often_as_before() -> None:
    # A timer of its former self would start a second chain of reports.
    spec = cell(0.5, protocol={"kind": "shortest-wait"}, report_s=0.1)
    spec["faults"] = [fault("server_crash", "edge-0", at_s=3.02, for_s=0.05)]

    counts = [r for r in perform(spec).records if isinstance(r, LinkCount)]

    # Results go home on the same wire: two a second, beside ten reports.
    sent = sum(r.attempts for r in counts if r.kind == "from-server" and r.at_s > 5.0)
    assert sent == pytest.approx(5.0 * 12.0, abs=2.0)


def test_nothing_passes_a_base_station_that_is_out() -> None:
    two = [{"name": "bs", "count": 2}]
    spec = cell(users=8, base_stations=two, faults=[fault("bs_outage", "bs-0")])
    cells = plan(Scenario.model_validate(spec), stopwatch=False).layout.cells
    assert len({near[0][0] for near in cells.values()}) == 2

    for end in played(spec):
        at_bs_0 = cells[end.user][0][0] == "bs-0"
        if at_bs_0 and AT_S < end.born_s < HEALED_S - 0.01:  # four attempts of 1 ms
            assert end.reason == "bs-outage"
        elif not at_bs_0 or not end.born_s > AT_S - 0.1:
            assert end.outcome == "completed"


def test_with_a_handover_users_go_to_the_nearest_that_is_up_and_come_back() -> None:
    two = [{"name": "bs", "count": 2}]
    outage = fault("bs_outage", "bs-0", handover="nearest")
    spec = cell(users=8, base_stations=two, faults=[outage])

    records, _, _ = perform(spec)

    lost = [end for end in ends(records) if end.outcome == "dropped"]
    assert all(AT_S - 0.02 < end.born_s < AT_S for end in lost)  # under way when it went out
    busy = [r for r in records if isinstance(r, LinkCount) and r.kind == "uplink"]
    at_bs_0 = [r.at_s for r in busy if r.bs == "bs-0"]
    assert not [at_s for at_s in at_bs_0 if AT_S + 0.1 < at_s < HEALED_S]
    assert max(at_bs_0) > HEALED_S + 1.0


@pytest.mark.parametrize(
    "broken",
    [
        fault("server_crash", "rack-0"),
        fault("bs_outage", "bs-*"),
        fault("user_churn", "*"),
        fault("server_pause", "*"),
    ],
    ids=lambda each: each["type"],
)
def test_scheduled_nodes_come_back_to_work_and_no_deadline_is_overrun(broken: Spec) -> None:
    during = broken | {"at_s": 1.02, "for_s": 1.0}  # not at the border of a slot

    records, metrics, _ = perform(network(faults=[during]))

    assert metrics.summary()["all"]["overdue"] == 0
    assert metrics.violations == 0
    back = [end for end in ends(records) if end.arrived_s > 2.2 and end.outcome == "completed"]
    assert len(back) > 40
    assert {end.server for end in back} == {"rack-0", "box-0"}


def test_counts_of_a_node_that_crashed_do_not_fall() -> None:
    spec = network(faults=[fault("server_crash", "*") | {"at_s": 1.0, "for_s": 0.5}])

    reported = [r for r in perform(spec).records if isinstance(r, Readings)]

    sent = [r.values["messages"] for r in reported]
    assert sent == sorted(sent)


# Clocks


def test_a_wrong_server_clock_spoils_what_is_measured_with_two_clocks_and_no_age() -> None:
    ahead_s = 0.25
    healthy, skewed = (
        perform(cell(faults=faults))
        for faults in ([], [fault("clock_skew", "edge-0", offset_s=ahead_s) | {"for_s": None}])
    )

    assert skewed.metrics.summary()["all"]["aoi_mean_s"] == pytest.approx(
        healthy.metrics.summary()["all"]["aoi_mean_s"]
    )
    for right, wrong in zip(ends(healthy.records), ends(skewed.records), strict=True):
        shown_s = ahead_s if right.arrived_s > AT_S else 0.0
        assert (wrong.born_s, wrong.ended_s) == (right.born_s, right.ended_s)
        assert wrong.arrived_s == pytest.approx(right.arrived_s + shown_s)
        assert wrong.finished_s == pytest.approx(right.finished_s + shown_s)


def test_a_wrong_user_clock_is_wrong_once_for_what_is_under_way_when_it_changes() -> None:
    healthy = played(cell(0.1, 0.08))
    # Tasks 30 and 70 are in service when the clock is set wrong, and right again.
    begin_s = healthy[30].started_s + 0.04
    skew = fault("clock_skew", "user-0", offset_s=0.5) | {"at_s": begin_s, "for_s": 4.0}
    skewed = played(cell(0.1, 0.08, faults=[skew]))

    wrong_s = {}
    for right, shown in zip(healthy, skewed, strict=True):
        assert shown.ended_s == pytest.approx(right.ended_s)  # told when it truly was
        error_s = (shown.ended_s - shown.born_s) - (right.ended_s - right.born_s)
        if abs(error_s) > 1e-9:
            wrong_s[right.seq] = error_s
    assert wrong_s == {30: pytest.approx(0.5), 70: pytest.approx(-0.5)}


def test_a_user_clock_set_right_does_not_make_its_later_results_old() -> None:
    healthy = cell(0.1, 0.08, duration_s=20.0)
    # Tasks 100 and 140 are in service when the clock is set wrong, and right again.
    begin_s = played(healthy)[100].started_s + 0.04
    skew = fault("clock_skew", "user-0", offset_s=5.0) | {"at_s": begin_s, "for_s": 4.0}

    metrics = perform(healthy | {"faults": [skew]}).metrics

    # What is under way when the clock is set wrong looks 5 s old until the next result, 0.1 s on.
    right = perform(healthy).metrics.summary()["all"]
    reported = metrics.summary()["all"]
    assert reported["aoi_mean_s"] == pytest.approx(right["aoi_mean_s"], abs=1.1 * 5.0 * 0.1 / 20.0)
    assert min(value for value in metrics.series.columns["aoi_s/all"] if value is not None) > 0.0
    assert min(value for value in metrics.series.columns["delay_s/mean"] if value is not None) >= 0


def test_a_server_whose_clock_is_ahead_gives_tasks_up_too_early() -> None:
    users = [user_group(arrival={"kind": "periodic", "period_s": 0.1}, deadline_s=0.2)]
    users[0]["drop_late"] = True
    skew = fault("clock_skew", "edge-0", offset_s=0.21)

    healthy = played(cell() | {"users": users})

    reported = played(cell() | {"users": users, "faults": [skew]})

    expired = {end.seq for end in reported if end.outcome == "expired"}
    assert expired == {end.seq for end in healthy if AT_S < end.arrived_s < HEALED_S}


def test_a_clock_that_runs_fast_shortens_the_gaps_between_periodic_tasks() -> None:
    drift = {"type": "clock_skew", "target": "user-0", "at_s": 0.0, "drift_ppm": 1.0e5}

    reported = played(cell(0.1, faults=[drift]))

    assert len(reported) == pytest.approx(10.0 * 1.1 / 0.1, abs=1.5)
    gaps_s = [b.ended_s - a.ended_s for a, b in pairwise(reported)]
    assert gaps_s == pytest.approx([0.1 / 1.1] * len(gaps_s))


# Users that leave and join


def presences(records: list[Record]) -> dict[str, list[tuple[float, bool]]]:
    changes: dict[str, list[tuple[float, bool]]] = {}
    for record in records:
        if isinstance(record, Presence):
            changes.setdefault(record.user, []).append((record.at_s, record.is_present))
    return changes


def spans(changes: list[tuple[float, bool]], end_s: float) -> list[tuple[float, float]]:
    """Returns the spans over which a user was there."""
    edges = [0.0, *(at_s for at_s, _ in changes), end_s]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]


def test_users_are_present_as_long_as_their_rates_say() -> None:
    leave_hz, join_hz, users, end_s = 0.5, 0.25, 200, 20.0
    churn = {"type": "user_churn", "target": "*", "at_s": 0.0}
    rates = {"leave_rate_hz": leave_hz, "join_rate_hz": join_hz}
    spec = cell(1.0, 1e-4, users, duration_s=end_s, faults=[churn | rates])

    changes = presences(perform(spec).records)

    there_s = [
        sum(b - a for a, b in spans(changes.get(f"user-{n}", []), end_s)) for n in range(users)
    ]
    # All begin present: p(t) = share + (1 - share) exp(-(leave + join) t), integrated
    both, share = leave_hz + join_hz, join_hz / (leave_hz + join_hz)
    expected_s = share * end_s + (1.0 - share) * (1.0 - math.exp(-both * end_s)) / both
    assert fmean(there_s) == pytest.approx(
        expected_s, abs=SIGMAS * stdev(there_s) / math.sqrt(users)
    )


def test_who_is_away_makes_nothing_gets_nothing_and_has_no_age() -> None:
    rates = {"leave_rate_hz": 2.0, "join_rate_hz": 1.0}
    spec = cell(0.07, 0.03, 3, faults=[fault("user_churn", "*", **rates)])

    records, metrics, _ = perform(spec)

    area_s2 = there_s = 0.0
    for user, changes in presences(records).items():
        reported = [end for end in ends(records) if end.user == user and end.outcome == "completed"]
        for begin_s, end_s in spans(changes, 10.0):
            there_s += end_s - begin_s
            steps = [(e.ended_s, e.born_s) for e in reported if begin_s <= e.ended_s <= end_s]
            at_s = fresh_s = begin_s
            for ended_s, born_s in [*sorted(steps), (end_s, 0.0)]:  # the sawtooth, piece by piece
                area_s2 += 0.5 * ((ended_s - fresh_s) ** 2 - (at_s - fresh_s) ** 2)
                at_s, fresh_s = ended_s, max(fresh_s, born_s)
        there = spans(changes, 10.0)
        for (_, left_s), (joined_s, _) in pairwise(there):
            assert not [e for e in reported if left_s < e.ended_s < joined_s]
            born = [e for e in ends(records) if e.user == user and left_s < e.born_s < joined_s]
            assert born == []
    assert len(presences(records)) == 3
    assert metrics.summary()["all"]["aoi_mean_s"] == pytest.approx(area_s2 / there_s)
    assert all(changes[-1][1] for changes in presences(records).values())  # healed: all are back
    assert {e.reason for e in ends(records) if e.outcome == "dropped"} == {"away"}


def test_who_left_before_any_peak_does_not_count_as_fresh() -> None:
    # All but user-0 leave at 3 s, before anything counts, and do not come back.
    spec = cell(0.5, 0.01, 3, faults=[fault("user_churn", "*,!user-0") | {"for_s": None}])
    spec |= {"warmup_s": 5.0}

    found = perform(spec).metrics.summary()["all"]

    assert found["paoi_weighted_s"] == pytest.approx(found["paoi_mean_s"])  # that of user-0 alone


def test_without_rates_all_leave_at_once_and_return_together() -> None:
    changes = presences(
        perform(cell(users=3, faults=[fault("user_churn", "user-*,!user-1")])).records
    )

    assert changes == {f"user-{n}": [(AT_S, False), (HEALED_S, True)] for n in (0, 2)}


@pytest.mark.parametrize(
    "spec",
    [cell(users=3) | {"users": [user_group(count=3, arrival=POISSON)]}, network(duration_s=12.0)],
    ids=["dedicated", "scheduled"],
)
def test_who_comes_back_repeats_nothing_of_what_it_did_before(spec: Spec) -> None:
    spec = spec | {"faults": [fault("user_churn", "*")]}
    births_s: dict[str, list[float]] = {}
    for end in played(spec):
        births_s.setdefault(end.user, []).append(end.born_s)

    assert len(births_s) >= 3
    for all_s in births_s.values():
        since_start = [at_s for at_s in all_s if at_s < AT_S]
        since_return = [at_s - HEALED_S for at_s in all_s if at_s > HEALED_S]
        assert min(len(since_start), len(since_return)) > 5
        equal = (abs(a - b) < 1e-6 for a, b in zip(since_start, since_return, strict=False))
        assert not any(equal)


def test_a_base_station_that_comes_back_draws_other_lots() -> None:
    # A station draws who gets each slot. Had it begun its stream anew, the order would repeat.
    spec = scenario(
        users=[user_group(count=8, arrival={"kind": "on-grant"})],
        base_stations=[{"name": "bs", "access": "slotted", "channels": 1, "grant_s": 0.1}],
        channel={"kind": "ideal", "delay_s": 0.001},
        resend={"attempts_max": 1},
        protocol={"kind": "random"},
        faults=[fault("bs_outage", "bs-0")],
    )

    reported = sorted(played(spec), key=lambda end: end.born_s)

    before = [end.user for end in reported if end.born_s < AT_S - 0.05]
    after = [end.user for end in reported if end.born_s > HEALED_S - 0.05]
    assert min(len(before), len(after)) > 20
    assert before[:20] != after[:20]


# Bursts


@pytest.mark.parametrize("offset_s", [5.0, -2.0])
@pytest.mark.parametrize(
    ("begin_s", "for_s"), [(AT_S, FOR_S), (AT_S - 1.0, 3.0), (AT_S + 1.0, FOR_S), (AT_S, 1.0)]
)
def test_a_clock_set_anew_during_a_burst_leaves_the_arrivals_as_they_were(
    offset_s: float, begin_s: float, for_s: float
) -> None:
    burst = fault("arrival_burst", "user-0", factor=2.5)
    skew = fault("clock_skew", "user-0", offset_s=offset_s) | {"at_s": begin_s, "for_s": for_s}
    right, skewed = (played(cell(faults=faults)) for faults in ([burst], [burst, skew]))

    assert [end.ended_s for end in skewed] == pytest.approx([end.ended_s for end in right])


@pytest.mark.parametrize(
    "kind", [{"kind": "poisson", "rate_hz": 40.0}, {"kind": "periodic", "period_s": 0.025}]
)
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_burst_is_an_exact_change_of_time(kind: Spec, factor: float) -> None:
    burst = fault("arrival_burst", "user-0", factor=factor)
    spec = cell(service_s=1e-4) | {"users": [user_group(arrival=kind)], "duration_s": 20.0}
    expected_s = [end.born_s for end in played(spec)]

    def changed_s(at_s: float) -> float:
        """When a task is born that would have been born at `at_s`: the same draws, other gaps."""
        if at_s <= AT_S:
            return at_s
        hurried_s = AT_S + (at_s - AT_S) / factor
        return hurried_s if hurried_s <= HEALED_S else at_s - FOR_S * (factor - 1.0)

    born_s = [end.born_s for end in played(spec | {"faults": [burst]})]

    together = min(len(born_s), len(expected_s))
    assert born_s[:together] == pytest.approx([changed_s(at_s) for at_s in expected_s[:together]])
    inside = sum(AT_S < at_s < HEALED_S for at_s in born_s)
    mean = FOR_S * factor * 40.0
    assert inside == pytest.approx(mean, abs=SIGMAS * math.sqrt(mean))


# Networks


@pytest.mark.parametrize("kind", ["replay", "live"])
def test_a_swapped_network_serves_in_its_own_times_and_is_as_right_as_it_is(kind: str) -> None:
    speed = 0.01
    server = {"name": "edge", "speed": speed, "accelerator": {"kind": kind, "model": "digits-l"}}
    swap = fault("model_swap", "edge-0", model="digits-xs")
    spec = cell(0.05, faults=[swap]) | {"servers": [server]}

    reported = played(spec)

    traces_s = {name: set(latency.trace(name, 1) / speed) for name in ("digits-l", "digits-xs")}
    for end in reported:
        name = "digits-xs" if AT_S <= end.started_s < HEALED_S else "digits-l"
        service_s = end.finished_s - end.started_s
        assert min(abs(known_s - service_s) for known_s in traces_s[name]) < 1e-9
    if kind == "live":
        right = Counter((AT_S <= end.started_s < HEALED_S, end.correct) for end in reported)
        assert right[True, False] > right[False, False]  # 7 in 100 wrong against 1


# What is refused


@pytest.mark.parametrize(
    ("bad", "text", "remedy"),
    [
        (fault("server_crash", "bs-0"), "'bs-0' selects no server", "known: edge-0"),
        (fault("bs_outage", "edge-0"), "selects no base station", "known: bs-0"),
        (fault("user_churn", "usr-0"), "selects no user", "did you mean 'user-0'?"),
        (fault("model_swap", "edge-0", model="digits-s"), "has no network", "server_slowdown"),
        (
            fault("model_swap", "edge-0", model="digit-s"),
            "unknown network",
            "did you mean 'digits-",
        ),
        (fault("actor_kill", "edge-0"), "one process", "on Ray"),
        (fault("server_pause", "user-0"), "selects no server", "edge-0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(bad: Spec, text: str, remedy: str) -> None:
    complaints = problems(Scenario.model_validate(cell(faults=[bad])))

    assert any(text in said and remedy in do for _, said, do in complaints), complaints


@pytest.mark.parametrize(
    ("access", "users", "bad", "text"),
    [
        (
            {"access": "contention", "channels": 2},
            {},
            fault("bs_outage", "bs-0", handover="nearest"),
            "users of contention access keep to their base stations",
        ),
        (
            {},
            {"kind": "at-will"},
            fault("arrival_burst", "*", factor=2.0),
            "arrivals of kind at-will",
        ),
    ],
)
def test_what_this_network_cannot_do_is_refused(
    access: Spec, users: Spec, bad: Spec, text: str
) -> None:
    spec = cell(base_stations=[{"name": "bs", **access}], faults=[bad])
    spec["users"][0]["arrival"] = users or spec["users"][0]["arrival"]

    (complaint,) = problems(Scenario.model_validate(spec))

    assert text in complaint[1]


def test_a_right_clock_is_no_fault() -> None:
    with pytest.raises(ValidationError, match="is right"):
        ADAPTER.validate_python(fault("clock_skew", "user-0"))
