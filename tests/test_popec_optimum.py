"""The centralised optimum, the static rules below it, and the rounds of consensus that reach it."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from conftest import perform, scenario, user_group
from msgspec import structs
from scipy.optimize import minimize

from agents.freshness import Floats, load, waiting_s
from agents.popec.fractional import (
    Edges,
    cell_step,
    penalty,
    transform,
    user_step,
)
from agents.popec.server_step import server_step
from agents.reference import share_rules as rules
from agents.reference.optimum import hinted, optimum
from agents.reference.problem import (
    Allocation,
    Problem,
    class_sums,
    paoi_s,
    repair,
    weighted_paoi_s,
)
from tests.popec_reference import ETA, is_feasible, random_problem


def test_the_generator_draws_the_reference_networks_whose_optima_are_known() -> None:
    for users, listed in ((10, (3.164, 3.156, 3.225)), (50, (38.92,))):
        for seed, value_s in enumerate(listed, start=1):
            assert optimum(random_problem(users, seed))[1] == pytest.approx(
                value_s, abs=10.0 ** -(4 - len(str(int(value_s)))) * 0.6
            )


def by_edges(problem: Problem) -> float:
    """Minimises over x_nb and l_nm under explicit balances, by SLSQP: the second formulation."""
    users, cells = problem.success.shape
    grants = users * cells
    pays = problem.mean_s.T[problem.priorities]  # E[S] per edge
    squares = problem.second_moment_s2.T[problem.priorities]

    def objective(z: Floats) -> float:
        x, y = z[:grants].reshape(users, cells), z[grants:].reshape(users, -1)
        residual_s = 0.5 * (y * squares).sum(axis=0)
        delay = (problem.success * x * problem.radio_delay_s).sum(axis=1)
        for m in range(y.shape[1]):
            for n, k in enumerate(problem.priorities):
                urgent = (y * pays)[problem.priorities < k, m].sum()
                upto = (y * pays)[problem.priorities <= k, m].sum()
                wait_s = residual_s[m] / ((1.0 - urgent) * (1.0 - upto))
                delay[n] += y[n, m] * (problem.backhaul_delay_s[0, m] + pays[n, m] + wait_s)
        return float(problem.weights @ ((1.0 + delay) / y.sum(axis=1) + problem.slot_s))

    start = hinted(problem)
    balance = np.zeros((users, grants + problem.reach.size))
    use = np.zeros((cells, balance.shape[1]))
    for n in range(users):
        balance[n, n * cells : (n + 1) * cells] = problem.success[n]
        balance[n, grants + n * 2 : grants + (n + 1) * 2] = -1.0
    for b in range(cells):
        use[b, b:grants:cells] = 1.0
    done = minimize(
        objective,
        0.9 * np.concatenate([start.grants_hz.ravel(), start.splits_hz.ravel()]),
        jac="3-point",
        method="SLSQP",
        bounds=[(0.0, 30.0)] * balance.shape[1],
        constraints=[
            {"type": "eq", "fun": lambda z: balance @ z, "jac": lambda z: balance},
            {"type": "ineq", "fun": lambda z: problem.capacity_hz - use @ z, "jac": lambda z: -use},
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return float(done.fun)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_oracle_agrees_with_a_second_formulation(seed: int) -> None:
    problem = random_problem(10, seed)

    best, best_s = optimum(problem)

    assert is_feasible(problem, best)
    assert best_s == weighted_paoi_s(problem, best)
    # Differences as slopes leave SLSQP about 1e-6 short of the optimum.
    assert best_s == pytest.approx(by_edges(problem), rel=1e-5)


def test_the_sampling_cap_and_the_capacity_bind_where_they_are_tight() -> None:
    problem = random_problem(10, seed=1)
    capped = structs.replace(problem, rate_max_hz=np.full(10, 3.0))
    narrow = structs.replace(problem, capacity_hz=problem.capacity_hz * 0.3)

    slow, few = optimum(capped)[0], optimum(narrow)[0]

    assert is_feasible(capped, slow)
    assert is_feasible(narrow, few)
    assert slow.splits_hz.sum(axis=1).max() == pytest.approx(3.0)
    np.testing.assert_allclose(few.grants_hz.sum(axis=0), narrow.capacity_hz, rtol=1e-6)


def test_raising_the_weight_of_a_class_never_ages_that_class() -> None:
    # True of any global optimum: exchange argument. The oracle is good to about 1e-8.
    for seed in (1, 2):
        problem = random_problem(10, seed)
        for k in range(3):
            ages_s = []
            for factor in (1.0, 1.3, 2.0, 5.0):
                raised = np.where(problem.priorities == k, factor, 1.0) * problem.weights
                best, _ = optimum(structs.replace(problem, weights=raised))
                ages_s.append(paoi_s(problem, best)[problem.priorities == k].sum())
            assert (np.diff(ages_s) <= 1e-5 * ages_s[0]).all(), (seed, k, ages_s)


def test_weights_that_approach_a_strict_order_starve_the_last_class() -> None:
    # The design's numbers for N = 50: mean peak age per class in s, to two digits.
    listed = {
        (1.0, 1.0, 1.0): (0.42, 0.44, 0.51),
        (4.0, 2.0, 1.0): (0.26, 0.40, 0.66),
        (100.0, 10.0, 1.0): (0.16, 0.44, 1.30),
    }
    for class_weights, expected_s in listed.items():
        problem = random_problem(50, seed=1, class_weights=class_weights)
        ages_s = paoi_s(problem, optimum(problem)[0])
        means_s = [ages_s[problem.priorities == k].mean() for k in range(3)]
        assert means_s == pytest.approx(expected_s, abs=0.01)
    problem = random_problem(50, seed=1, class_weights=(1e4, 100.0, 1.0))
    ages_s = paoi_s(problem, optimum(problem)[0])
    assert ages_s[problem.priorities == 2].mean() > 5.0
    assert ages_s[problem.priorities == 0].mean() < 0.14


RULES: dict[str, Callable[[Problem], Allocation]] = {
    "equal share by speed": rules.equal_share_by_speed,
    "greedy channel": rules.greedy_channel,
    "slow": lambda problem: rules.fixed_rate(problem, 1.0),
    "fast": lambda problem: rules.fixed_rate(problem, 20.0),
    "priority agnostic": rules.priority_agnostic,
}


@pytest.mark.parametrize("users", [10, 50])
def test_every_rule_is_feasible_and_none_beats_the_optimum(users: int) -> None:
    problem = random_problem(users, seed=1)
    best_s = weighted_paoi_s(problem, rules.static_optimum(problem))

    for name, rule in RULES.items():
        allocation = rule(problem)
        loads = load(class_sums(problem, allocation.splits_hz), problem.mean_s)
        assert is_feasible(problem, allocation), name
        assert best_s * 1.02 < weighted_paoi_s(problem, allocation) < np.inf, name
        assert name == "priority agnostic" or loads.max() <= 0.9 + 1e-12, name


@pytest.mark.parametrize("rule", [rules.static_optimum, rules.priority_agnostic])
def test_who_reaches_nothing_gets_nothing_and_costs_the_others_nothing(
    rule: Callable[[Problem], Allocation],
) -> None:
    problem = random_problem(10, seed=1)
    success = problem.success.copy()
    success[3] = 0.0
    rest = np.arange(10) != 3
    per_user = ("weights", "priorities", "rate_max_hz", "success", "reach")
    without = structs.replace(problem, **{name: getattr(problem, name)[rest] for name in per_user})

    found = rule(structs.replace(problem, success=success))

    assert not found.grants_hz[3].any()
    assert not found.splits_hz[3].any()
    np.testing.assert_allclose(found.splits_hz[rest], rule(without).splits_hz, rtol=1e-3)
    nothing = rule(structs.replace(problem, success=0.0 * success))
    assert not nothing.grants_hz.any()


@pytest.mark.parametrize("kind", ["static-optimum", "priority-agnostic"])
def test_a_network_in_which_nothing_gets_through_runs_and_brings_nothing(kind: str) -> None:
    spec = scenario(
        protocol={"kind": kind},
        users=[user_group(count=2, arrival={"kind": "on-grant"})],
        base_stations=[{"name": "bs", "access": "slotted", "channels": 1, "grant_s": 0.1}],
        channel={"kind": "bernoulli", "loss": 1.0, "rate_bps": 1.0e5},
        resend={"attempts_max": 1},
    )

    assert perform(spec).metrics.outcomes.total() == 0


def test_a_fixed_rate_that_fits_is_what_each_user_gets() -> None:
    problem = random_problem(10, seed=1)

    allocation = rules.fixed_rate(problem, 1.0)

    np.testing.assert_allclose(allocation.splits_hz.sum(axis=1), 1.0)


def test_repair_takes_the_lesser_side_and_the_cap() -> None:
    problem = random_problem(10, seed=1)
    raw = Allocation(5.0 * (problem.success > 0.0), np.where(problem.reach, 20.0, 0.0))

    rates_hz = repair(problem, raw).splits_hz.sum(axis=1)

    radio_hz = 5.0 * problem.success.sum(axis=1)
    np.testing.assert_allclose(rates_hz, np.minimum(radio_hz, 30.0))
    assert not is_feasible(problem, raw)


def rounds(problem: Problem) -> Iterator[Allocation]:
    """Runs plain synchronous consensus on networks where all users reach all resources."""
    users, classes = range(len(problem.weights)), problem.priorities
    start = hinted(problem)
    x, y = start.grants_hz.copy(), start.splits_hz.copy()
    tx, ty, answer = x.copy(), y.copy(), y.copy()
    rho = np.array([[penalty(problem.weights[n], y[n].sum())] for n in users])
    rho_x, rho_y = rho * problem.success**2, rho + np.zeros_like(y)
    wait = waiting_s(class_sums(problem, y), problem.mean_s, problem.second_moment_s2)
    fixed = problem.backhaul_delay_s[0] + problem.mean_s.T[classes]  # the same from all
    radio = problem.radio_delay_s
    grants, omegas = np.zeros_like(x), np.zeros(len(classes))
    while True:
        for n in users:
            p = problem.success[n].tolist()
            rates_hz = np.outer(problem.success[n] * x[n], y[n] / y[n].sum())
            delays_s = radio[:, None] + fixed[n] + wait[:, classes[n]]
            at = transform(problem.weights[n], rates_hz.ravel().tolist(), delays_s.ravel().tolist())
            costs = Edges(
                (at.omega * problem.success[n] * radio).tolist(),
                (at.omega * (fixed[n] - at.delay_s)).tolist(),
            )
            penalties = Edges(rho_x[n].tolist(), rho_y[n].tolist())
            states = Edges(tx[n].tolist(), ty[n].tolist())
            copies, found = user_step(problem.weights[n], 30.0, p, states, penalties, costs)
            x[n], y[n], omegas[n] = copies.cells, copies.servers, problem.weights[n] / found.rate_hz
        for b, capacity_hz in enumerate(problem.capacity_hz):
            grants[:, b], _ = cell_step(2 * x[:, b] - tx[:, b], rho_x[:, b], capacity_hz)
        for m in range(y.shape[1]):
            moments = problem.mean_s[m], problem.second_moment_s2[m]
            asked = 2 * y[:, m] - ty[:, m]
            answer[:, m], info = server_step(
                asked, rho_y[:, m], omegas, classes, *moments, answer[:, m]
            )
            wait[m] = info.wait_s
        tx += ETA * (grants - x)
        ty += ETA * (answer - y)
        yield repair(problem, Allocation(grants, answer))


def test_ten_synchronous_rounds_come_within_one_percent_of_the_optimum() -> None:
    needed = []
    for seed in range(1, 10):
        problem = random_problem(10, seed)
        best_s = optimum(problem)[1]
        far = 0
        for number, allocation in zip(range(1, 31), rounds(problem), strict=False):
            assert is_feasible(problem, allocation), (seed, number)
            if weighted_paoi_s(problem, allocation) > 1.01 * best_s:
                far = number
        needed.append(far + 1)
    assert np.median(needed) <= 10
    assert max(needed) <= 15
