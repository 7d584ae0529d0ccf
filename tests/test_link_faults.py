"""What each fault of links does, against closed forms, and that it is the same on any hosts."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist, fmean, pstdev

import numpy as np
import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from test_kernel import Trio

from agents.messages import Beacon, Offload, TaskEnd
from agents.tasks import Task
from emulator.build.assemble import assemble
from emulator.build.plan import Plan
from emulator.build.planning import plan
from emulator.faults.activation import FaultOrder
from emulator.faults.effects import deviate
from emulator.faults.fold import AnyFault, Fault, fold
from emulator.scenario.schema import Scenario
from emulator.sim.channel import Bernoulli, Rayleigh, airtime
from emulator.sim.disturbance import Disturbance, Persistent
from emulator.sim.network import Deliver, Drop, Link, Resend
from emulator.streams import Streams

SEED = 11
SIGMAS = 4.0
ADAPTER: TypeAdapter[AnyFault] = TypeAdapter(Fault)
TASK = Task("user", 0, 0.0, 0, 1000.0, 7)


def fault(type_: str, **fields: object) -> AnyFault:
    return ADAPTER.validate_python({"type": type_, "at_s": 0.0, "target": "*", **fields})


def uplink(*active: AnyFault, loss: float = 0.0) -> Link:
    """A link whose attempts take 1 ms per kilobit."""
    link = Link(
        "user-0", "bs-0", "uplink", Bernoulli(loss, airtime(1.0e6)), Resend(), Streams(SEED)
    )
    link.apply(active)
    return link


def delays_s(link: Link, count: int) -> list[float]:
    """Returns by how much attempts, 10 ms apart, took longer than their airtime."""
    return [link.judge(1000.0, 1, 0.01 * k).at_s - 0.01 * k - 0.001 for k in range(count)]


def assert_share(found: float, expected: float, count: int) -> None:
    error = math.sqrt(expected * (1.0 - expected) / count)
    assert found == pytest.approx(expected, abs=SIGMAS * error)


# Losses


@pytest.mark.parametrize(("p", "correlation"), [(0.3, 0.9), (0.5, 0.5), (0.05, 0.8)])
def test_correlated_losses_keep_their_share_and_come_in_runs(p: float, correlation: float) -> None:
    count, link = 60_000, uplink(fault("loss", p=p, correlation=correlation))

    lost = [isinstance(link.judge(1000.0, 1, 0.01 * k), Drop) for k in range(count)]

    # A chain of two states: a loss is followed by one with c + (1 - c) p, so lag k correlates by
    # c^k and the variance of the mean is (1 + c) / (1 - c) times that of independent losses.
    inflated = (1.0 + correlation) / (1.0 - correlation)
    assert_share(sum(lost) / count, p, count / inflated)
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    length = 1.0 / ((1.0 - correlation) * (1.0 - p))
    error = math.sqrt(1.0 - 1.0 / length) * length / math.sqrt(runs)
    assert sum(lost) / runs == pytest.approx(length, abs=SIGMAS * error + 1.0 / runs)


def test_two_equal_correlated_losses_are_independent() -> None:
    count, twin = 60_000, fault("loss", p=0.3, correlation=0.5)
    link = uplink(twin, twin)

    lost = sum(isinstance(link.judge(1000.0, 1, 0.01 * k), Drop) for k in range(count))

    assert_share(lost / count, 1.0 - 0.7 * 0.7, count / 3.0)


@pytest.mark.parametrize("bits", [100.0, 3_000.0, 100_000.0])
@pytest.mark.parametrize("bers", [(1e-5,), (2e-5, 2e-5, 1e-4)])
def test_an_attempt_is_whole_when_each_of_its_bits_is(bers: Sequence[float], bits: float) -> None:
    count, loss = 20_000, 0.1
    link = uplink(*(fault("bit_errors", ber=ber) for ber in bers), loss=loss)

    for k in range(count):
        link.judge(bits, 1, 0.01 * k)

    whole = math.prod((1.0 - ber) ** bits for ber in bers)  # naive: bit by bit
    losses = link.tally.losses
    assert_share(losses["loss"] / count, loss, count)
    assert_share(losses.get("corrupt-fault", 0) / count, (1.0 - loss) * (1.0 - whole), count)


def test_bit_errors_grow_to_their_rate() -> None:
    count = 20_000
    link = uplink(fault("bit_errors", ber=1e-4, ramp_s=2.0 * count))

    lost = [isinstance(link.judge(10_000.0, 1, float(k)), Drop) for k in range(count)]

    # The rate grows from 0 to half of 1e-4: the mean of 1 - exp(-x) for x from 0 to 0.5, nearly.
    assert_share(sum(lost) / count, 1.0 - (1.0 - math.exp(-0.5)) / 0.5, count)
    assert sum(lost[: count // 2]) < 0.5 * sum(lost[count // 2 :])


# Copies and order


@pytest.mark.parametrize("ps", [(0.3,), (0.2, 0.5), (1.0,)])
def test_duplicates_compose_like_independent_ones(ps: Sequence[float]) -> None:
    count, link = 20_000, uplink(*(fault("duplicate", p=p) for p in ps))

    copies = sum(link.copies(1000.0, 0.01 * k) for k in range(count))

    assert_share(copies / count, 1.0 - math.prod(1.0 - p for p in ps), count)
    assert link.tally.losses == {"copy": copies}


def test_a_late_arrival_is_as_late_as_said_and_as_often() -> None:
    count = 20_000
    link = uplink(fault("reorder", p=0.3, delay_s=0.5), fault("reorder", p=0.2, delay_s=2.0))

    late_s = Counter(round(each, 6) for each in delays_s(link, count))

    expected = {0.0: 0.7 * 0.8, 0.5: 0.3 * 0.8, 2.0: 0.7 * 0.2, 2.5: 0.3 * 0.2}
    assert late_s.keys() == expected.keys()
    for each_s, share in expected.items():
        assert_share(late_s[each_s] / count, share, count)


def hears(body: Beacon | Offload, *faults: AnyFault) -> tuple[list[float], Counter[str]]:
    """Sends a body from user to server past a base station; says when it came, and the losses."""
    trio = Trio(body)
    kernel = trio.kernel(*trio.names)
    for number, each in enumerate(faults):
        kernel.steer(FaultOrder(0.0, "begin", number, each))
    kernel.run_until(0.0)
    kernel.start()
    kernel.run_until(10.0)
    losses: Counter[str] = Counter()
    for count in kernel.take_records(10.0):
        losses.update(getattr(count, "losses", {}))
    return [at_s for _, at_s in trio.nodes["edge"].heard], losses


def test_a_copied_message_reaches_the_node_twice_and_each_hop_copies() -> None:
    twice = fault("duplicate", p=1.0, target="edge")
    assert hears(Beacon(0, 1.0), twice) == ([0.75, 0.75], {"copy": 1})

    every_hop = hears(Beacon(0, 1.0), fault("duplicate", p=1.0))

    assert every_hop == ([0.75] * 4, {"copy": 1 + 2})


def test_a_copied_task_is_recognised_and_costs_an_attempt_on_each_hop() -> None:
    assert hears(Offload(TASK, "edge"), fault("duplicate", p=1.0)) == ([0.75], {"copy": 2})


# Signal


def test_shadows_are_normal_in_decibels_over_links_and_the_same_both_ways() -> None:
    count, streams = 4000, Streams(SEED)
    shadows = [fault("shadowing", sigma_db=3.0), fault("shadowing", sigma_db=4.0)]
    depths_db = []
    for number in range(count):
        there = Disturbance(f"user-{number}", "bs-0", "uplink", streams)
        back = Disturbance("bs-0", f"user-{number}", "downlink", streams)
        for each in (there, back):
            each.apply(shadows)
        depths_db.append(there.fade_db(there.effect(0.0)))
        assert back.fade_db(back.effect(0.0)) == depths_db[-1]

    assert fmean(depths_db) == pytest.approx(0.0, abs=SIGMAS * 5.0 / math.sqrt(count))
    assert pstdev(depths_db) == pytest.approx(5.0, abs=SIGMAS * 5.0 / math.sqrt(2.0 * count))
    below = sum(depth_db < 5.0 for depth_db in depths_db) / count
    assert_share(below, NormalDist().cdf(1.0), count)


def test_shadowing_gives_the_outage_of_a_log_normal_mean() -> None:
    links, attempts, snr_db, threshold_db, sigma_db = 1500, 20, 12.0, 5.0, 6.0
    lost = 0
    for number in range(links):
        name = f"user-{number}"
        field = Streams(SEED).field("fading", name)
        channel = Rayleigh(snr_db, threshold_db, 0.01, 1.0e6, field)
        link = Link(name, "bs-0", "uplink", channel, Resend(), Streams(SEED))
        link.apply([fault("shadowing", sigma_db=sigma_db)])
        for k in range(attempts):
            lost += isinstance(link.judge(1000.0, 1, (k + 0.5) * 0.01), Drop)

    # The outage 1 - exp(-10^((threshold - snr + sigma z) / 10)), averaged over a normal z
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    outage = 1.0 - np.exp(-(10.0 ** ((threshold_db - snr_db + sigma_db * z) / 10.0)))
    expected = float(weights @ outage / weights.sum())
    spread = float(np.sqrt(weights @ (outage - expected) ** 2 / weights.sum()))
    error = math.sqrt(spread**2 / links + expected * (1.0 - expected) / (links * attempts))
    assert lost / (links * attempts) == pytest.approx(expected, abs=SIGMAS * error)


def test_a_shadow_stays_when_another_fault_comes_and_goes() -> None:
    shadow = fault("shadowing", sigma_db=3.0)
    disturbance = Disturbance("user-0", "bs-0", "uplink", Streams(SEED))

    def depth_db(*active: AnyFault) -> float:
        disturbance.apply(active)
        return disturbance.fade_db(disturbance.effect(0.0))

    alone = depth_db(shadow)
    assert depth_db(shadow, fault("loss", p=0.5)) == alone
    assert depth_db(fault("shadowing", sigma_db=8.0), shadow) != alone
    assert depth_db(shadow) == alone


# Delay


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_has_the_mean_and_the_size_asked_for(distribution: str) -> None:
    count = 40_000
    jittered = fault("delay", delay_s=1.0, jitter_s=0.2, distribution=distribution)

    found_s = delays_s(uplink(jittered), count)

    size_s = 0.2 / math.sqrt(3.0) if distribution == "uniform" else 0.2
    assert fmean(found_s) == pytest.approx(1.0, abs=SIGMAS * size_s / math.sqrt(count))
    # Pareto of shape 3 has no fourth moment, and its sample deviation settles slowly.
    tolerance = {"uniform": 0.01, "normal": 0.015, "pareto": 0.1}[distribution]
    assert pstdev(found_s) == pytest.approx(size_s, rel=tolerance)
    median = {"uniform": 0.0, "normal": 0.0, "pareto": (2.0 ** (1 / 3) - 1.5) / math.sqrt(0.75)}
    below = sum(each_s < 1.0 + 0.2 * median[distribution] for each_s in found_s)
    assert_share(below / count, 0.5, count)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_beyond_the_delay_adds_nothing_and_takes_nothing(
    distribution: str, correlation: float
) -> None:
    count, delay_s, jitter_s = 40_000, 0.05, 0.9
    drawn = {"distribution": distribution, "correlation": correlation}
    jittered = fault("delay", delay_s=delay_s, jitter_s=jitter_s, **drawn)

    found_s = np.array(delays_s(uplink(jittered), count))

    # What docs/scenarios.md says, and a quadrature over the deviation (of standard deviation 1, or
    # half-width 1) that knows nothing of it
    z, y = delay_s / jitter_s, 1.5 - math.sqrt(0.75) * delay_s / jitter_s
    expected_s = {
        "uniform": (delay_s + jitter_s) ** 2 / (4.0 * jitter_s),
        "normal": delay_s * NormalDist().cdf(z) + jitter_s * NormalDist().pdf(z),
        "pareto": jitter_s / (math.sqrt(3.0) * y * y),
    }[distribution]
    deviation = {
        "uniform": stats.uniform(-1.0, 2.0),
        "normal": stats.norm(),
        "pareto": stats.pareto(3.0, loc=-1.5 / math.sqrt(0.75), scale=1.0 / math.sqrt(0.75)),
    }[distribution]
    integral_s = deviation.expect(lambda x: delay_s + jitter_s * x, lb=-z, epsabs=1e-10)
    assert expected_s == pytest.approx(integral_s, rel=1e-6)
    # Runs of equal draws, 1 / (1 - correlation) long on average, make the mean spread more.
    spread_s = float(found_s.std()) * math.sqrt((1.0 + correlation) / (1.0 - correlation) / count)
    assert found_s.min() > -1e-9, "nothing is quicker than its airtime"
    assert fmean(found_s) == pytest.approx(expected_s, abs=SIGMAS * spread_s)


def test_the_jitter_of_one_fault_does_not_use_up_the_delay_of_another() -> None:
    jittered, plain = fault("delay", delay_s=0.01, jitter_s=0.9), fault("delay", delay_s=0.5)

    assert min(delays_s(uplink(jittered, plain), 1000)) > 0.5 - 1e-9


def test_late_arrivals_under_jitter_are_later_than_their_airtime() -> None:
    faults = [fault("delay", delay_s=0.01, jitter_s=0.9), fault("reorder", p=0.5, delay_s=0.2)]

    assert min(delays_s(uplink(*faults), 1000)) > -1e-9


def test_no_uplink_of_a_run_is_quicker_than_its_airtime() -> None:
    spec = scenario(
        duration_s=400.0,
        users=[user_group(arrival={"kind": "periodic", "period_s": 2.0}, input_bits=1.0e6)],
        servers=[server_group(distribution("deterministic", 0.001))],
        channel={"kind": "bernoulli", "rate_bps": 1.0e6},
        downlink={"kind": "ideal"},
        faults=[
            {"at_s": 0, "type": "delay", "target": "user-0->bs-0", "delay_s": 0.01, "jitter_s": 0.9}
        ],
    )

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    uplinks_s = [end.arrived_s - end.born_s for end in ends]
    assert len(uplinks_s) > 190
    assert min(uplinks_s) > 1.0


def test_the_heaviest_deviations_are_finite_and_the_middle_is_none() -> None:
    for u in (0.0, math.nextafter(1.0, 0.0)):
        assert math.isfinite(deviate("normal", u))
        assert math.isfinite(deviate("pareto", u))
    assert deviate("normal", 0.5) == deviate("uniform", 0.5) == 0.0


def test_correlated_delays_correlate_and_keep_their_distribution() -> None:
    count, correlation = 40_000, 0.7
    link = uplink(fault("delay", delay_s=1.0, jitter_s=0.2, correlation=correlation))

    found_s = np.array(delays_s(link, count))

    for lag in (1, 2):
        found = np.corrcoef(found_s[:-lag], found_s[lag:])[0, 1]
        assert found == pytest.approx(correlation**lag, abs=SIGMAS * 2.0 / math.sqrt(count))
    inflated = (1.0 + correlation) / (1.0 - correlation)
    assert_share(float(np.mean(found_s < 1.1)), 0.75, int(count / inflated))


def test_persistent_draws_without_correlation_would_be_plain_ones() -> None:
    plain, persistent = Streams(SEED).uniform("x"), Persistent(0.0, Streams(SEED).uniform("x"))
    plain()  # the first value, which a correlation would repeat

    for _ in range(10):
        plain()  # the draw whether to repeat
        assert persistent() == plain()


# Growth


GROWING = {
    "loss": {"p": 0.8},
    "corrupt": {"p": 0.8},
    "duplicate": {"p": 0.8},
    "fading": {"depth_db": 0.8},
    "interference": {"rise_db": 0.8},
    "delay": {"delay_s": 0.8},
    "message_drop": {"message": "*", "p": 0.8},
    "message_delay": {"message": "*", "delay_s": 0.8},
}
STRENGTH = {
    "loss": lambda effect: 1.0 - effect.pass_p,
    "corrupt": lambda effect: 1.0 - effect.clean_p,
    "duplicate": lambda effect: 1.0 - effect.single_p,
    "fading": lambda effect: effect.fade_db,
    "interference": lambda effect: effect.fade_db,
    "delay": lambda effect: effect.delay_s,
    "message_drop": lambda effect: effect.message_drops[0][1],
    "message_delay": lambda effect: effect.message_delays[0][1],
}


@pytest.mark.parametrize("type_", GROWING)
def test_a_ramp_is_linear_in_time_and_then_over(type_: str) -> None:
    growing = fault(type_, **GROWING[type_], at_s=10.0, ramp_s=4.0)
    disturbance = Disturbance("user-0", "bs-0", "uplink", Streams(SEED))
    disturbance.apply([growing])

    grown = [STRENGTH[type_](disturbance.effect(10.0 + t)) for t in (0.0, 1.0, 2.0, 3.0, 4.0, 9.0)]

    assert grown == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_what_grows_by_chance_grows_evenly_too() -> None:
    count, ramp_s = 40_000, 100.0
    link = uplink(
        fault("loss", p=0.5, correlation=0.5, ramp_s=ramp_s),
        fault("reorder", p=0.5, delay_s=1.0, ramp_s=ramp_s),
    )
    lost, late = np.zeros(4), np.zeros(4)
    for k in range(count):
        now_s = ramp_s * k / count
        verdict, quarter = link.judge(1000.0, 1, now_s), 4 * k // count
        lost[quarter] += isinstance(verdict, Drop)
        late[quarter] += isinstance(verdict, Deliver) and verdict.at_s > now_s + 0.5

    for quarter in range(4):
        share = 0.5 * (quarter + 0.5) / 4.0  # the mean over the quarter
        assert_share(lost[quarter] * 4 / count, share, count / 4 / 3)
        assert_share(late[quarter] * 4 / count, share * (1.0 - share), count / 4)


def test_a_server_slows_down_gradually() -> None:
    slow = {"type": "server_slowdown", "target": "edge-*", "factor": 3.0, "at_s": 2.0}
    spec = scenario(
        users=[user_group(arrival={"kind": "periodic", "period_s": 0.1})],
        servers=[server_group(distribution("deterministic", 0.01))],
        faults=[{**slow, "ramp_s": 4.0}],
    )

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    assert len(ends) > 90
    for end in ends:
        share = min(1.0, max(0.0, (end.started_s - 2.0) / 4.0))
        assert end.finished_s - end.started_s == pytest.approx(0.01 * (1.0 + 2.0 * share))


@pytest.mark.parametrize("type_", ["blackout", "rate", "burst_loss", "partition"])
def test_what_has_no_strength_refuses_to_grow(type_: str) -> None:
    own = {"rate": {"rate_bps": 1.0}, "burst_loss": {"loss": 0.1, "burst_length": 2.0}}
    fields = {"type": type_, "at_s": 0.0, "ramp_s": 1.0, **own.get(type_, {})}
    fields |= {"a": ["x"], "b": ["y"]} if type_ == "partition" else {"target": "*"}

    with pytest.raises(ValidationError, match=f"ramp_s: {type_} has no strength that could grow"):
        ADAPTER.validate_python(fields)


# Messages


def test_dropped_messages_are_those_of_the_type_and_never_tasks() -> None:
    beacons = fault("message_drop", message="beacon", p=1.0)
    others = fault("message_drop", message="*,!beacon", p=1.0)

    assert hears(Beacon(0, 1.0), beacons) == ([], {"message-drop": 1})
    assert hears(Beacon(0, 1.0), others) == ([0.75], {})
    assert hears(Offload(TASK, "edge"), fault("message_drop", message="*", p=1.0)) == ([0.75], {})


def test_message_drops_compose_like_independent_ones() -> None:
    count, body = 20_000, Beacon(0, 1.0)
    link = uplink(
        fault("message_drop", message="beacon", p=0.3),
        fault("message_drop", message="*", p=0.2),
        fault("message_drop", message="ask", p=1.0),
    )

    dropped = sum(link.hold_s(body, 0.0) == math.inf for _ in range(count))

    assert_share(dropped / count, 1.0 - 0.7 * 0.8, count)


def test_message_delays_add_on_each_hop_and_spare_tasks() -> None:
    waits = fault("message_delay", message="beacon", delay_s=1.0)
    more = fault("message_delay", message="*", delay_s=0.5, target="edge")

    assert hears(Beacon(0, 1.0), waits, more) == ([0.75 + 1.0 + 1.5], {})
    assert hears(Offload(TASK, "edge"), waits, more) == ([0.75], {})


# Direction


def test_interference_in_one_direction_is_heard_by_one_kind_of_receiver() -> None:
    ends = (("user-0", "bs-0", "uplink"), ("bs-0", "user-0", "downlink"))
    for direction, expected in (("both", [3.0, 3.0]), ("up", [3.0, 0.0]), ("down", [0.0, 3.0])):
        noise = fault("interference", rise_db=3.0, direction=direction)
        assert [fold([noise], *each).fade_db for each in ends] == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("type_", ["blackout", "partition"])
def test_a_direction_spares_the_way_back(type_: str) -> None:
    whom = {"a": ["user-*"], "b": ["bs-*"]} if type_ == "partition" else {"target": "user-*"}

    def blocked(direction: str) -> list[bool]:
        cut = ADAPTER.validate_python(
            {"type": type_, "at_s": 0.0, "direction": direction, **whom},
        )
        ends = [("user-0", "bs-0", "uplink"), ("bs-0", "user-0", "downlink")]
        return [bool(fold([cut], *each).blocked_by) for each in ends]  # type: ignore[arg-type]

    assert blocked("both") == [True, True]
    assert blocked("up") == [True, False]
    assert blocked("down") == [False, True]


# Everywhere the same


def busy() -> Spec:
    """Ways that take time and draw in every way that faults know."""
    fade = {"at_s": 1.0, "target": "user-*"}
    return scenario(
        duration_s=6.0,
        protocol={"kind": "best-channel"},
        users=[user_group(count=4, arrival={"kind": "poisson", "rate_hz": 8.0})],
        base_stations=[{"name": "bs", "count": 2}],
        servers=[server_group(distribution("exponential", 0.02), count=2)],
        channel={"kind": "rayleigh", "snr_db": 25.0},
        resend={"attempts_max": 3, "ack_s": 0.001},
        backhaul={"delay_s": 0.003},
        faults=[
            {**fade, "type": "shadowing", "sigma_db": 4.0},
            {**fade, "type": "loss", "p": 0.2, "correlation": 0.5, "ramp_s": 2.0},
            {**fade, "type": "reorder", "p": 0.3, "delay_s": 0.05, "mode": "one"},
            {"at_s": 0.5, "type": "duplicate", "target": "*", "p": 0.4},
            {"at_s": 2.0, "type": "delay", "target": "*", "delay_s": 0.01, "jitter_s": 0.004,
             "distribution": "pareto", "correlation": 0.3},
            {"at_s": 1.5, "type": "message_drop", "target": "*", "message": "beacon", "p": 0.3},
            {"at_s": 1.5, "type": "message_delay", "target": "bs-1", "message": "*",
             "delay_s": 0.02},
            {"at_s": 2.0, "for_s": 0.2, "every_s": 0.5, "probability": 0.6, "mode": "one",
             "type": "blackout", "target": "bs-*"},
        ],
    )  # fmt: skip


def ends_on(planned: Plan, shares: list[list[str]]) -> list[str]:
    """Plays a plan on several kernels that mail each other, as hosts do; returns all task ends."""
    kernels = []
    host_of = {name: number for number, share in enumerate(shares) for name in share}
    for share in shares:
        remote = lambda parcel, at_s, to: kernels[host_of[to]].accept(parcel, at_s)  # noqa: E731
        kernels.append(assemble(planned, share, None, remote))
    for kernel in kernels:
        kernel.start()
    end_s = planned.scenario.duration_s
    while True:
        due_s = {n: math.inf if k.next_s is None else k.next_s for n, k in enumerate(kernels)}
        number = min(due_s, key=lambda n: due_s[n])
        if due_s[number] > end_s:
            break
        kernels[number].run_until(due_s[number])
    reported = [record for kernel in kernels for record in kernel.take_records(end_s)]
    return sorted(repr(record) for record in reported if isinstance(record, TaskEnd))


def test_several_kernels_draw_what_one_does() -> None:
    planned = plan(Scenario.model_validate(busy()), stopwatch=False)
    users = [name for name in planned.names if name.startswith("user")]
    others = [name for name in planned.names if name not in users]

    one = ends_on(planned, [planned.names])
    many = ends_on(planned, [users[:2], users[2:], others[:2], others[2:]])

    assert one == many
    assert len(one) > 120
    assert one == sorted(repr(r) for r in perform(busy()).records if isinstance(r, TaskEnd))


def test_the_same_seed_gives_the_same_digest_and_another_other_choices() -> None:
    assert perform(busy()).digest == perform(busy()).digest
    assert perform(busy() | {"seed": 2}).digest != perform(busy()).digest
