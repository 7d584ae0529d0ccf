"""The freshness problem as a whole: what the network looks like, and how fresh an allocation is.

No node ever holds a `Problem`: it is for the oracle, the static rules, the tests and the plots.
Source: docs/popec.md, What is decided. Equation 1 is approximate where a user is split over
servers.

| symbol | meaning | here |
| --- | --- | --- |
| w_n, k(n) | weight and class of user n, 0 the most urgent | `weights`, `priorities` |
| p_nb | share of the transmissions of n through b that arrive | `success` |
| v_nb, x_nb | transmissions per second of n through b | `grants_hz` |
| y_nm, l_nm | tasks per second of n to server m | `splits_hz` |
| L_n | sum_b p_nb v_nb = sum_m y_nm, delivered tasks per second | `rates_hz` |
| A_n | 1/L_n + Delta + sum_b (p v / L) D_b + sum_m (y / L) (D_m + E[S] + W) (1) | `paoi_s` |

Axes are always in the order (user, base station or server, class).
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.freshness import Floats, load, waiting, waiting_s


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
    backhaul_delay_s: Floats  # (M,): D_m
    mean_s: Floats  # (M, K): E[S]
    second_moment_s2: Floats  # (M, K): E[S^2]


class Allocation(Struct, frozen=True, eq=False):
    """Rates per pair of user and resource; also the gradient of a value by these rates."""

    grants_hz: Floats  # (N, B): transmissions per second
    splits_hz: Floats  # (N, M): tasks per second


def class_sums(problem: Problem, per_edge: Floats) -> Floats:
    """Sums an array (N, M) over the users of each class: an array (M, K)."""
    classes = np.arange(problem.mean_s.shape[1])
    sums: Floats = per_edge.T @ (problem.priorities[:, None] == classes)
    return sums


def _of_users(problem: Problem, per_class: Floats) -> Floats:
    """Spreads an array (M, K) over the users: an array (N, M)."""
    return per_class.T[problem.priorities]


def paoi_s(problem: Problem, allocation: Allocation) -> Floats:
    """Returns each user's expected peak age (N,), equation 1.

    It is inf for a user without tasks or with some at an overloaded server. The radio and the
    servers' side must agree on L_n, as they do after `repair`; elsewhere the servers' side counts.
    """
    splits_hz = allocation.splits_hz
    rates_hz = class_sums(problem, splits_hz)
    waits_s = waiting_s(rates_hz, problem.mean_s, problem.second_moment_s2)
    service_s = problem.backhaul_delay_s + _of_users(problem, problem.mean_s + waits_s)
    radio = (problem.success * allocation.grants_hz) @ problem.radio_delay_s
    # An overloaded server that the user leaves alone does it no harm: 0 inf is 0 here.
    tasks = np.multiply(splits_hz, service_s, where=splits_hz > 0.0, out=np.zeros_like(splits_hz))
    delivered_hz = splits_hz.sum(axis=1)
    per_task_s: Floats = np.full(len(delivered_hz), np.inf)
    np.divide(1.0 + radio + tasks.sum(axis=1), delivered_hz, where=delivered_hz > 0, out=per_task_s)
    per_task_s += problem.slot_s
    return per_task_s


def weighted_paoi_s(problem: Problem, allocation: Allocation) -> float:
    """Returns the objective: the sum over users of weight times expected peak age."""
    return float(problem.weights @ paoi_s(problem, allocation))


def gradient(problem: Problem, allocation: Allocation) -> tuple[float, Allocation]:
    """Returns the weighted peak age and its gradient by every rate, equations 1 to 3.

    All users must have tasks and all servers a load below one (ValueError). Where both sides of
    L_n move together, the sum of their two gradients is the derivative.
    """
    splits_hz = allocation.splits_hz
    wait = waiting(class_sums(problem, splits_hz), problem.mean_s, problem.second_moment_s2)
    service_s = problem.backhaul_delay_s + _of_users(problem, problem.mean_s + wait.wait_s)
    radio = (problem.success * allocation.grants_hz) @ problem.radio_delay_s
    delivered_hz = splits_hz.sum(axis=1)
    if not (delivered_hz > 0.0).all():
        raise ValueError(f"user {int(np.argmin(delivered_hz))} has no tasks: its age has no slope")
    per_task_s = (1.0 + radio + (splits_hz * service_s).sum(axis=1)) / delivered_hz

    omegas = problem.weights / delivered_hz
    # What one task more of class j costs all the others at the server: sum_k h_k dW_k / da_j.
    others = np.einsum("mk,mkj->mj", class_sums(problem, omegas[:, None] * splits_hz), wait.slope)
    by_grants = omegas[:, None] * problem.success * problem.radio_delay_s
    by_splits = omegas[:, None] * (service_s - per_task_s[:, None]) + _of_users(problem, others)
    value = float(problem.weights @ (per_task_s + problem.slot_s))
    return value, Allocation(by_grants, by_splits)


def repair(problem: Problem, allocation: Allocation) -> Allocation:
    """Scales both sides of each user down to the rate that both can carry.

    L_n = min(sum_b p v, sum_m y, Lmax). What respected capacities and loads before does so after.
    """
    radio_hz = (problem.success * allocation.grants_hz).sum(axis=1)
    tasks_hz = allocation.splits_hz.sum(axis=1)
    rates_hz = np.minimum(np.minimum(radio_hz, tasks_hz), problem.rate_max_hz)
    by_radio = np.divide(rates_hz, radio_hz, where=radio_hz > 0.0, out=np.zeros_like(rates_hz))
    by_tasks = np.divide(rates_hz, tasks_hz, where=tasks_hz > 0.0, out=np.zeros_like(rates_hz))
    return Allocation(
        allocation.grants_hz * by_radio[:, None], allocation.splits_hz * by_tasks[:, None]
    )


def is_feasible(problem: Problem, allocation: Allocation, tolerance: float = 1e-9) -> bool:
    """Tells whether every constraint of (P) holds, each to a relative tolerance.

    Loads must be below one without tolerance.
    """
    grants_hz, splits_hz = allocation.grants_hz, allocation.splits_hz
    radio_hz = (problem.success * grants_hz).sum(axis=1)
    tasks_hz = splits_hz.sum(axis=1)
    slack = 1.0 + tolerance
    holds = (
        np.isfinite(grants_hz).all() and np.isfinite(splits_hz).all(),
        (grants_hz >= 0.0).all() and (splits_hz >= 0.0).all(),
        (grants_hz[problem.success == 0.0] == 0.0).all(),
        (splits_hz[~problem.reach] == 0.0).all(),
        (grants_hz.sum(axis=0) <= problem.capacity_hz * slack).all(),
        (tasks_hz <= problem.rate_max_hz * slack).all(),
        np.allclose(radio_hz, tasks_hz, rtol=tolerance, atol=0.0),
        (load(class_sums(problem, splits_hz), problem.mean_s) < 1.0).all(),
    )
    return all(bool(held) for held in holds)


CLASS_WEIGHTS = (4.0, 2.0, 1.0)
CLASS_SHARES = (0.2, 0.3, 0.5)
CLASS_SIZES = (0.8, 1.0, 1.2)  # service time of a class, relative to class 1
SERVERS = ((0.020, 0.25), (0.012, 0.0), (0.060, 1.0), (0.035, 2.0))
"""Mean service time in seconds and squared coefficient of variation: gpu, npu, cpu, old."""
SLOT_S = 0.020
RATE_MAX_HZ = 30.0
CELLS_PER_USER, SERVERS_PER_USER = 2, 4


def default_size(users: int) -> int:
    """Returns how many base stations, and as many servers, the reference network of N users has.

    They are 2, 4 and 8 for 10, 50 and 200; one per 25 users between and beyond.
    """
    return {10: 2, 50: 4, 200: 8}.get(users, max(2, users // 25))


def random_problem(
    users: int, seed: int, class_weights: tuple[float, float, float] = CLASS_WEIGHTS
) -> Problem:
    """Draws a network of the reference kind, by the defaults above.

    Users lie in a unit square under a grid of base stations. The order of the draws belongs to
    the definition: another order gives other networks for the same seed.
    """
    rng = np.random.default_rng(seed)
    size = default_size(users)
    ends = np.round(np.concatenate([[0.0], np.cumsum(CLASS_SHARES)]) * users).astype(int)
    priorities = rng.permutation(np.repeat(np.arange(3), np.diff(ends)))

    places = rng.uniform(size=(users, 2))
    columns = math.ceil(math.sqrt(size))
    rows = math.ceil(size / columns)
    cells = np.arange(size)
    sites = np.stack([(cells % columns + 0.5) / columns, (cells // columns + 0.5) / rows], axis=1)
    distance = np.linalg.norm(places[:, None] - sites[None], axis=2)
    fading = rng.uniform(0.9, 1.0, size=distance.shape)
    success = np.clip(0.97 / (1.0 + (distance * columns / 1.1) ** 3) * fading, 0.15, 0.99)
    near = np.argsort(distance, axis=1)[:, :CELLS_PER_USER]
    reachable = np.zeros((users, size), dtype=bool)
    np.put_along_axis(reachable, near, True, axis=1)

    reach = np.zeros((users, size), dtype=bool)
    for row in reach:
        row[rng.permutation(size)[:SERVERS_PER_USER]] = True
    nominal_s, scv = np.array([SERVERS[m % len(SERVERS)] for m in range(size)]).T
    mean_s = nominal_s[:, None] * np.array(CLASS_SIZES)
    return Problem(
        weights=np.array(class_weights)[priorities],
        priorities=priorities,
        rate_max_hz=np.full(users, RATE_MAX_HZ),
        success=np.where(reachable, success, 0.0),
        reach=reach,
        capacity_hz=np.full(size, 1.0 / SLOT_S),
        slot_s=SLOT_S,
        radio_delay_s=rng.uniform(0.0005, 0.002, size),
        backhaul_delay_s=rng.uniform(0.001, 0.005, size),
        mean_s=mean_s,
        second_moment_s2=mean_s**2 * (1.0 + scv[:, None]),
    )
