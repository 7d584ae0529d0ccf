"""Channels, collisions and resends against their closed forms.

Statistical tests fix the seed. Their tolerance is four standard errors, derived beside each: under
a right model one test in 16,000 would fail at a random seed, and this one does not.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Played, Spec, distribution, perform, scenario, server_group, user_group
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agents import radio
from agents.messages import Offload, TaskEnd
from agents.tasks import Task
from emulator.sim.air import Air, Flight
from emulator.sim.channel import (
    BurstChain,
    Channel,
    GilbertElliott,
    Rayleigh,
    TraceChannel,
    airtime,
)
from emulator.streams import Streams

SEED = 7
SIGMAS = 4.0
SLOT_S = 0.01


def chain(p: float, r: float) -> BurstChain:
    return BurstChain(p, r, SLOT_S, Streams(SEED).uniform("burst"))


def rayleigh(mean_snr_db: float, threshold_db: float) -> Rayleigh:
    return Rayleigh(mean_snr_db, threshold_db, SLOT_S, 1.0e6, Streams(SEED).field("fading"))


def middles(count: int) -> list[float]:
    """The middle of each slot, so that rounding decides nothing."""
    return [(slot + 0.5) * SLOT_S for slot in range(count)]


def crowd(channel: Spec, attempts_max: int = 1, **changes: object) -> Spec:
    """Twenty users with five tasks a second each, on channels of their own: 10,000 attempts."""
    return scenario(
        duration_s=100.0,
        users=[user_group(count=20, arrival={"kind": "poisson", "rate_hz": 5.0})],
        servers=[server_group(distribution("deterministic", 1e-4))],
        channel=channel,
        downlink={"kind": "ideal"},
        resend={"attempts_max": attempts_max},
        **changes,
    )


def lost_share(played: Played, reason: str) -> tuple[float, int]:
    """Returns the share of uplink attempts lost for that reason, and how many there were."""
    metrics = played.metrics
    attempts = metrics.links.attempts["bs-0", "uplink"]
    return metrics.links.losses["bs-0", "uplink", reason] / attempts, attempts


# Gilbert-Elliott


@pytest.mark.parametrize(("p", "r"), [(0.05, 0.2), (0.3, 0.1), (1.0, 0.5)])
def test_a_burst_chain_is_bad_for_the_share_p_over_p_plus_r(p: float, r: float) -> None:
    slots = 200_000
    burst = chain(p, r)

    share = sum(burst.bad(at_s) for at_s in middles(slots)) / slots

    bad = p / (p + r)
    # Neighbouring slots correlate by 1 - p - r: the mean of n slots has the variance of
    # n (p + r) / (2 - p - r) independent ones.
    error = math.sqrt(bad * (1.0 - bad) / slots * (2.0 - p - r) / (p + r))
    assert share == pytest.approx(bad, abs=SIGMAS * error)


@pytest.mark.parametrize(("p", "r"), [(0.05, 0.2), (0.3, 0.1), (0.5, 1.0)])
def test_a_bad_run_lasts_one_over_r_slots(p: float, r: float) -> None:
    burst = chain(p, r)
    runs: list[int] = []
    before = True  # the first run may have begun before time zero: leave it out
    for bad in map(burst.bad, middles(200_000)):
        if bad and not before:
            runs.append(0)
        if bad and runs:
            runs[-1] += 1
        before = bad

    mean = sum(runs) / len(runs)

    error = math.sqrt(1.0 - r) / r / math.sqrt(len(runs))  # of a geometric distribution
    assert mean == pytest.approx(1.0 / r, abs=SIGMAS * error + 1e-9 + 1.0 / len(runs))


def test_a_burst_chain_is_stationary_from_its_first_slot() -> None:
    p, r, chains = 0.02, 0.05, 4_000

    share = sum(
        BurstChain(p, r, SLOT_S, Streams(seed).uniform("burst")).bad(0.0) for seed in range(chains)
    )

    bad = p / (p + r)
    error = math.sqrt(bad * (1.0 - bad) * chains)  # chains of different seeds are independent
    assert share == pytest.approx(bad * chains, abs=SIGMAS * error)


def test_gilbert_elliott_loses_the_mixture_of_its_two_states() -> None:
    p, r, loss_good, loss_bad = 0.05, 0.2, 0.1, 0.8
    channel = GilbertElliott(chain(p, r), loss_good, loss_bad, airtime(1.0e6))
    slots = 200_000

    loss = sum(1.0 - channel.success(at_s, 0.0) for at_s in middles(slots)) / slots

    bad = p / (p + r)
    error = (loss_bad - loss_good) * math.sqrt(bad * (1.0 - bad) / slots * (2 - p - r) / (p + r))
    expected = bad * loss_bad + (1.0 - bad) * loss_good
    assert loss == pytest.approx(expected, abs=SIGMAS * error)


def test_a_scenario_loses_attempts_to_bursts_at_the_stationary_share() -> None:
    p, r, loss_good, loss_bad = 0.05, 0.2, 0.1, 0.8
    spec = crowd(
        {
            "kind": "gilbert-elliott",
            "p": p,
            "r": r,
            "loss_good": loss_good,
            "loss_bad": loss_bad,
            "rate_bps": 1.0e6,
        }
    )

    share, attempts = lost_share(perform(spec), "burst")

    expected = p / (p + r) * loss_bad + r / (p + r) * loss_good
    # A user's attempts are 0.2 s apart, the chain forgets within 1 / (p + r) = 4 slots = 0.04 s:
    # by the sum of exp(-t / 0.04 s) over a Poisson process of 5 Hz, 1 + 2 * 0.2 at most.
    error = math.sqrt(1.4 * expected * (1.0 - expected) / attempts)
    assert share == pytest.approx(expected, abs=SIGMAS * error)


# Rayleigh


@pytest.mark.parametrize(("mean_db", "threshold_db"), [(10.0, 5.0), (20.0, 5.0), (3.0, 6.0)])
def test_rayleigh_outage_is_one_minus_exp_of_threshold_over_mean(
    mean_db: float, threshold_db: float
) -> None:
    blocks = 100_000
    channel = rayleigh(mean_db, threshold_db)

    outage = sum(1.0 - channel.success(at_s, 0.0) for at_s in middles(blocks)) / blocks

    expected = 1.0 - math.exp(-(10.0 ** ((threshold_db - mean_db) / 10.0)))
    assert radio.rayleigh_outage(mean_db, threshold_db) == pytest.approx(expected)
    error = math.sqrt(expected * (1.0 - expected) / blocks)  # blocks are independent
    assert outage == pytest.approx(expected, abs=SIGMAS * error)


def test_a_fade_takes_its_decibels_from_the_mean() -> None:
    blocks = 100_000
    channel = rayleigh(10.0, 5.0)

    outage = sum(1.0 - channel.success(at_s, 4.0) for at_s in middles(blocks)) / blocks

    expected = radio.rayleigh_outage(6.0, 5.0)
    error = math.sqrt(expected * (1.0 - expected) / blocks)
    assert outage == pytest.approx(expected, abs=SIGMAS * error)


def test_a_scenario_loses_attempts_to_fading_at_the_outage_probability() -> None:
    spec = crowd(
        {
            "kind": "rayleigh",
            "snr_db": 10.0,
            "threshold_db": 5.0,
            "reference_m": 50.0,
            "coherence_s": 0.005,
        },
        topology={"kind": "generated", "area_m": 10.0},  # everybody closer than reference_m
    )

    share, attempts = lost_share(perform(spec), "fading")

    expected = 1.0 - math.exp(-(10.0 ** ((5.0 - 10.0) / 10.0)))
    # Two attempts of one user share a block of 5 ms with probability 0.025 at most.
    error = math.sqrt(1.05 * expected * (1.0 - expected) / attempts)
    assert share == pytest.approx(expected, abs=SIGMAS * error)


# The weather


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    slots=st.lists(st.integers(0, 3000), min_size=1, max_size=60),
    is_fading=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_weather_does_not_depend_on_who_asks_or_in_which_order(
    slots: list[int], is_fading: bool, seed: int
) -> None:
    def channel() -> Channel:
        streams = Streams(seed)
        if is_fading:
            return Rayleigh(10.0, 8.0, SLOT_S, 1.0e6, streams.field("fading"))
        burst = BurstChain(0.1, 0.2, SLOT_S, streams.uniform("burst"))
        return GilbertElliott(burst, 0.0, 1.0, airtime(1.0e6))

    asked, watched = channel(), channel()

    answers = {slot: asked.success((slot + 0.5) * SLOT_S, 0.0) for slot in slots}

    in_order = [watched.success(at_s, 0.0) for at_s in middles(max(slots) + 1)]
    assert answers == {slot: in_order[slot] for slot in slots}


# Traces


def test_a_trace_channel_holds_its_rows_and_loops() -> None:
    channel = TraceChannel((0.0, 1.0, 3.0), (1.0, 0.25, 0.5), (100.0, 200.0, 1.0))

    for turn_s in (0.0, 3.0, 300.0):
        assert channel.success(turn_s + 0.5, 0.0) == 1.0
        assert channel.success(turn_s + 1.0, 0.0) == 0.25
        assert channel.success(turn_s + 2.9, 0.0) == 0.25
        assert channel.airtime_s(50.0, turn_s + 0.5, 0.0) == 0.5
        assert channel.airtime_s(50.0, turn_s + 2.0, 0.0) == 0.25


def test_a_scenario_completes_tasks_just_when_its_trace_lets_them_pass(tmp_path: Path) -> None:
    rows = tmp_path / "channel.csv"
    rows.write_text("t_s,success,rate_bps\n0,1,1e6\n2,0,1e6\n5,1,1e6\n")  # open 2 s in every 5
    spec = crowd({"kind": "trace", "file": str(rows)})

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    assert len(ends) > 9_000
    for end in ends:
        assert (end.outcome == "completed") == (end.born_s % 5.0 < 2.0)


# Collisions


@pytest.mark.parametrize(("load", "channels"), [(0.1, 1), (0.3, 1), (0.3, 4)])
def test_contention_collides_like_pure_aloha(load: float, channels: int) -> None:
    airtime_s = 0.001
    users = 200
    rate_hz = load * channels / airtime_s / users
    duration_s = 20_000 / (users * rate_hz)
    spec = crowd({"kind": "bernoulli", "airtime": distribution("deterministic", airtime_s)}) | {
        "duration_s": duration_s,
        "users": [user_group(count=users, arrival={"kind": "poisson", "rate_hz": rate_hz})],
        "base_stations": [{"name": "bs", "access": "contention", "channels": channels}],
    }

    share, attempts = lost_share(perform(spec), "collision")

    # Abramson 1970: an attempt survives if none begins within one airtime before or after it. So
    # what happens to attempts further apart than two airtimes is independent: each correlates
    # with 4 G others on average.
    expected = 1.0 - math.exp(-2.0 * load)
    error = math.sqrt((1.0 + 4.0 * load) * expected * (1.0 - expected) / attempts)
    assert share == pytest.approx(expected, abs=SIGMAS * error)


@pytest.mark.parametrize(("load", "slot_s"), [(0.5, 0.1), (1.0, 0.3), (2.0, 0.007)])
def test_contention_in_slots_collides_like_slotted_aloha(
    load: float, slot_s: float, tmp_path: Path
) -> None:
    users, slots = 40, 4000
    dice = np.random.default_rng(SEED)
    begun = dice.poisson(load, slots)
    births_s: list[list[float]] = [[] for _ in range(users)]
    for slot, count in enumerate(begun):
        for user in dice.integers(users, size=count):
            births_s[user].append(slot * slot_s)
    groups = []
    for user, times_s in enumerate(births_s):
        file = tmp_path / f"{user}.txt"
        file.write_text("\n".join(map(repr, times_s)))
        groups.append(user_group(name=f"u{user}", arrival={"kind": "trace", "file": str(file)}))
    # An attempt fills its slot, so that it touches those of the slots before and after.
    spec = crowd({"kind": "bernoulli", "airtime": distribution("deterministic", slot_s)}) | {
        "duration_s": (slots + 1) * slot_s,
        "users": groups,
        "base_stations": [{"name": "bs", "access": "contention", "channels": 1}],
    }

    summary = perform(spec).metrics.summary()["all"]

    # Roberts 1975: what is alone in its slot gets through. Slots are independent, hence three
    # standard errors of a share; by the draws themselves it is exact.
    expected = load * math.exp(-load)
    error = math.sqrt(expected * (1.0 - expected) / slots)
    assert summary["completed"] == int(np.sum(begun == 1))
    assert summary["completed"] / slots == pytest.approx(expected, abs=3.0 * error)


def test_flights_overlap_whichever_is_told_of_first() -> None:
    def lost(*spans_s: tuple[float, float]) -> list[bool]:
        air, offload = Air(1), Offload(Task("u", 0, 0.0, 0, 1.0, 0), None)
        flights = [Flight("u", "bs", 0.0, offload, None, 1, 0, *span_s) for span_s in spans_s]
        for flight in flights:
            air.enter(flight)
        return [flight.lost_by == "collision" for flight in flights]

    assert lost((0.0, 0.3), (0.2, 0.5)) == lost((0.2, 0.5), (0.0, 0.3)) == [True, True]
    assert lost((0.1, 3 * 0.1), (0.3, 0.5)) == lost((0.3, 0.5), (0.1, 3 * 0.1)) == [False, False]
    assert lost((0.0, 0.4), (0.1, 0.2), (0.4, 0.5)) == [True, True, False]


@pytest.mark.parametrize("attempts_max", [1, 4])
def test_granted_channels_never_collide(attempts_max: int) -> None:
    channel = {"kind": "bernoulli", "loss": 0.2, "airtime": distribution("exponential", 0.005)}
    granted = [{"name": "bs", "access": "granted", "channels": 2, "grant_s": 0.1}]
    spec = crowd(channel, attempts_max, base_stations=granted, backhaul={"delay_s": 0.0}) | {
        "duration_s": 20.0
    }

    metrics = perform(spec).metrics

    assert {reason for _, _, reason in metrics.links.losses} == {"loss"}
    assert metrics.summary()["all"]["completed"] > 500


def test_an_attempt_that_collides_and_fades_is_lost_once() -> None:
    channel = {"kind": "bernoulli", "loss": 1.0, "airtime": distribution("deterministic", 0.01)}
    contention = [{"name": "bs", "access": "contention", "channels": 1}]
    spec = crowd(channel, base_stations=contention) | {"duration_s": 10.0}

    metrics = perform(spec).metrics

    uplink = [count for (_, kind, _), count in metrics.links.losses.items() if kind == "uplink"]
    assert sum(uplink) == metrics.links.attempts["bs-0", "uplink"]


# Resends


def test_attempts_follow_a_truncated_geometric_law_and_the_rest_is_dropped() -> None:
    loss, attempts_max = 0.4, 4
    channel = {"kind": "bernoulli", "loss": loss, "airtime": distribution("exponential", 0.001)}

    records = perform(crowd(channel, attempts_max)).records

    ends = [record for record in records if isinstance(record, TaskEnd)]
    seen = Counter(end.attempts if end.outcome == "completed" else 0 for end in ends)
    shares = {k: loss ** (k - 1) * (1.0 - loss) for k in range(1, attempts_max + 1)}
    shares[0] = loss**attempts_max  # dropped
    assert seen.keys() == shares.keys()
    test = stats.chisquare([seen[k] for k in shares], [p * len(ends) for p in shares.values()])
    assert test.pvalue > 1e-4  # the level of four sigma, as above
    dropped = [end for end in ends if end.outcome == "dropped"]
    assert {(end.reason, end.attempts) for end in dropped} == {("loss", attempts_max)}
