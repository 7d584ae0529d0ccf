"""The centralised optimum of the freshness problem, for tests, static rules and gap plots only.

Minimises the weighted peak age over the delivered rates q_nbm of user n through base station b to
server m, where the balance of L_n holds by itself. Capacities and sampling caps are met by an
augmented Lagrangian, the rest is L-BFGS-B. SLSQP agrees at 10 users but stops 1.2 % short at 50
(ours; docs/popec.md states the problem). The problem is not convex: random starts agree to
1e-4, so the answer is the best of the starts given, not a proven minimum.
"""

from collections.abc import Sequence

import numpy as np

from agents.freshness import Floats, load
from agents.popec.fractional import cell_hints_hz, server_hints_hz
from agents.reference.problem import (
    Allocation,
    Paths,
    Problem,
    class_sums,
    gradient,
    repair,
    weighted_paoi_s,
)

PENALTY = 10.0  # first weight of the constraints; value and constraints are scaled to about one
PENALTY_GROWTH = 3.0
OUTER_MAX = 25
INNER_MAX = 2000
UNMET = 1e-8  # relative; what is left is repaired by scaling


class _Priced(Paths):
    """The vector q of an optimisation: one entry for each path (user, base station, server)."""

    def objective(self, rates_hz: Floats) -> tuple[float, Floats]:
        """Returns the weighted peak age and its gradient; inf where it is not finite."""
        at = self.allocation(rates_hz)
        loads = load(class_sums(self.problem, at.splits_hz), self.problem.mean_s)
        if loads.max() >= 1.0 or at.splits_hz.sum(axis=1).min() <= 0.0:
            return np.inf, np.zeros_like(rates_hz)
        return gradient(self, rates_hz)

    def excess(self, rates_hz: Floats) -> Floats:
        """Returns use / limit - 1 of base stations and users (B + N,): <= 0 is feasible."""
        problem = self.problem
        radio_hz = np.bincount(self.cell, self.sent * rates_hz, len(problem.capacity_hz))
        users_hz = np.bincount(self.user, rates_hz, len(problem.weights))
        return (
            np.concatenate([radio_hz / problem.capacity_hz, users_hz / problem.rate_max_hz]) - 1.0
        )

    def price(self, multipliers: Floats) -> Floats:
        """Returns the gradient of multipliers (B + N,) times `excess`."""
        cells = len(self.problem.capacity_hz)
        by_cell = multipliers[:cells] / self.problem.capacity_hz
        by_user = multipliers[cells:] / self.problem.rate_max_hz
        slope: Floats = self.sent * by_cell[self.cell] + by_user[self.user]
        return slope


def hinted(problem: Problem) -> Allocation:
    """Returns the allocation that the hints to joining users describe, repaired."""
    grants_hz = np.zeros_like(problem.success)
    splits_hz = np.zeros(problem.reach.shape)
    for b, capacity_hz in enumerate(problem.capacity_hz):
        near = problem.success[:, b] > 0.0
        grants_hz[near, b] = cell_hints_hz(
            problem.weights[near], problem.success[near, b], float(capacity_hz)
        )
    for m, mean_s in enumerate(problem.mean_s):
        near = problem.reach[:, m]
        splits_hz[near, m] = server_hints_hz(
            problem.weights[near], mean_s[problem.priorities[near]]
        )
    return repair(problem, Allocation(grants_hz, splits_hz))


def _descend(paths: _Priced, start_hz: Floats) -> Floats:
    """Follows the augmented Lagrangian from a start; returns q."""
    from scipy.optimize import minimize  # the agents run without it

    problem = paths.problem
    # In units of sqrt(L^3 / w) the dominant w / L has unit curvature for every user.
    rates_hz = paths.allocation(start_hz).splits_hz.sum(axis=1)
    unit_hz = np.sqrt(rates_hz**3 / problem.weights)[paths.user]
    unit_hz *= np.sqrt(problem.weights.sum())
    worth = paths.objective(start_hz)[0]
    multipliers = np.zeros(len(problem.capacity_hz) + len(problem.weights))
    penalty, unmet = PENALTY, float("inf")

    def lagrangian(point: Floats) -> tuple[float, Floats]:
        value, slope = paths.objective(point * unit_hz)
        if value == np.inf:
            return 1e9, np.zeros_like(point)
        pressed = np.maximum(multipliers + penalty * paths.excess(point * unit_hz), 0.0)
        charge = float(pressed @ pressed - multipliers @ multipliers) / (2.0 * penalty)
        return value / worth + charge, (slope / worth + paths.price(pressed)) * unit_hz

    point = start_hz / unit_hz
    for _ in range(OUTER_MAX):
        done = minimize(
            lagrangian,
            point,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * len(point),
            options={
                "maxiter": INNER_MAX,
                "maxfun": 2 * INNER_MAX,
                "ftol": 1e-13,
                "gtol": 1e-9,
                "maxcor": 30,
            },
        )
        point = done.x
        excess = paths.excess(point * unit_hz)
        # A price on what is left over is as wrong as use beyond a limit.
        before, unmet = unmet, float(np.abs(np.maximum(excess, -multipliers / penalty)).max())
        multipliers = np.maximum(multipliers + penalty * excess, 0.0)
        if unmet < UNMET:
            break
        if unmet > 0.3 * before:
            penalty *= PENALTY_GROWTH
    found: Floats = point * unit_hz
    return found


def _within(problem: Problem, allocation: Allocation) -> Allocation:
    """Scales what still exceeds a capacity back onto it."""
    use = allocation.grants_hz.sum(axis=0) / problem.capacity_hz
    return repair(
        problem, Allocation(allocation.grants_hz / np.maximum(use, 1.0), allocation.splits_hz)
    )


def optimum(problem: Problem, starts: Sequence[Allocation] = ()) -> tuple[Allocation, float]:
    """Returns the best allocation found from the hints and further feasible starts, and its value.

    Every user must have a path.
    """
    paths = _Priced(problem)
    found: list[tuple[float, Allocation]] = []
    for start in (hinted(problem), *starts):
        # A path at zero has no way to say that it should open but its gradient: all stay open.
        start_hz = np.maximum(paths.fit(start), 1e-9)
        allocation = _within(problem, paths.allocation(_descend(paths, start_hz)))
        found.append((weighted_paoi_s(problem, allocation), allocation))
    value_s, best = min(found, key=lambda pair: pair[0])
    return best, value_s
