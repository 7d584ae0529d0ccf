"""How faults choose their links, fold into one effect, and leave nothing behind."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agents.messages import Beacon, TaskEnd
from emulator.checks.check import problems
from emulator.checks.fault_words import types
from emulator.faults.effects import HEALTHY, RULES, Effect
from emulator.faults.fold import AnyFault, Fault, fold
from emulator.faults.node_types import WELL, condition_of
from emulator.faults.selectors import selects
from emulator.scenario.schema import Scenario
from emulator.sim.channel import Bernoulli, Rayleigh, TraceChannel, airtime
from emulator.sim.network import Deliver, Drop, Link, Resend, Verdict
from emulator.streams import Streams

SEED = 11
SIGMAS = 4.0
ADAPTER: TypeAdapter[AnyFault] = TypeAdapter(Fault)


def fault(type_: str, **fields: object) -> AnyFault:
    by_type = {} if type_ == "partition" else {"target": "*"}
    return ADAPTER.validate_python({"type": type_, "at_s": 0.0, **by_type, **fields})


def uplink(channel_loss: float = 0.0) -> Link:
    """A link whose attempts take 1 ms per kilobit."""
    channel = Bernoulli(channel_loss, airtime(1.0e6))
    return Link("user-0", "bs-0", "uplink", channel, Resend(), Streams(SEED))


def verdicts(link: Link, count: int, begin_s: float = 0.0) -> list[Verdict]:
    return [link.judge(1000.0, 1, begin_s + 0.01 * k) for k in range(count)]


def lost_share(active: list[AnyFault], attempts: int, channel_loss: float = 0.0) -> float:
    link = uplink(channel_loss)
    link.apply(active)
    return sum(isinstance(v, Drop) for v in verdicts(link, attempts)) / attempts


P, MORE = st.floats(0.0, 1.0), st.floats(0.1, 100.0)
BER = st.floats(1e-9, 0.5)
KINDS: dict[str, st.SearchStrategy[AnyFault]] = {
    "blackout": st.sampled_from([fault("blackout", direction=d) for d in ("up", "both")]),
    "loss": st.builds(lambda p, c: fault("loss", p=p, correlation=c), P, st.floats(0.0, 0.9)),
    "corrupt": st.builds(lambda p, s: fault("corrupt", p=p, ramp_s=s), P, st.floats(0.1, 2.0)),
    "bit_errors": st.builds(lambda p, s: fault("bit_errors", ber=p, ramp_s=s), BER, MORE),
    "duplicate": st.builds(lambda p: fault("duplicate", p=p), P),
    "reorder": st.builds(lambda p, d: fault("reorder", p=p, delay_s=d), P, MORE),
    "channel_loss": st.builds(lambda n: fault("channel_loss", channels=[n, 7]), st.integers(0, 3)),
    "burst_loss": st.builds(
        lambda n: fault("burst_loss", loss=0.3, burst_length=n), st.floats(1.0, 9.0)
    ),
    "fading": st.builds(lambda d: fault("fading", depth_db=d), MORE),
    "shadowing": st.builds(lambda d: fault("shadowing", sigma_db=d / 2.0, ramp_s=d), MORE),
    "interference": st.builds(lambda d: fault("interference", rise_db=d), MORE),
    "delay": st.builds(
        lambda d, distribution: fault(
            "delay", delay_s=d, jitter_s=d / 3.0, distribution=distribution
        ),
        MORE,
        st.sampled_from(["uniform", "normal", "pareto"]),
    ),
    "rate": st.builds(lambda r: fault("rate", rate_bps=r), st.just(0.0) | MORE),
    "partition": st.just(fault("partition", a=["user-*"], b=["bs-0"])),
    "message_drop": st.builds(lambda p: fault("message_drop", message="beacon", p=p), P),
    "message_delay": st.builds(lambda d: fault("message_delay", message="*", delay_s=d), MORE),
    "server_pause": st.just(fault("server_pause")),
    "bs_outage": st.just(fault("bs_outage")),
    "server_crash": st.just(fault("server_crash")),
    "model_swap": st.builds(
        lambda m, s: fault("model_swap", model=m, at_s=s),
        st.sampled_from(["digits-s", "digits-l"]),
        st.sampled_from([0.0, 1.0]),
    ),
    "clock_skew": st.builds(lambda s: fault("clock_skew", offset_s=s, drift_ppm=s), MORE),
    "user_churn": st.builds(lambda r: fault("user_churn", leave_rate_hz=r), st.none() | MORE),
    "arrival_burst": st.builds(lambda f: fault("arrival_burst", factor=f), MORE),
    "actor_kill": st.just(fault("actor_kill")),
    "server_slowdown": st.builds(lambda f: fault("server_slowdown", factor=f), MORE),
}
FAULTS = st.lists(st.one_of(*KINDS.values()), max_size=8)


THREE_DELAYS = [fault("delay", delay_s=delay_s) for delay_s in (0.1, 0.2, 0.3)]


# Healing


def test_what_follows_is_about_the_whole_vocabulary() -> None:
    missing = sorted(types().keys() - KINDS.keys())
    assert not missing, f"KINDS in this file: add how to draw {', '.join(missing)}"
    assert KINDS.keys() == types().keys()


def own(schema: dict[str, Any]) -> list[str]:
    """Names the parameters of a fault that are not those of all."""
    mine = [name for name, spec in schema["properties"].items() if not spec.get("modifier")]
    return [name for name in mine if name not in ("for_s", "target")]


def test_the_docs_list_every_fault_with_its_parameters_and_how_several_combine() -> None:
    text = (Path(__file__).parent.parent / "docs" / "scenarios.md").read_text()
    section = text.split("\n## Faults\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()[2:]]

    named = {kind.strip("`") for kind, *_ in rows}
    missing = [
        f"| `{kind}` | whom it hits | {' '.join(f'`{p}`' for p in own(schema))} | "
        f"{schema['together']} |"
        for kind, schema in types().items()
        if kind not in named
    ]
    assert not missing, f"docs/scenarios.md, table of 'Faults': add {' and '.join(missing)}"
    assert named == types().keys()
    for kind, _, parameters, together in rows:
        schema = types()[kind.strip("`")]
        assert set(own(schema)) <= set(re.findall(r"`(\w+)`", parameters)), kind
        assert together == schema["together"], kind


def test_every_part_of_an_effect_has_a_rule() -> None:
    assert RULES.keys() == set(Effect.__struct_fields__)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(faults=FAULTS, data=st.data())
def test_healing_all_in_any_order_returns_to_the_baseline(
    faults: list[AnyFault], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(faults))
    link, untouched = uplink(0.3), uplink(0.3)
    active = list(faults)
    link.apply(active)

    for healed in order:
        verdicts(link, 5)  # what faults draw shifts nothing of the channel's
        verdicts(untouched, 5)
        active.remove(healed)
        link.apply(active)

    assert fold(active, "user-0", "bs-0", "uplink") is HEALTHY
    assert condition_of(active, "edge-0", "server") is WELL
    assert verdicts(link, 50) == verdicts(untouched, 50)
    assert link.hold_s(Beacon(0, 1.0), 0.0) == 0.0
    assert not link.copies(1000.0, 0.0)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(pair=FAULTS.flatmap(lambda faults: st.tuples(st.just(faults), st.permutations(faults))))
@example(pair=(THREE_DELAYS, THREE_DELAYS[::-1]))  # sums of floats depend on the order
def test_the_order_in_which_faults_began_does_not_matter(
    pair: tuple[list[AnyFault], list[AnyFault]],
) -> None:
    faults, shuffled = pair

    for now_s in (0.5, math.inf):  # while some still grow, and after
        effect = fold(faults, "user-0", "bs-0", "uplink", now_s)
        assert fold(shuffled, "user-0", "bs-0", "uplink", now_s) == effect
    for kind, node in (("user", "user-0"), ("base_station", "bs-0"), ("server", "edge-0")):
        assert condition_of(shuffled, node, kind) == condition_of(faults, node, kind)


# Composition


@pytest.mark.parametrize("losses", [(0.3,), (0.3, 0.5), (0.2, 0.2, 0.2), (0.4, 1.0)])
def test_loss_faults_compose_like_independent_losses(losses: tuple[float, ...]) -> None:
    attempts, channel_loss = 20_000, 0.1

    share = lost_share([fault("loss", p=p) for p in losses], attempts, channel_loss)

    expected = 1.0 - (1.0 - channel_loss) * math.prod(1.0 - p for p in losses)
    error = math.sqrt(expected * (1.0 - expected) / attempts)
    assert share == pytest.approx(expected, abs=SIGMAS * error)


def test_corruption_strikes_what_got_through_and_has_its_own_name() -> None:
    attempts, link = 40_000, uplink(0.1)
    link.apply([fault("loss", p=0.2), fault("corrupt", p=0.3), fault("corrupt", p=0.5)])

    reasons = Counter(v.reason if isinstance(v, Drop) else "" for v in verdicts(link, attempts))

    expected = {
        "loss": 0.1,
        "loss-fault": 0.9 * 0.2,
        "corrupt-fault": 0.9 * 0.8 * (1.0 - 0.7 * 0.5),
        "": 0.9 * 0.8 * 0.7 * 0.5,
    }
    for reason, share in expected.items():
        error = math.sqrt(share * (1.0 - share) / attempts)
        assert reasons[reason] / attempts == pytest.approx(share, abs=SIGMAS * error)
    assert reasons.keys() == expected.keys()


def test_delays_add_and_the_slowest_rate_counts() -> None:
    link = uplink()
    link.apply(
        [
            fault("delay", delay_s=0.25),
            fault("delay", delay_s=0.5),
            fault("rate", rate_bps=1.0e4),
            fault("rate", rate_bps=1.0e3),
        ]
    )

    # 1000 bits at 1 kb/s, and three quarters of a second on top
    assert link.judge(1000.0, 1, 0.0).at_s == pytest.approx(1.0 + 0.75)


def test_a_rate_above_that_of_the_channel_changes_nothing() -> None:
    link = uplink()
    link.apply([fault("rate", rate_bps=1.0e9)])

    assert link.judge(1000.0, 1, 0.0).at_s == pytest.approx(0.001)


def test_a_rate_of_zero_loses_what_begins_under_it_and_resends_as_a_blackout() -> None:
    def ends_of(stop: dict[str, object]) -> list[tuple[float, str, int]]:
        spec = scenario(
            users=[user_group(arrival={"kind": "periodic", "period_s": 0.3})],
            channel={"kind": "bernoulli", "rate_bps": 1.0e4},  # 0.12 s an attempt
            resend={"attempts_max": 4, "ack_s": 0.1},
            faults=[{"at_s": 3.0, "for_s": 2.0, "target": "user-*", **stop}],
        )
        ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]
        return [(end.ended_s, end.outcome, end.attempts) for end in ends]

    rate = ends_of({"type": "rate", "rate_bps": 0})

    assert rate == ends_of({"type": "blackout"})
    dropped = [end for end in rate if end[1] == "dropped"]
    assert dropped, "some had no attempt after the outage"
    assert all(attempts == 4 for _, _, attempts in dropped)
    assert any(outcome == "completed" and attempts > 1 for _, outcome, attempts in rate)


def test_a_rate_of_zero_is_the_minimum_of_all_and_no_attempt_lasts_for_ever() -> None:
    link = uplink()
    link.apply([fault("rate", rate_bps=1.0e4), fault("rate", rate_bps=0)])

    # 1000 bits at the lowest rate at which anything is sent
    assert link.judge(1000.0, 1, 0.0) == Drop(pytest.approx(0.1), "rate")


@pytest.mark.parametrize(("cap_bps", "took_s"), [(1.8e3, 1.5), (700.0, 1.5 / 0.7)])
def test_a_capped_trace_takes_the_slower_of_the_two(cap_bps: float, took_s: float) -> None:
    rows = TraceChannel([0.0, 0.5, 1.0, 4.0], [1.0, 1.0, 1.0, 1.0], [2.0e3, 0.0, 1.0e3, 1.0])
    link = Link("user-0", "bs-0", "uplink", rows, Resend(), Streams(SEED))
    link.apply([fault("rate", rate_bps=cap_bps)])

    # 1500 bits: 1000 in the first row, none in the second, 500 in the third, so 1.5 s by itself
    assert link.judge(1500.0, 1, 0.0) == Deliver(pytest.approx(took_s))


def test_jitter_is_uniform_around_the_delay() -> None:
    link = uplink()
    link.apply([fault("delay", delay_s=0.5, jitter_s=0.1)])
    count = 10_000

    delays_s = [link.judge(1000.0, 1, 0.0).at_s - 0.001 for _ in range(count)]

    assert min(delays_s) >= 0.4
    assert max(delays_s) <= 0.6
    error_s = 0.2 / math.sqrt(12.0 * count)  # of a uniform distribution 0.2 s wide
    assert sum(delays_s) / count == pytest.approx(0.5, abs=SIGMAS * error_s)


def test_fades_add_in_decibels() -> None:
    effect = fold(
        [fault("fading", depth_db=3.0), fault("fading", depth_db=4.0)], "user-0", "bs-0", "uplink"
    )

    assert effect.fade_db == 7.0


def test_interference_strikes_receivers_only_and_adds_to_fades() -> None:
    noises = [fault("interference", target="bs-0", rise_db=rise_db) for rise_db in (3.0, 4.0)]
    active = [*noises, fault("fading", target="user-0", depth_db=1.0)]

    fades_db = {ends: fold(active, *ends, kind).fade_db for ends, kind in LINKS.items()}

    others = dict.fromkeys((("bs-0", "user-1"), TO, FROM), 0.0)
    assert fades_db == {UP: 8.0, DOWN: 1.0, ("user-1", "bs-0"): 7.0, **others}


def test_interference_raises_the_outage_to_that_of_a_weaker_signal() -> None:
    attempts, snr_db, threshold_db, rise_db = 40_000, 12.0, 5.0, 4.0
    field = Streams(SEED).field("fading", "user-0", "bs-0")
    channel = Rayleigh(snr_db, threshold_db, 0.01, 1.0e6, field)
    link = Link("user-0", "bs-0", "uplink", channel, Resend(), Streams(SEED))
    link.apply([fault("interference", target="bs-*", rise_db=rise_db)])

    lost = sum(isinstance(link.judge(1000.0, 1, (k + 0.5) * 0.01), Drop) for k in range(attempts))

    # One attempt in each coherence time: independent exponential gains
    expected = 1.0 - math.exp(-(10.0 ** ((threshold_db - snr_db + rise_db) / 10.0)))
    error = math.sqrt(expected * (1.0 - expected) / attempts)
    assert lost / attempts == pytest.approx(expected, abs=SIGMAS * error)


@pytest.mark.parametrize(("loss", "length"), [(0.2, 4.0), (0.5, 10.0), (0.3, 1.0), (0.9, 20.0)])
def test_burst_losses_have_the_share_and_the_length_asked_for(loss: float, length: float) -> None:
    slots = 100_000
    link = uplink()
    link.apply([fault("burst_loss", loss=loss, burst_length=length)])

    lost = [isinstance(link.judge(1000.0, 1, (k + 0.5) * 0.01), Drop) for k in range(slots)]

    # Variances of a two-state chain, as in test_channel.py
    r = 1.0 / length
    p = r * loss / (1.0 - loss)
    error = math.sqrt(loss * (1.0 - loss) / slots * (2.0 - p - r) / (p + r))
    assert sum(lost) / slots == pytest.approx(loss, abs=SIGMAS * error)
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    error = math.sqrt(1.0 - r) * length / math.sqrt(runs)
    assert sum(lost) / runs == pytest.approx(length, abs=SIGMAS * error + 1.0 / runs)


def test_bursts_too_short_for_their_share_are_refused() -> None:
    # Nine losses in ten need runs of nine on average: a shorter run leaves more gaps than that.
    with pytest.raises(ValidationError, match="burst_length"):
        fault("burst_loss", loss=0.9, burst_length=2.0)


def test_two_burst_faults_are_independent() -> None:
    attempts, twice = 100_000, [fault("burst_loss", loss=0.3, burst_length=2.0)] * 2

    share = lost_share(twice, attempts)

    # 0.3 and 0.3 independently; correlation over slots at most triples the variance of the mean.
    expected = 1.0 - 0.7 * 0.7
    error = math.sqrt(3.0 * expected * (1.0 - expected) / attempts)
    assert share == pytest.approx(expected, abs=SIGMAS * error)


# Selection


@pytest.mark.parametrize(
    ("selector", "meant", "not_meant"),
    [
        ("user-2", ["user-2"], ["user-20", "user-1", "x-user-2"]),
        ("bs-*", ["bs-0", "bs-17"], ["user-0", "abs-0"]),
        ("user-1,user-3", ["user-1", "user-3"], ["user-2", "user-1,user-3"]),
        ("user-*, !user-0", ["user-1", "user-10"], ["user-0", "bs-0"]),
        ("*,!bs-*,!edge-0", ["user-0", "edge-1"], ["bs-3", "edge-0"]),
        ("user-?", ["user-1"], ["user-10"]),
        ("user-[12]", ["user-1", "user-2"], ["user-3"]),
    ],
)
def test_a_selector_means_a_union_of_globs_less_exclusions(
    selector: str, meant: list[str], not_meant: list[str]
) -> None:
    assert all(selects(selector, name) for name in meant)
    assert not any(selects(selector, name) for name in not_meant)


def test_an_exclusion_of_a_shorter_name_does_not_exclude_a_longer_one() -> None:
    assert selects("user-*,!user-1", "user-10")


LINKS = {
    ("user-0", "bs-0"): "uplink",
    ("bs-0", "user-0"): "downlink",
    ("user-1", "bs-0"): "uplink",
    ("bs-0", "user-1"): "downlink",
    ("bs-0", "edge-0"): "to-server",
    ("edge-0", "bs-0"): "from-server",
}
UP, DOWN = ("user-0", "bs-0"), ("bs-0", "user-0")
TO, FROM = ("bs-0", "edge-0"), ("edge-0", "bs-0")


@pytest.mark.parametrize(
    ("target", "hit"),
    [
        ("user-0", {UP, DOWN}),
        ("user-0->bs-0", {UP}),
        ("bs-0->user-0", {DOWN}),
        ("user-*,!user-1->*", {UP}),
        ("bs-0", {UP, DOWN, ("user-1", "bs-0"), ("bs-0", "user-1")}),  # its radio, no backhaul
        ("edge-0", {TO, FROM}),
        ("bs-0->edge-*", {TO}),
        ("nobody", set()),
    ],
)
def test_a_target_hits_just_the_links_it_stands_for(target: str, hit: set[tuple[str, str]]) -> None:
    blackout = fault("blackout", target=target)

    blocked = {ends for ends, kind in LINKS.items() if fold([blackout], *ends, kind) is not HEALTHY}

    assert blocked == hit


def test_a_partition_cuts_both_directions_and_nothing_else() -> None:
    partition = fault("partition", a=["user-0", "bs-*"], b=["edge-*", "nobody"])
    mirrored = fault("partition", a=["edge-*", "nobody"], b=["user-0", "bs-*"])

    for ends, kind in LINKS.items():
        blocked_by = fold([partition], *ends, kind).blocked_by
        assert blocked_by == ("partition" if set(ends) == {"bs-0", "edge-0"} else "")
        assert fold([mirrored], *ends, kind).blocked_by == blocked_by


# Through a whole run


def lone_user(**changes: object) -> Spec:
    return scenario(
        users=[user_group(arrival={"kind": "periodic", "period_s": 0.1})],
        servers=[server_group(distribution("deterministic", 0.01), name="edge")],
        channel={"kind": "bernoulli", "rate_bps": 1.0e6},
        **changes,
    )


def ends(spec: Spec) -> list[TaskEnd]:
    return [record for record in perform(spec).records if isinstance(record, TaskEnd)]


def test_a_server_slowdown_doubles_the_measured_service() -> None:
    slow = {"type": "server_slowdown", "target": "edge-*", "factor": 2.0, "at_s": 3.0, "for_s": 4.0}

    services_s = {e.born_s: e.finished_s - e.started_s for e in ends(lone_user(faults=[slow]))}

    # A task needs 0.02 s to be served: those born close to a change may fall on either side.
    for born_s, service_s in services_s.items():
        if not any(abs(born_s - change_s) < 0.05 for change_s in (3.0, 7.0)):
            assert service_s == pytest.approx(0.02 if 3.0 < born_s < 7.0 else 0.01)


def test_a_paused_server_starts_nothing_and_then_catches_up() -> None:
    pause = {"type": "server_pause", "target": "edge-*", "at_s": 3.0, "for_s": 4.0}

    reported = sorted(ends(lone_user(faults=[pause])), key=lambda end: end.seq)

    # Lindley's recursion for one server that takes 0.01 s, closed from 3 to 7 s
    free_s = 0.0
    for end in reported:
        begins_s = max(end.arrived_s, free_s)
        free_s = (7.0 if 3.0 <= begins_s < 7.0 else begins_s) + 0.01
        assert end.outcome == "completed"
        assert end.finished_s == pytest.approx(free_s)
    assert sum(end.arrived_s < 7.0 < end.finished_s for end in reported) >= 39


def shared(access: str, **changes: object) -> Spec:
    """One user alone on two channels that lose nothing, over and over; one attempt a task."""
    return lone_user(
        duration_s=200.0,
        base_stations=[{"name": "bs", "access": access, "channels": 2, "grant_s": 0.05}],
        resend={"attempts_max": 1},
        **changes,
    )


def test_a_lost_channel_loses_the_share_of_attempts_that_pick_it() -> None:
    lost = {"type": "channel_loss", "target": "bs-*", "channels": [1], "at_s": 0.0}

    reasons = Counter(end.reason for end in ends(shared("contention", faults=[lost])))

    count = reasons.total()
    assert reasons.keys() == {"", "channel-loss"}
    error = math.sqrt(0.25 / count)  # each of two channels is picked half the time
    assert reasons["channel-loss"] / count == pytest.approx(0.5, abs=SIGMAS * error)


@pytest.mark.parametrize("access", ["contention", "granted"])
def test_with_all_channels_lost_nothing_arrives_until_they_are_back(access: str) -> None:
    lost = {"type": "channel_loss", "target": "bs-0", "channels": [0, 1]}

    for end in ends(shared(access, faults=[{**lost, "at_s": 3.0, "for_s": 4.0}])):
        if end.outcome == "completed":
            assert not 3.0 < end.born_s < 6.9
        else:
            assert end.reason == "channel-loss"
            assert 2.9 < end.born_s < 7.0


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"type": "server_pause", "target": "egde-0"}, "did you mean 'edge-0'?"),
        ({"type": "channel_loss", "target": "edge-0", "channels": [0]}, "known: bs-0"),
        ({"type": "channel_loss", "target": "bs-0", "channels": [2]}, "name channels that it has"),
    ],
)
def test_a_fault_that_touches_nothing_is_refused(bad: Spec, text: str) -> None:
    given = shared("contention", faults=[{**bad, "at_s": 0.0}])

    (complaint,) = problems(Scenario.model_validate(given))

    assert text in complaint[2]


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        ({"type": "blackout", "target": "bs-0"}, "blackout"),
        ({"type": "blackout", "target": "edge-0"}, "blackout"),
        ({"type": "partition", "a": ["user-*"], "b": ["bs-0"]}, "partition"),
    ],
)
def test_a_cut_drops_everything_and_says_why(cut: Spec, reason: str) -> None:
    during = {**cut, "at_s": 3.0, "for_s": 4.0}

    reported = ends(lone_user(faults=[during]))

    assert Counter(end.outcome for end in reported).keys() == {"completed", "dropped"}
    for end in reported:
        if end.outcome == "dropped":
            assert end.reason == reason
            assert 2.9 < end.born_s < 7.0
        else:
            assert not 3.0 < end.born_s < 6.9
