"""The exact steps of PoPeC against scipy, on random and degenerate instances."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from agents.freshness import Floats, waiting_s
from agents.popec.edge import Edge
from agents.popec.fractional import (
    Edges,
    cell_hints_hz,
    cell_step,
    penalty,
    server_hints_hz,
    transform,
    user_step,
)
from agents.popec.own_problem import OwnProblem
from agents.popec.server_step import server_step
from agents.reference.optimum import hinted
from agents.reference.problem import Paths, class_sums, gradient
from tests.popec_reference import random_problem, rescaled

Cost = Callable[[Floats], tuple[float, Floats]]


def minimum_by_scipy(cost: Cost, start: Floats, constraints: list[Any]) -> Floats:
    """Returns the minimum over non-negative vectors, by sequential quadratic programming."""
    done = minimize(
        cost,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, None)] * len(start),
        constraints=constraints,
        options={"ftol": 1e-17, "maxiter": 1000},
    )
    return np.asarray(done.x)


class Given(NamedTuple):
    """What `user_step` takes, in its order."""

    weight: float
    rate_max_hz: float
    success: list[float]
    targets_hz: Edges
    penalties: Edges
    costs: Edges


def random_user(rng: np.random.Generator, cells: int, servers: int) -> Given:
    """Draws a user whose targets scatter so widely that many edges close."""
    weight, rate_hz = float(rng.choice([1.0, 2.0, 4.0])), float(10.0 ** rng.uniform(-0.5, 1.2))
    success = rng.uniform(0.15, 1.0, cells).tolist()
    rho = penalty(weight, rate_hz)
    return Given(
        weight,
        float(rng.choice([30.0, rate_hz, 0.5 * rate_hz])),
        success,
        Edges(
            rng.normal(rate_hz / cells, rate_hz, cells).tolist(),
            rng.normal(rate_hz / servers, rate_hz, servers).tolist(),
        ),
        Edges([rho * p * p for p in success], [rho] * servers),
        Edges(
            (weight / rate_hz * rng.uniform(0.0, 0.01, cells)).tolist(),
            (weight / rate_hz * rng.normal(0.0, 0.1, servers)).tolist(),
        ),
    )


def user_cost(given: Given, unit_hz: float) -> Cost:
    """Returns the user's objective and gradient, in units of `unit_hz` and of w / L there."""
    targets, rho, lin = (
        np.array(edges.cells + edges.servers)
        for edges in (given.targets_hz, given.penalties, given.costs)
    )
    tasks = np.repeat([0.0, 1.0], [len(given.success), len(given.costs.servers)])

    def cost(z: Floats) -> tuple[float, Floats]:
        x = z * unit_hz
        rate_hz = tasks @ x
        value = given.weight / rate_hz + lin @ x + 0.5 * rho @ (x - targets) ** 2
        slope = lin + rho * (x - targets) - tasks * given.weight / rate_hz**2
        return value * unit_hz / given.weight, slope * unit_hz**2 / given.weight

    return cost


@pytest.mark.parametrize(("cells", "servers"), [(2, 4), (1, 1), (3, 1), (1, 5)])
def test_the_user_step_is_the_minimum_that_scipy_finds(cells: int, servers: int) -> None:
    rng = np.random.default_rng(10 * cells + servers)
    binding = np.zeros(2, dtype=int)
    tasks = np.repeat([0.0, 1.0], [cells, servers])
    for _ in range(25):
        given = random_user(rng, cells, servers)

        copies, found = user_step(*given)

        cost = user_cost(given, found.rate_hz)
        balance = np.array(given.success + [-1.0] * servers)
        start = np.array([1.0 / sum(given.success)] * cells + [1.0 / servers] * servers)
        expected = minimum_by_scipy(
            cost,
            start * min(1.0, given.rate_max_hz / found.rate_hz),
            [
                {"type": "eq", "fun": balance.__matmul__, "jac": lambda z, of=balance: of},
                {
                    "type": "ineq",
                    "fun": lambda z, cap=given.rate_max_hz / found.rate_hz: cap - tasks @ z,
                    "jac": lambda z: -tasks,
                },
            ],
        )
        x = np.array(copies.cells + copies.servers) / found.rate_hz
        assert abs(balance @ x) < 1e-12
        assert tasks @ x <= given.rate_max_hz / found.rate_hz * (1.0 + 1e-12)
        # SLSQP itself stops a few 1e-8 from the minimum, where a strictly convex cost is flat.
        assert cost(x)[0] <= cost(expected)[0] + 1e-12
        np.testing.assert_allclose(x, expected, atol=1e-7)
        binding[int(found.capped)] += 1
    assert binding.min() > 0  # both with Lmax binding and without


def test_a_user_far_from_its_targets_still_finds_its_rate() -> None:
    # All edges shut at the start, and a rate that is 1e6 times the guess.
    copies, found = user_step(
        1.0, 1e9, [1.0], Edges([-1.0], [1e-6]), Edges([1e-9], [1e-9]), Edges([0.0], [0.0])
    )

    # kappa + pi = w / L^2 with kappa = (L + 1) 1e-9 and pi = L 1e-9.
    assert 1e-9 * (2.0 * found.rate_hz + 1.0) == pytest.approx(1.0 / found.rate_hz**2)
    assert copies.cells[0] == pytest.approx(copies.servers[0])


def test_a_user_without_a_base_station_or_a_server_has_no_step() -> None:
    nothing, something = Edges([], [1.0]), Edges([1.0], [])

    with pytest.raises(ValueError, match="at least one base station"):
        user_step(1.0, 30.0, [], nothing, nothing, nothing)
    with pytest.raises(ValueError, match="one server"):
        user_step(1.0, 30.0, [0.9], something, something, something)


def projection_by_scipy(requests_hz: Floats, penalties: Floats, capacity_hz: float) -> Floats:
    def cost(v: Floats) -> tuple[float, Floats]:
        return 0.5 * float(penalties @ (v - requests_hz) ** 2), penalties * (v - requests_hz)

    ones = np.ones_like(requests_hz)
    room = {"type": "ineq", "fun": lambda v: capacity_hz - v.sum(), "jac": lambda v: -ones}
    return minimum_by_scipy(cost, np.zeros_like(requests_hz), [room])


@pytest.mark.parametrize("members", [1, 2, 5, 20])
def test_the_cell_step_is_the_projection_that_scipy_finds(members: int) -> None:
    rng = np.random.default_rng(members)
    for capacity_hz in (0.3 * members, members, 100.0 * members):
        requests_hz = rng.normal(1.0, 1.5, members)
        penalties = 10.0 ** rng.uniform(-0.5, 0.5, members)

        grants_hz, price = cell_step(requests_hz, penalties, capacity_hz)

        expected = projection_by_scipy(requests_hz, penalties, capacity_hz)
        # SLSQP stops a few 1e-8 from the minimum, as above.
        np.testing.assert_allclose(grants_hz, expected, atol=1e-7)
        assert grants_hz.sum() <= capacity_hz * (1.0 + 1e-12)
        assert price >= 0.0
        if capacity_hz > 10.0 * members:
            np.testing.assert_array_equal(grants_hz, np.maximum(requests_hz, 0.0))
            assert price == 0.0


def test_a_cell_without_capacity_or_without_takers_grants_nothing() -> None:
    penalties = np.array([1.0, 2.0, 3.0])

    assert cell_step(np.array([1.0, 2.0, 0.0]), penalties, 0.0)[0].sum() == 0.0
    assert cell_step(np.array([-1.0, -2.0, 0.0]), penalties, 5.0)[0].sum() == 0.0
    assert len(cell_step(np.zeros(0), np.zeros(0), 5.0)[0]) == 0


MEAN_S = 0.02 * np.array([0.8, 1.0, 1.2])


class Members(NamedTuple):
    """What `server_step` takes, in its order, less its start."""

    requests_hz: Floats
    penalties: Floats
    omegas: Floats
    classes: NDArray[np.int64]
    mean_s: Floats
    second_moment_s2: Floats


def random_members(
    rng: np.random.Generator, count: int, classes: list[int], greed: float
) -> Members:
    """Draws members of some classes that together want about `greed` times a load of 0.9."""
    mine = rng.choice(classes, count)
    weights = np.array([4.0, 2.0, 1.0])[mine]
    rate_hz = 45.0 / count
    return Members(
        greed * rng.normal(rate_hz, rate_hz, count),
        2.0 * 0.3 * weights / rate_hz**3 * 10.0 ** rng.uniform(-0.3, 0.3, count),
        weights / rate_hz * rng.uniform(0.7, 1.4, count),
        mine,
        MEAN_S,
        MEAN_S**2 * rng.uniform(1.0, 5.0, 3),
    )


def server_cost(given: Members) -> Cost:
    """Returns the server's objective, written out class by class, and its gradient by y."""
    requests_hz, rho, omegas, classes, mean_s, second_s2 = given
    worth = float(rho @ requests_hz**2)

    def value_at(y: Floats) -> float:
        total = 0.5 * float(rho @ (y - requests_hz) ** 2)
        residual_s = 0.5 * float(second_s2[classes] @ y)
        for k in range(len(mean_s)):
            urgent = float(mean_s[classes] @ (y * (classes < k)))
            upto = float(mean_s[classes] @ (y * (classes <= k)))
            if upto >= 1.0:
                return math.inf
            wait_s = residual_s / ((1.0 - urgent) * (1.0 - upto))
            total += wait_s * float(omegas @ (y * (classes == k)))
        return total / worth

    def cost(y: Floats) -> tuple[float, Floats]:
        steps = 1e-6 * np.eye(len(y))
        slope = [(value_at(y + step) - value_at(y - step)) / 2e-6 for step in steps]
        return value_at(y), np.array(slope)

    return cost


CASES = [(1, [1], 0.5), (6, [0, 1, 2], 0.5), (12, [0, 2], 1.0), (8, [2], 1.0), (12, [0, 1, 2], 2.0)]


@pytest.mark.parametrize(("count", "classes", "greed"), CASES)
def test_the_server_step_is_a_minimum_that_scipy_cannot_lower(
    count: int, classes: list[int], greed: float
) -> None:
    rng = np.random.default_rng(count)
    for _ in range(5):
        given = random_members(rng, count, classes, greed)

        rates_hz, found = server_step(*given, given.requests_hz)

        assert found.converged
        cost = server_cost(given)
        done = minimize(
            cost,
            0.99 * rates_hz + 0.01 / count,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * count,
            options={"ftol": 1e-16, "gtol": 1e-12},
        )
        value, slope = cost(rates_hz)
        assert value <= done.fun + 1e-12
        np.testing.assert_allclose(rates_hz, done.x, atol=1e-4 * np.abs(rates_hz).max())
        # First-order conditions, which say more than a comparison near a flat minimum.
        inner = rates_hz > 0.0
        np.testing.assert_allclose(slope[inner], 0.0, atol=1e-8)
        assert (slope[~inner] >= -1e-8).all()


def test_the_server_step_converges_however_much_is_asked_and_from_wherever_it_starts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        count = int(rng.integers(1, 60))
        given = random_members(rng, count, [0, 1, 2], float(rng.choice([0.3, 1.0, 3.0, 10.0])))
        cold_hz, cold = server_step(*given, given.requests_hz)
        near_hz = cold_hz * rng.uniform(0.9, 1.1, count)

        warm_hz, warm = server_step(*given, near_hz)

        assert cold.converged
        assert warm.converged
        assert cold.iterations <= 20
        assert MEAN_S[given.classes] @ cold_hz < 1.0
        # Each answer is off by at most its tolerance over the smallest curvature, here > 0.01 rho.
        np.testing.assert_allclose(warm_hz, cold_hz, atol=1e-8 * np.abs(given.requests_hz).max())
        np.testing.assert_allclose(warm.wait_s, cold.wait_s, rtol=1e-4)


def test_a_server_without_members_has_no_wait() -> None:
    none = np.zeros(0)

    rates_hz, found = server_step(none, none, none, none.astype(int), MEAN_S, MEAN_S**2, none)

    assert len(rates_hz) == 0
    assert found.converged
    np.testing.assert_array_equal(found.wait_s, np.zeros(3))


def test_members_that_ask_for_less_than_nothing_get_nothing() -> None:
    given = random_members(np.random.default_rng(5), 6, [0, 1, 2], 1.0)

    rates_hz, found = server_step(-np.abs(given.requests_hz), *given[1:], np.zeros(6))

    assert found.converged
    np.testing.assert_array_equal(rates_hz, np.zeros(6))


def test_the_transform_has_the_gradient_of_the_problem_at_its_own_parameters() -> None:
    # With omega = w / L and c the mean delay, w / L + lin.(x, l) + G has the slope of the weighted
    # peak age, so that a fixed point of the rounds is stationary for (P).
    problem = random_problem(10, seed=2)
    at, paths = hinted(problem), Paths(problem)
    flow_hz = paths.fit(at)
    _, by = gradient(paths, flow_hz)
    rates_hz = class_sums(problem, at.splits_hz)
    waits_s = waiting_s(rates_hz, problem.mean_s, problem.second_moment_s2)
    omegas = problem.weights / at.splits_hz.sum(axis=1)

    def aged(splits_hz: Floats) -> float:
        """Returns G of all servers together, its omegas frozen."""
        sums = class_sums(problem, splits_hz)
        waits = waiting_s(sums, problem.mean_s, problem.second_moment_s2)
        return float((class_sums(problem, omegas[:, None] * splits_hz) * waits).sum())

    for n, k in enumerate(problem.priorities):
        (mine,) = np.nonzero(paths.user == n)
        path_s = paths.delay_s[mine] + waits_s[paths.server[mine], k]
        found = transform(problem.weights[n], flow_hz[mine].tolist(), path_s.tolist())
        assert found.omega == pytest.approx(omegas[n])
        for path in mine:
            step = np.zeros_like(at.splits_hz)
            step[n, paths.server[path]] = 1e-5
            queue = (aged(at.splits_hz + step) - aged(at.splits_hz - step)) / 2e-5
            cost = found.omega * (paths.delay_s[path] - found.delay_s)
            slope = cost + queue - omegas[n] ** 2 / problem.weights[n]
            assert slope == pytest.approx(by[path], rel=1e-6)


def test_hints_fill_the_base_station_and_load_the_server_to_70_percent() -> None:
    weights, success = np.array([4.0, 2.0, 1.0]), np.array([0.9, 0.5, 0.2])

    grants_hz = cell_hints_hz(weights, success, 50.0)
    rates_hz = server_hints_hz(weights, MEAN_S)

    assert grants_hz.sum() == pytest.approx(50.0)
    assert grants_hz[0] / grants_hz[2] == pytest.approx(2.0 * (0.9 / 0.2) ** 1.5)
    assert rates_hz @ MEAN_S == pytest.approx(0.7)
    assert rates_hz[0] / rates_hz[2] == pytest.approx(2.0 * math.sqrt(1.2 / 0.8))


@pytest.mark.parametrize("rate_max_hz", [30.0, 2.0])
def test_a_beginning_is_balanced_and_its_penalties_are_the_curvature(rate_max_hz: float) -> None:
    cells, servers = (
        [Edge("bs-0", True), Edge("bs-1", True)],
        [Edge("near", False), Edge("far", False)],
    )
    hints_hz = (4.0, 2.0, 3.0, 3.0)
    for edge, hint_hz in zip([*cells, *servers], hints_hz, strict=True):
        edge.hint_hz = hint_hz
    backhaul_s = {(cell.name, server.name): 0.002 for cell in cells for server in servers}
    success = {"bs-0": 0.8, "bs-1": 0.5}

    assert OwnProblem(2.0, rate_max_hz, success, backhaul_s).begin(cells, servers, 0.3)

    rate_hz = min(0.8 * 4.0 + 0.5 * 2.0, 6.0, rate_max_hz)
    assert 0.8 * cells[0].copy_hz + 0.5 * cells[1].copy_hz == pytest.approx(rate_hz)
    assert servers[0].copy_hz + servers[1].copy_hz == pytest.approx(rate_hz)
    rho = 0.3 * 2.0 * 2.0 / rate_hz**3
    assert [edge.penalty for edge in servers] == pytest.approx([rho, rho])
    assert [edge.penalty for edge in cells] == pytest.approx([0.64 * rho, 0.25 * rho])


def test_new_penalties_keep_the_duals() -> None:
    copies, targets = Edges([1.0], [2.0, 3.0]), Edges([0.5], [2.5, 3.0])
    old, new = Edges([0.1], [0.2, 0.2]), Edges([0.4], [0.1, 0.1])

    found = rescaled(copies, targets, old, new)

    assert found.cells == pytest.approx([1.0 - 0.5 * 0.1 / 0.4])
    assert found.servers == pytest.approx([2.0 + 0.5 * 2.0, 3.0])
