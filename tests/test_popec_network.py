"""The freshness protocol in the emulator's virtual time, against the centralised optimum.

Messages cross a control channel that loses a fifth of them and takes 5 ms on average, exponential,
so that they overtake each other too; a tenth of the users are 20 ms slower in either direction.
"Gap" is the weighted peak age of what users act on, by equation 1, over the oracle's, less one. It
is judged at every `EVERY_S` from an instant on, not at one lucky instant. Virtual time makes every
run here exact: equal seeds, equal numbers.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group

from agents.api import Message, Node, Send
from agents.freshness import load
from agents.messages import Ask, NodeId, Share
from agents.policy import Policy
from agents.popec.resource import NegotiatingCell, NegotiatingServer
from agents.popec.user import NegotiatingUser
from agents.reference.optimum import optimum
from agents.reference.problem import Allocation, Problem, class_sums, repair, weighted_paoi_s
from emulator.build.nodes import Assembly
from emulator.build.planning import plan
from emulator.build.problem import Whole, whole_of
from emulator.scenario.schema import Scenario
from emulator.sim.kernel import Kernel

EVERY_S = 0.02
SLOT_S = 0.02
RESENDS = {"attempts_max": 50, "ack_s": 0.02}
SYNCHRONOUS = {"kind": "popec", "measure": False}
ASYNCHRONOUS = {"kind": "popec-async", "measure": False}
COUNTS = {10: (2, 3, 5), 20: (4, 6, 10), 50: (10, 15, 25)}
CELLS = {10: 2, 20: 3, 50: 4}
SERVERS = (
    server_group(distribution("gamma", 0.020, 0.25), name="gpu"),
    server_group(distribution("deterministic", 0.012), name="npu"),
    server_group(distribution("exponential", 0.060), name="cpu"),
    server_group(distribution("hyperexponential", 0.035, 2.0), name="old"),
)


def network(users: int, seed: int, loss: float = 0.2, **changes: Any) -> Spec:
    """The reference network; links by fading, nothing is measured."""
    cells = CELLS[users]
    return scenario(
        seed=seed,
        duration_s=1000.0,
        protocol=ASYNCHRONOUS,
        users=[
            user_group(
                name=f"class{k}",
                count=count,
                priority=k,
                weight=weight,
                arrival={"kind": "on-grant"},
                input_bits=3.0e4,
            )
            for k, (count, weight) in enumerate(zip(COUNTS[users], (4.0, 2.0, 1.0), strict=True))
        ],
        base_stations=[
            {"name": "bs", "count": cells, "access": "slotted", "channels": 1, "grant_s": SLOT_S}
        ],
        servers=list(SERVERS[:cells]),
        channel={
            "kind": "rayleigh",
            "snr_db": 22.0,
            "path_loss_exponent": 2.5,
            "coherence_s": 0.02,
        },
        downlink={"kind": "ideal"},
        resend={"attempts_max": 1},
        control={
            "channel": {
                "kind": "bernoulli",
                "loss": loss,
                "airtime": distribution("exponential", 0.005),
            }
        },
        backhaul={"delay_s": 0.002},
        topology={"kind": "generated", "area_m": 200.0 * cells**0.5},
    ) | {"faults": [slow_users(users), *changes.pop("faults", [])], **changes}


def slow_users(users: int) -> Spec:
    slow = [f"class{k}-{i}" for k, n in enumerate(COUNTS[users]) for i in range(0, n, 10)]
    return {
        "at_s": 0.0,
        "type": "delay",
        "target": ",".join(slow),
        "delay_s": 0.02,
        "only": "control",
    }


def resending(spec: Spec) -> Spec:
    """The same, round by round, over a link layer that resends until a message is through."""
    return spec | {"protocol": SYNCHRONOUS, "control": spec["control"] | {"resend": RESENDS}}


def fault(kind: str, target: str, at_s: float, for_s: float, **more: Any) -> Spec:
    return {"type": kind, "target": target, "at_s": at_s, "for_s": for_s, **more}


@lru_cache(maxsize=8)
def _optimum(text: str) -> tuple[Whole, float]:
    whole = whole_of(plan(Scenario.model_validate_json(text), stopwatch=False))
    return whole, optimum(whole.problem)[1]


def healthy_optimum(spec: Spec) -> tuple[Whole, float]:
    """Returns the network without faults and its optimum, which are found once for all tests."""
    plain = spec | {"faults": [], "control": None, "protocol": ASYNCHRONOUS}
    return _optimum(Scenario.model_validate(plain).model_dump_json())


class Run:
    """A scenario on its way, and what is in force in it."""

    def __init__(self, spec: Spec) -> None:
        self.whole, self.best_s = healthy_optimum(spec)
        planned = plan(Scenario.model_validate(spec), stopwatch=False)
        assembly = Assembly(planned)
        self.kernel = assembly.kernel(planned.names)
        self.kernel.start()

    @property
    def policies(self) -> dict[NodeId, Policy]:
        return {name: node.policy for name, node in self.kernel.nodes.items()}  # type: ignore[attr-defined]

    @property
    def users(self) -> dict[NodeId, NegotiatingUser]:
        return {n: p for n, p in self.policies.items() if isinstance(p, NegotiatingUser)}

    def each(self, from_s: float, until_s: float) -> Iterator[float]:
        """Plays on; yields the instants from `from_s` to `until_s`, every `EVERY_S`."""
        for step in range(round(from_s / EVERY_S), round(until_s / EVERY_S) + 1):
            self.kernel.run_until(step * EVERY_S)
            self.kernel.take_records(step * EVERY_S)
            yield step * EVERY_S

    def in_force(self) -> Allocation:
        """Returns what the users act on: what is granted, repaired."""
        rates_hz = {name: {**user.grants_hz, **user.splits_hz} for name, user in self.users.items()}
        return repair(self.whole.problem, self.whole.allocation(rates_hz))

    def gap(self) -> float:
        return weighted_paoi_s(self.whole.problem, self.in_force()) / self.best_s - 1.0

    def gaps(self, from_s: float, until_s: float) -> list[float]:
        return [self.gap() for _ in self.each(from_s, until_s)]

    def settled_s(self, gap: float, until_s: float) -> float:
        """Plays to an instant; returns since when the gap has been below a bound by then."""
        since_s = 0.0
        for at_s in self.each(EVERY_S, until_s):
            if not self.gap() < gap:
                since_s = at_s + EVERY_S
        return since_s


# Convergence

INSTANCES = [(10, 1), (10, 2), (10, 3), (20, 1), (20, 2), (20, 3)]


@pytest.mark.parametrize(
    ("variant", "median_s", "slowest_s", "fine_s"),
    # Seen: async 0.5 to 1.8 s, median 1.1 s; sync 1.3 to 4.1 s, median 1.5 s; a third more. A
    # synchronous round takes 0.15 s here, and one instance of six needs 68 of them to 0.2 %.
    [(lambda spec: spec, 1.5, 2.5, 8.0), (resending, 2.0, 5.5, 14.0)],
    ids=["asynchronous", "synchronous"],
)
def test_it_converges(
    variant: Callable[[Spec], Spec], median_s: float, slowest_s: float, fine_s: float
) -> None:
    took_s = []
    for users, seed in INSTANCES:
        run = Run(variant(network(users, seed)))

        took_s.append(run.settled_s(0.01, fine_s))

        # The oracle is the best that was found: nothing may beat it by more than its own error,
        # 1e-4 between random starts.
        later = run.gaps(fine_s, fine_s + 1.0)
        assert max(later) < 0.002, (users, seed)
        assert min(later) > -1e-3, (users, seed)
    assert np.median(took_s) <= median_s, took_s
    assert max(took_s) <= slowest_s, took_s


def test_fifty_users_agree_asynchronously_within_the_published_times() -> None:
    # The design's numbers, 20 % loss: below 1 % within 2 s and 15,000 messages, below 0.2 % in the
    # end.
    spec = network(50, 1)
    run = Run(spec)

    settled_s = run.settled_s(0.01, 4.0)
    assert settled_s <= 2.0
    assert max(run.gaps(6.0, 7.0)) < 0.002

    fresh = Run(spec)
    fresh.kernel.run_until(settled_s)
    readings = [policy.readings(settled_s) for policy in fresh.policies.values()]
    assert sum(reading["messages"] for reading in readings) < 15_000


# Disorder


def disturb(kernel: Kernel, seed: int) -> list[int]:
    """Delivers asks and shares twice and late at random; returns the counts of both.

    A third comes a second time, a third comes 50 ms later on average, which is many round trips.
    """
    rng = np.random.default_rng(seed)
    counts = [0, 0]

    class Unruly:
        """Acts for a node, and hands it what it hears when chance will."""

        def __init__(self, node: Node) -> None:
            self.id, self.start, self.on_tick = node.id, node.start, node.on_tick
            self.tasks, self.hear = node.tasks, node.on_message

        def on_message(self, message: Message, now_s: float) -> list[Send]:
            if not isinstance(message.body, Ask | Share):
                return self.hear(message, now_s)
            again, late = rng.random(2) < 1.0 / 3.0
            counts[0] += int(again)
            counts[1] += int(late)
            if again:
                kernel.events.at(now_s + rng.exponential(0.05), self.hear_late, message)
            if late:
                kernel.events.at(now_s + rng.exponential(0.05), self.hear_late, message)
            return [] if late else self.hear(message, now_s)

        def hear_late(self, message: Message, now_s: float) -> None:
            kernel.performer.perform(self.id, self.hear(message, now_s), now_s)

    for name, node in kernel.nodes.items():
        kernel.performer.let_act(name, Unruly(node))
    return counts


@pytest.mark.parametrize("seed", [1, 2])
def test_duplicates_and_reordering_are_harmless(seed: int) -> None:
    # The bound is for what is still on its way: a share of 50 ms ago, seen while users agree.
    run = Run(network(20, seed))
    counts = disturb(run.kernel, seed)

    run.kernel.run_until(10.0)

    assert min(counts) > 1000
    assert max(run.gaps(10.0, 12.0)) < 0.005


# Feasibility


def loads_in_force(run: Run) -> dict[NodeId, float]:
    """Returns the load of each server by what users act on, not by what it has admitted."""
    problem, splits_hz = run.whole.problem, run.in_force().splits_hz
    loads = load(class_sums(problem, splits_hz), problem.mean_s)
    return dict(zip(run.whole.servers, loads.tolist(), strict=True))


@pytest.mark.parametrize("seed", [1, 2, 28])
def test_what_is_in_force_is_feasible_at_every_instant_of_a_lossy_start(seed: int) -> None:
    # Seed 28 comes nearest of 1 to 40, with a load of 0.95; the others are typical: 0.87.
    run = Run(network(20, seed, loss=0.3))
    cells = [(n, p) for n, p in run.policies.items() if isinstance(p, NegotiatingCell)]
    busiest = 0.0

    for at_s in run.each(EVERY_S, 4.0):
        for name, cell in cells:
            members = cell.negotiation.members
            assert members.rates_hz.sum() <= cell.capacity_hz + 1e-9, (name, at_s)
            assert sum(cell.cumulative_hz[-1:]) <= cell.capacity_hz + 1e-9, (name, at_s)
        loads = loads_in_force(run)
        assert max(loads.values()) < 1.0, (at_s, loads)
        busiest = max(busiest, *loads.values())
    assert busiest > 0.7  # something was there to overload


@pytest.mark.parametrize("seed", [3, 11, 17])
def test_what_is_in_force_is_feasible_at_every_instant_after_a_crash(seed: int) -> None:
    # All users move to the other servers at once. Of seeds 1 to 24 these came nearest to a load of
    # one when the test was written (0.99, 1.02 and 1.01), looked at every 10 ms.
    run = Run(network(20, seed, loss=0.1, faults=[fault("blackout", "npu-0", 4.0, 6.0)]))
    run.kernel.run_until(4.0)

    for step in range(400, 700):
        run.kernel.run_until(0.01 * step)
        loads = loads_in_force(run)
        assert max(loads.values()) < 1.0, (step, loads)


# Faults


def without(problem: Problem, users: list[int], cells: list[int], servers: list[int]) -> Problem:
    """Returns the problem that is left when some are gone."""

    def users_of(values: Any) -> Any:
        return np.delete(values, users, axis=0)

    return Problem(
        weights=users_of(problem.weights),
        priorities=users_of(problem.priorities),
        rate_max_hz=users_of(problem.rate_max_hz),
        success=np.delete(users_of(problem.success), cells, axis=1),
        reach=np.delete(users_of(problem.reach), servers, axis=1),
        capacity_hz=np.delete(problem.capacity_hz, cells),
        slot_s=problem.slot_s,
        radio_delay_s=np.delete(problem.radio_delay_s, cells),
        backhaul_delay_s=np.delete(
            np.delete(problem.backhaul_delay_s, cells, axis=0), servers, axis=1
        ),
        mean_s=np.delete(problem.mean_s, servers, axis=0),
        second_moment_s2=np.delete(problem.second_moment_s2, servers, axis=0),
    )


FAULT_S, HEAL_S = 4.0, 10.0
BACK_S = 5.0


@pytest.mark.parametrize(
    "gone",
    [("bs-0",), ("npu-0",), ("class0-1", "class1-1", "class2-1")],
    ids=["base station", "server", "users"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_crash_it_finds_the_new_optimum_and_after_the_repair_the_old(
    gone: tuple[NodeId, ...], seed: int
) -> None:
    crash = fault("blackout", ",".join(gone), FAULT_S, HEAL_S - FAULT_S)
    run = Run(network(20, seed, loss=0.1, faults=[crash]))
    whole = run.whole
    lost = [
        [names.index(name) for name in gone if name in names]
        for names in (whole.users, whole.base_stations, whole.servers)
    ]
    left = without(whole.problem, *lost)
    best_s = optimum(left)[1]

    def gap() -> float:
        rates_hz = {name: {**user.grants_hz, **user.splits_hz} for name, user in run.users.items()}
        given = whole.allocation(rates_hz)
        kept = Allocation(
            np.delete(np.delete(given.grants_hz, lost[0], axis=0), lost[1], axis=1),
            np.delete(np.delete(given.splits_hz, lost[0], axis=0), lost[2], axis=1),
        )
        return weighted_paoi_s(left, repair(left, kept)) / best_s - 1.0

    run.kernel.run_until(FAULT_S)
    assert run.gap() < 0.01
    assert gap() > 0.01, "this crash changes nothing"

    during = [gap() for _ in run.each(FAULT_S + BACK_S, HEAL_S)]
    after = run.gaps(HEAL_S + BACK_S, HEAL_S + BACK_S + 1.0)

    assert max(during) < 0.01
    assert max(after) < 0.01


def test_a_user_that_was_cut_off_for_fifty_rounds_comes_back() -> None:
    # Uncensored, so that the others go on at full speed: about fifteen rounds in a second.
    cut = fault("blackout", "class0-1", 3.0, 4.0, only="control")
    run = Run(
        network(20, 1, faults=[cut], protocol=ASYNCHRONOUS | {"censor": 0.0, "censor_min": 0.0})
    )
    run.kernel.run_until(3.0)
    began = run.users["class0-2"].readings(3.0)["rounds"]

    run.kernel.run_until(7.0)

    assert run.users["class0-2"].readings(7.0)["rounds"] - began >= 50
    assert run.users["class0-1"].rate_hz == 0.0
    assert max(run.gaps(9.0, 10.0)) < 0.01


@pytest.mark.parametrize(
    ("type_", "target", "away_s"),
    [
        ("user_churn", "class0-1", 0.5),  # back before anybody has given it up
        ("server_crash", "gpu-0", 1.0),
        ("bs_outage", "bs-1", 1.0),
    ],
)
def test_a_node_that_comes_back_without_memory_finds_its_place(
    type_: str, target: str, away_s: float
) -> None:
    run = Run(network(20, 1, faults=[fault(type_, target, 2.0, away_s)]))
    run.kernel.run_until(2.0 + away_s)

    assert max(run.gaps(5.5, 6.0)) < 0.01


@pytest.mark.parametrize(
    "variant", [lambda spec: spec, resending], ids=["asynchronous", "synchronous"]
)
def test_a_user_that_is_soon_back_has_its_share_again_soon(
    variant: Callable[[Spec], Spec],
) -> None:
    """Peers know it for alive, and know numbers of its asks that it has forgotten."""
    run = Run(variant(network(20, 1, faults=[fault("user_churn", "class0-1", 20.0, 0.5)])))
    run.kernel.run_until(19.9)
    before_hz = run.users["class0-1"].rate_hz
    run.kernel.run_until(20.5)

    # Before it would be given up and so taken for new, 1.3 s after it was last heard.
    run.kernel.run_until(21.5)

    assert run.users["class0-1"].rate_hz > 0.5 * before_hz


# Predictions


def test_the_measured_peak_age_is_what_the_protocol_predicts() -> None:
    # 5 %: the weighted mean of 50 users scatters by 1 % in 50 s, results that overtake each other
    # and slots that are no Poisson process err by up to 3 %, and equation 1 leaves out the way
    # home, 2 ms of about 400 ms.
    spec = network(
        50,
        1,
        # The airtime is 15 of the slot's 20 ms: what is granted always fits.
        channel={"kind": "bernoulli", "loss": 0.3, "rate_bps": 2.0e6},
        control={"channel": {"kind": "ideal", "delay_s": 0.002}},
        duration_s=60.0,
    ) | {"faults": []}
    run = Run(spec)
    run.kernel.run_until(10.0)
    weights = sum(user.view.weight for user in run.users.values())
    predicted_s = sum(u.view.weight * u.paoi_s() for u in run.users.values()) / weights

    measured_s = perform(spec | {"warmup_s": 10.0}).metrics.summary()["all"]["paoi_weighted_s"]

    assert measured_s == pytest.approx(predicted_s, rel=0.05)
    # It predicts what equation 1 says of what it acts on: its own waits may be 0.4 s old.
    by_formula_s = weighted_paoi_s(run.whole.problem, run.in_force()) / weights
    assert predicted_s == pytest.approx(by_formula_s, rel=0.01)


SLOWER = 4.0
SLOW_S = 5.0


def slowed(measure: bool) -> tuple[Run, Problem, float]:
    """A network whose fastest server slows down in mid-run; its problem and optimum since."""
    slow = fault("server_slowdown", "npu-0", SLOW_S, 900.0, factor=SLOWER)
    run = Run(network(20, 1, loss=0.1, protocol=ASYNCHRONOUS | {"measure": measure}, faults=[slow]))
    problem = run.whole.problem
    m = run.whole.servers.index("npu-0")
    mean_s, second_s2 = problem.mean_s.copy(), problem.second_moment_s2.copy()
    mean_s[m] *= SLOWER
    second_s2[m] *= SLOWER**2
    changed = Problem(
        **{name: getattr(problem, name) for name in problem.__struct_fields__}
        | {"mean_s": mean_s, "second_moment_s2": second_s2}
    )
    return run, changed, optimum(changed)[1]


def admitted_hz(run: Run, server: NodeId) -> float:
    policy = run.policies[server]
    assert isinstance(policy, NegotiatingServer)
    return float(policy.negotiation.members.rates_hz.sum())


def test_a_server_that_slows_down_gets_less_and_the_rest_is_optimal_again() -> None:
    # 10 %: what was measured of channels and services is a few per cent off, by chance.
    run, problem, best_s = slowed(measure=True)
    run.kernel.run_until(SLOW_S)
    before_hz = admitted_hz(run, "npu-0")

    gaps = [
        weighted_paoi_s(problem, run.in_force()) / best_s - 1.0
        for _ in run.each(SLOW_S + 5.0, SLOW_S + 10.0)
    ]

    assert admitted_hz(run, "npu-0") < 0.5 * before_hz
    assert max(gaps) < 0.1


def test_a_server_that_slows_down_unmeasured_is_overloaded_for_good() -> None:
    run, problem, _ = slowed(measure=False)
    run.kernel.run_until(SLOW_S)
    before_hz = admitted_hz(run, "npu-0")

    values_s = [
        weighted_paoi_s(problem, run.in_force()) for _ in run.each(SLOW_S + 5.0, SLOW_S + 10.0)
    ]

    assert admitted_hz(run, "npu-0") == pytest.approx(before_hz, rel=0.01)
    assert min(values_s) == np.inf  # a load above one


@pytest.mark.parametrize("measure", [True, False])
def test_the_measured_peak_age_recovers_from_a_slow_server_only_if_it_measures(
    measure: bool,
) -> None:
    # Seen from the users, with real queues: from 10 s after the change, when the backlog of the
    # seconds before it was noticed has gone, for 40 s. 10 % as above, with the formula's own 3 %.
    _, problem, best_s = slowed(measure)
    slow = fault("server_slowdown", "npu-0", SLOW_S, 900.0, factor=SLOWER)
    spec = network(20, 1, loss=0.1, protocol=ASYNCHRONOUS | {"measure": measure}, faults=[slow])

    played = perform(spec | {"warmup_s": SLOW_S + 10.0, "duration_s": SLOW_S + 50.0})

    measured_s = played.metrics.summary()["all"]["paoi_weighted_s"]
    predicted_s = best_s / problem.weights.sum()
    assert measured_s is not None
    assert (measured_s < 1.1 * predicted_s) == measure
    assert measured_s > 0.9 * predicted_s


@pytest.mark.parametrize("protocol", [SYNCHRONOUS, ASYNCHRONOUS], ids=lambda each: each["kind"])
def test_there_is_no_residual_before_there_is_a_rate(protocol: dict[str, Any]) -> None:
    # A row every 50 ms; the first asks leave 20 ms after the joins, which take 5 ms or more, so the
    # first row finds no rate. Relative to the rate, what differs is of the order of one.
    columns = perform(network(10, 1, protocol=protocol, duration_s=2.0)).metrics.series.columns

    for name in ("protocol/primal", "protocol/dual"):
        values = columns[name]
        assert values[0] is None
        found = [value for value in values if value is not None]
        assert len(found) > 0.7 * len(values)
        assert values[-len(found) :] == found  # from the first rate on, no gap
        assert 0.0 < max(found) < 30.0
        assert found[-1] < 0.5 * max(found)
