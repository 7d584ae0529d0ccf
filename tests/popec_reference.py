"""What tests and benchmarks of the freshness problem share: networks, starts, feasibility.

The networks are those of the published optima (docs/popec.md); rounds of plain consensus over them
are the method without its messages.
"""

import math

import numpy as np

from agents.freshness import load
from agents.popec.fractional import Edges
from agents.reference.optimum import hinted
from agents.reference.problem import Allocation, Paths, Problem, class_sums, repair

ETA = 1.6  # over-relaxation
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
        backhaul_delay_s=np.tile(rng.uniform(0.001, 0.005, size), (size, 1)),
        mean_s=mean_s,
        second_moment_s2=mean_s**2 * (1.0 + scv[:, None]),
    )


def is_feasible(problem: Problem, allocation: Allocation, tolerance: float = 1e-9) -> bool:
    """Tells whether every constraint of (P) holds, each to a relative tolerance.

    Loads must be below one without tolerance. All of it must fit along paths.
    """
    grants_hz, splits_hz = allocation.grants_hz, allocation.splits_hz
    radio_hz = (problem.success * grants_hz).sum(axis=1)
    tasks_hz = splits_hz.sum(axis=1)
    paths = Paths(problem)
    delivered_hz = paths.of_users(paths.fit(allocation))
    slack = 1.0 + tolerance
    holds = (
        np.isfinite(grants_hz).all() and np.isfinite(splits_hz).all(),
        (grants_hz >= 0.0).all() and (splits_hz >= 0.0).all(),
        (grants_hz[problem.success == 0.0] == 0.0).all(),
        (splits_hz[~problem.reach] == 0.0).all(),
        (grants_hz.sum(axis=0) <= problem.capacity_hz * slack).all(),
        (tasks_hz <= problem.rate_max_hz * slack).all(),
        np.allclose(radio_hz, delivered_hz, rtol=tolerance, atol=0.0),
        np.allclose(tasks_hz, delivered_hz, rtol=tolerance, atol=0.0),
        (load(class_sums(problem, splits_hz), problem.mean_s) < 1.0).all(),
    )
    return all(bool(held) for held in holds)


def scattered(problem: Problem, seed: int) -> Allocation:
    """Draws a feasible allocation: the hints to joining users, each scaled down by lot."""
    rng, hints = np.random.default_rng(seed), hinted(problem)
    grants_hz = hints.grants_hz * rng.uniform(0.1, 1.0, hints.grants_hz.shape)
    splits_hz = hints.splits_hz * rng.uniform(0.1, 1.0, hints.splits_hz.shape)
    return repair(problem, Allocation(grants_hz, splits_hz))


def rescaled(copies_hz: Edges, targets_hz: Edges, old: Edges, new: Edges) -> Edges:
    """Returns the states t that keep every dual rho (x - t) when penalties go from old to new.

    Needed whenever rho changes, as with p: without it the user would start over.
    """

    def of(
        copies: list[float], targets: list[float], was: list[float], now: list[float]
    ) -> list[float]:
        return [
            x + (t - x) * rho / rho_new
            for x, t, rho, rho_new in zip(copies, targets, was, now, strict=True)
        ]

    return Edges(
        of(copies_hz.cells, targets_hz.cells, old.cells, new.cells),
        of(copies_hz.servers, targets_hz.servers, old.servers, new.servers),
    )
