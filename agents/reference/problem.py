"""The freshness problem as a whole: what the network looks like, and how fresh an allocation is.

No node ever holds a `Problem`: it is for `optimum.py`, the static rules, the tests and the plots.
What counts is what goes along the paths (user, base station, server) that exist: `Paths`. Source:
docs/popec.md, What is decided. Equation 1 is approximate where a user is split over servers.

| symbol | meaning | here |
| --- | --- | --- |
| w_n, k(n) | weight and class of user n, 0 the most urgent | `weights`, `priorities` |
| p_nb | share of the transmissions of n through b that arrive | `success` |
| v_nb, x_nb | transmissions per second of n through b | `grants_hz` |
| y_nm, l_nm | tasks per second of n to server m | `splits_hz` |
| q_nbm | tasks per second of n through b to m: sum_m q = p v, sum_b q = y | `rates_hz` |
| L_n | sum_bm q_nbm, delivered tasks per second | |
| A_n | 1/L_n + Delta + sum_bm (q / L) (D_b + D_bm + E[S] + W) (1) | `paoi_s` |

Axes are always in the order (user, base station or server, class).
"""

from typing import cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.freshness import Floats, waiting, waiting_s
from agents.popec.routes import Routes


class Problem(Struct, frozen=True, eq=False):
    """N users, B base stations, M servers, K classes."""

    weights: Floats  # (N,)
    priorities: NDArray[np.int64]  # (N,) in 0..K-1
    rate_max_hz: Floats  # (N,): Lmax, a user's sampling cap
    success: Floats  # (N, B): p; zero where the base station cannot be reached
    reach: NDArray[np.bool_]  # (N, M)
    capacity_hz: Floats  # (B,): C = channels / slot_s, transmissions per second
    slot_s: float  # Delta
    radio_delay_s: Floats  # (B,): D_b
    backhaul_delay_s: Floats  # (B, M): D_bm; inf where the base station does not lead there
    mean_s: Floats  # (M, K): E[S]
    second_moment_s2: Floats  # (M, K): E[S^2]


class Allocation(Struct, frozen=True, eq=False):
    """Rates per pair of user and resource."""

    grants_hz: Floats  # (N, B): transmissions per second
    splits_hz: Floats  # (N, M): tasks per second


def class_sums(problem: Problem, per_edge: Floats) -> Floats:
    """Sums an array (N, M) over the users of each class: an array (M, K)."""
    classes = np.arange(problem.mean_s.shape[1])
    sums: Floats = per_edge.T @ (problem.priorities[:, None] == classes)
    return sums


class Paths:
    """The paths of a problem; rates and delays are arrays (P,) over them, user by user."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        leads = np.isfinite(problem.backhaul_delay_s)
        near, reach = problem.success > 0.0, problem.reach
        self.user, self.cell, self.server = np.nonzero(
            near[:, :, None] & reach[:, None, :] & leads[None]
        )
        self.sent = 1.0 / problem.success[self.user, self.cell]  # transmissions per delivery
        self.delay_s = problem.radio_delay_s[self.cell]
        self.delay_s = self.delay_s + problem.backhaul_delay_s[self.cell, self.server]
        self.delay_s += problem.mean_s[self.server, problem.priorities[self.user]]  # without waits
        # Sums over paths as flat bincounts: an order of magnitude faster than np.add.at.
        self._grant = self.user * problem.success.shape[1] + self.cell
        self._split = self.user * reach.shape[1] + self.server

    def allocation(self, rates_hz: Floats) -> Allocation:
        """Returns what path rates take of every resource."""

        def spread(index: NDArray[np.int64], values: Floats, shape: tuple[int, ...]) -> Floats:
            sums = np.bincount(index, values, shape[0] * shape[1])
            return cast(Floats, sums.reshape(shape))  # the stub of bincount says integers

        return Allocation(
            spread(self._grant, self.sent * rates_hz, self.problem.success.shape),
            spread(self._split, rates_hz, self.problem.reach.shape),
        )

    def of_users(self, values: Floats) -> Floats:
        """Sums values of paths over each user's: an array (N,)."""
        sums = np.bincount(self.user, values, len(self.problem.weights))
        return cast(Floats, sums)

    def fit(self, allocation: Allocation) -> Floats:
        """Returns the path rates that make the most of what is allotted, as a user does it.

        L_n is the most that fits, at most Lmax. See `Routes.fit`.
        """
        problem = self.problem
        supplies_hz, demands_hz = problem.success * allocation.grants_hz, allocation.splits_hz
        most_hz = np.maximum(supplies_hz.sum(axis=1), demands_hz.sum(axis=1))
        share = demands_hz / np.maximum(most_hz, 1e-300)[:, None]
        rates_hz: Floats = supplies_hz[self.user, self.cell] * share[self.user, self.server]
        for n in self._bound():
            (mine,) = np.nonzero(self.user == n)
            rates_hz[mine] = self._routes(mine).fit(
                supplies_hz[n].tolist(), demands_hz[n].tolist(), self.delay_s[mine].tolist()
            )
        over = self.of_users(rates_hz) / problem.rate_max_hz
        capped: Floats = rates_hz / np.maximum(over, 1.0)[self.user]
        return capped

    def _bound(self) -> list[int]:
        """Returns the users for whom it matters which base station leads to which server."""
        problem = self.problem
        cells = (problem.success > 0.0).sum(axis=1)
        backhaul_s = problem.backhaul_delay_s[self.cell, self.server]
        ends = problem.reach.shape
        least_s, most_s = np.full(ends, np.inf), np.zeros(ends)
        np.minimum.at(least_s, (self.user, self.server), backhaul_s)
        np.maximum.at(most_s, (self.user, self.server), backhaul_s)
        is_free = self.of_users(np.ones(len(self.user))) == cells * problem.reach.sum(axis=1)
        is_free &= ((least_s == most_s) | ~problem.reach).all(axis=1)
        return np.flatnonzero(~is_free).tolist()

    def _routes(self, mine: NDArray[np.int64]) -> Routes:
        cells, servers = self.problem.success.shape[1], self.problem.reach.shape[1]
        pairs = zip(self.cell[mine].tolist(), self.server[mine].tolist(), strict=True)
        delays_s = {
            (str(b), str(m)): delay_s
            for (b, m), delay_s in zip(pairs, self.delay_s[mine].tolist(), strict=True)
        }
        return Routes(list(map(str, range(cells))), list(map(str, range(servers))), delays_s)


def paoi_s(problem: Problem, allocation: Allocation) -> Floats:
    """Returns each user's expected peak age (N,), equation 1, of the best use of what it has.

    It is inf for a user without tasks or with some at an overloaded server.
    """
    paths = Paths(problem)
    rates_hz = paths.fit(allocation)
    sums_hz = class_sums(problem, paths.allocation(rates_hz).splits_hz)
    waits_s = waiting_s(sums_hz, problem.mean_s, problem.second_moment_s2)
    path_s = paths.delay_s + waits_s[paths.server, problem.priorities[paths.user]]
    # An overloaded server that the user leaves alone does it no harm: 0 inf is 0 here.
    tasks = np.multiply(rates_hz, path_s, where=rates_hz > 0.0, out=np.zeros_like(rates_hz))
    delivered_hz = paths.of_users(rates_hz)
    per_task_s: Floats = np.full(len(delivered_hz), np.inf)
    np.divide(1.0 + paths.of_users(tasks), delivered_hz, where=delivered_hz > 0, out=per_task_s)
    per_task_s += problem.slot_s
    return per_task_s


def weighted_paoi_s(problem: Problem, allocation: Allocation) -> float:
    """Returns the objective: the sum over users of weight times expected peak age."""
    return float(problem.weights @ paoi_s(problem, allocation))


def gradient(paths: Paths, rates_hz: Floats) -> tuple[float, Floats]:
    """Returns the weighted peak age of path rates and its gradient by them, equations 1 to 3.

    All users must have tasks and all servers a load below one (ValueError).
    """
    problem = paths.problem
    splits_hz = paths.allocation(rates_hz).splits_hz
    wait = waiting(class_sums(problem, splits_hz), problem.mean_s, problem.second_moment_s2)
    path_s = paths.delay_s + wait.wait_s[paths.server, problem.priorities[paths.user]]
    delivered_hz = splits_hz.sum(axis=1)
    if not (delivered_hz > 0.0).all():
        raise ValueError(f"user {int(np.argmin(delivered_hz))} has no tasks: its age has no slope")
    per_task_s = (1.0 + paths.of_users(rates_hz * path_s)) / delivered_hz

    omegas = problem.weights / delivered_hz
    # What one task more of class j costs all the others at the server: sum_k h_k dW_k / da_j.
    others = np.einsum("mk,mkj->mj", class_sums(problem, omegas[:, None] * splits_hz), wait.slope)
    slope = omegas[paths.user] * (path_s - per_task_s[paths.user])
    slope += others[paths.server, problem.priorities[paths.user]]
    return float(problem.weights @ (per_task_s + problem.slot_s)), slope


def repair(problem: Problem, allocation: Allocation) -> Allocation:
    """Takes away what does not fit along paths: each user's `Paths.fit`.

    What respected capacities and loads before does so after.
    """
    paths = Paths(problem)
    return paths.allocation(paths.fit(allocation))
