"""The mathematics of PoPeC without its messages: formula, rounds, time per step.

    python -m benchmarks.freshness formula|synchronous|steps

Prints Markdown. All nodes of a round act at once and nothing is lost, so that what is left is the
method; the protocol over a network is measured elsewhere.
"""

import argparse
import heapq
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from agents.freshness import AgeTracker, Floats, waiting_s
from agents.popec.fractional import (
    GAMMA,
    Edges,
    cell_step,
    penalty,
    transform,
    user_step,
)
from agents.popec.server_step import server_step
from agents.reference.optimum import hinted, optimum
from agents.reference.problem import (
    Allocation,
    Problem,
    class_sums,
    paoi_s,
    repair,
    weighted_paoi_s,
)
from tests.popec_reference import ETA, is_feasible, random_problem, rescaled

# ---- formula against simulation -----------------------------------------------------------------

CLASSES = np.array([0, 0, 1, 1, 2, 2])
RATES = np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])
MEAN_S = 0.02 * np.array([0.8, 1.0, 1.2])
DISTRIBUTIONS = (
    ("deterministic", 0.0),
    ("gamma", 0.25),
    ("exponential", 1.0),
    ("lognormal", 1.0),
    ("hyperexponential", 2.0),
    ("hyperexponential", 4.0),
)
SERVER_DISTRIBUTIONS = (
    "gamma",
    "deterministic",
    "exponential",
    "hyperexponential",
)  # as problem.SERVERS


def draw_services(distribution: str, scv: float, count: int, rng: np.random.Generator) -> Floats:
    """Draws service times of mean one and squared coefficient of variation `scv`."""
    match distribution:
        case "deterministic":
            return np.ones(count)
        case "gamma":
            return rng.gamma(1.0 / scv, scv, count)
        case "exponential":
            return rng.exponential(size=count)
        case "lognormal":
            spread = math.log(1.0 + scv)
            return rng.lognormal(-0.5 * spread, math.sqrt(spread), count)
        case _:
            often = 0.5 * (1.0 + math.sqrt((scv - 1.0) / (scv + 1.0)))
            first = rng.uniform(size=count) < often
            return rng.exponential(size=count) / np.where(first, 2.0 * often, 2.0 - 2.0 * often)


def departures_s(arrival_s: Floats, classes: Floats, service_s: Floats) -> Floats:
    """Plays one head-of-line priority server over sorted arrivals."""
    left_s = np.empty(len(arrival_s))
    arrivals, urgency, services = arrival_s.tolist(), classes.tolist(), service_s.tolist()
    queue: list[tuple[int, int]] = []
    now_s, arrived = 0.0, 0
    for _ in range(len(arrivals)):
        if not queue:
            now_s = max(now_s, arrivals[arrived])
        while arrived < len(arrivals) and arrivals[arrived] <= now_s:
            heapq.heappush(queue, (urgency[arrived], arrived))
            arrived += 1
        _, served = heapq.heappop(queue)
        now_s += services[served]
        left_s[served] = now_s
    return left_s


def transmissions(
    problem: Problem, grants_hz: Floats, duration_s: float, slotted: bool, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Draws what arrives over the radio: user, base station, birth."""
    found = []
    for b, capacity_hz in enumerate(problem.capacity_hz):
        total_hz = capacity_hz if slotted else grants_hz[:, b].sum()
        if slotted:  # one channel, each slot by lottery
            born_s = rng.uniform(0.0, problem.slot_s) + np.arange(0.0, duration_s, problem.slot_s)
        else:
            born_s = np.sort(rng.uniform(0.0, duration_s, rng.poisson(total_hz * duration_s)))
        drawn = rng.uniform(size=len(born_s)) * total_hz
        user = np.searchsorted(np.cumsum(grants_hz[:, b]), drawn)
        idle = user == len(grants_hz)
        success = np.append(problem.success[:, b], 0.0)[user]
        arrives = ~idle & (rng.uniform(size=len(born_s)) < success)
        found.append((user[arrives], np.full(arrives.sum(), b), born_s[arrives]))
    user, cell, born_s = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return user, cell, born_s


def simulate(
    problem: Problem,
    allocation: Allocation,
    distributions: list[tuple[str, float]],
    duration_s: float,
    slotted: bool,
    rng: np.random.Generator,
) -> tuple[Floats, float]:
    """Lives an allocation; returns each user's mean peak age (N,) and the share overtaken."""
    user, cell, born_s = transmissions(problem, allocation.grants_hz, duration_s, slotted, rng)
    shares = np.cumsum(allocation.splits_hz, axis=1)
    drawn = rng.uniform(size=len(user)) * shares[user, -1]
    server = (drawn[:, None] >= shares[user]).sum(axis=1)
    arrival_s = born_s + problem.slot_s + problem.radio_delay_s[cell]
    arrival_s += problem.backhaul_delay_s[cell, server]
    done_s = np.empty(len(user))
    for m, (distribution, scv) in enumerate(distributions):
        here = np.flatnonzero(server == m)
        here = here[np.argsort(arrival_s[here])]
        classes = problem.priorities[user[here]]
        service_s = draw_services(distribution, scv, len(here), rng) * problem.mean_s[m, classes]
        done_s[here] = departures_s(arrival_s[here], classes, service_s)
    trackers = [AgeTracker() for _ in problem.weights]
    peaks: list[list[float]] = [[] for _ in problem.weights]
    stale = 0
    for sample in np.argsort(done_s):
        owner = int(user[sample])
        peak_s = trackers[owner].receive(float(born_s[sample]), float(done_s[sample]))
        if peak_s is None:
            stale += 1
        elif done_s[sample] > 0.05 * duration_s:
            peaks[owner].append(peak_s)
    return np.array([np.mean(of_user) for of_user in peaks]), stale / len(user)


def one_server(scv: float, total: float) -> tuple[Problem, Allocation]:
    """Returns a server with two users of each class at some load, and what they do."""
    rates_hz = RATES * total / (RATES @ MEAN_S[CLASSES])
    problem = Problem(
        weights=np.array([4.0, 2.0, 1.0])[CLASSES],
        priorities=CLASSES,
        rate_max_hz=np.full(6, 1e3),
        success=np.full((6, 1), 0.8),
        reach=np.ones((6, 1), dtype=bool),
        capacity_hz=np.array([1e3]),
        slot_s=0.0,
        radio_delay_s=np.zeros(1),
        backhaul_delay_s=np.zeros((1, 1)),
        mean_s=MEAN_S[None],
        second_moment_s2=(MEAN_S**2 * (1.0 + scv))[None],
    )
    return problem, Allocation(rates_hz[:, None] / 0.8, rates_hz[:, None])


def formula_table(seeds: int = 8, peaks: float = 20_000.0) -> None:
    """Prints formula / simulation - 1: one server, then whole networks at their optimum."""
    loads = (0.3, 0.6, 0.8, 0.85, 0.9)
    print(f"Formula / simulation - 1 in %, {seeds} seeds, {peaks:.0f} peaks of the slowest user:")
    print("mean over users of |error| (largest, its standard error).\n")
    print("| service distribution, scv |" + "".join(f" load {total} |" for total in loads))
    print("| --- |" + " --- |" * len(loads))
    for number, (distribution, scv) in enumerate(DISTRIBUTIONS):
        row = f"| {distribution} {scv:g} |"
        for total in loads:
            problem, allocation = one_server(scv, total)
            expected_s = paoi_s(problem, allocation)
            duration_s = peaks / allocation.splits_hz.min()
            errors = []
            for seed in range(seeds):
                rng = np.random.default_rng([seed, number, round(100 * total)])
                found, _ = simulate(
                    problem, allocation, [(distribution, scv)], duration_s, False, rng
                )
                errors.append(100.0 * (expected_s / found - 1.0))
            mean = np.mean(errors, axis=0)
            worst = int(np.abs(mean).argmax())
            spread = np.std(errors, axis=0, ddof=1)[worst] / math.sqrt(seeds)
            row += f" {np.abs(mean).mean():.2f} ({abs(mean[worst]):.2f}, {spread:.2f}) |"
        print(row, flush=True)
    print("\n| network at its optimum | objective | mean of users | overtaken |")
    print("| --- | --- | --- | --- |")
    for users, slotted in ((10, True), (50, False), (50, True), (200, True)):
        problem = random_problem(users, seed=1)
        best, _ = optimum(problem)
        spreads = (problem.second_moment_s2 / problem.mean_s**2)[:, 0] - 1.0
        distributions = [
            (SERVER_DISTRIBUTIONS[m % 4], float(spreads[m])) for m in range(len(spreads))
        ]
        rng = np.random.default_rng(1)
        found_s, stale = simulate(problem, best, distributions, 3000.0, slotted, rng)
        by_user = 100.0 * np.abs(paoi_s(problem, best) / found_s - 1.0)
        value = weighted_paoi_s(problem, best) / float(problem.weights @ found_s) - 1.0
        radio = "slotted" if slotted else "Poisson"
        print(
            f"| N = {users}, {radio} | {100.0 * value:+.1f} % | {by_user.mean():.1f} % "
            f"| {100.0 * stale:.1f} % |",
            flush=True,
        )


# ---- synchronous rounds -------------------------------------------------------------------------


class Round(NamedTuple):
    """What the resources hold after a round, and the CPU time it took."""

    allocation: Allocation  # repaired
    users_s: float
    cells_s: float
    servers_s: float


class Refresh(NamedTuple):
    """New penalties for all, once, from the rates that users have by then."""

    at_round: int
    gamma: float


def consensus(
    problem: Problem, gamma: float = GAMMA, eta: float = ETA, refresh: Refresh | None = None
) -> Iterator[Round]:
    """Runs synchronous rounds without end."""
    users, classes = range(len(problem.weights)), problem.priorities
    near = [np.flatnonzero(row) for row in problem.success > 0.0]
    reach = [np.flatnonzero(row) for row in problem.reach]
    success = [problem.success[n, near[n]].tolist() for n in users]
    fixed_s = problem.backhaul_delay_s[0] + problem.mean_s.T[classes]  # from all cells the same
    weights, rate_max_hz = problem.weights.tolist(), problem.rate_max_hz.tolist()

    def of(n: int, by_cell: Floats, by_server: Floats) -> Edges:
        return Edges(by_cell[n, near[n]].tolist(), by_server[n, reach[n]].tolist())

    start = hinted(problem)
    x, y = start.grants_hz.copy(), start.splits_hz.copy()
    tx, ty, grants, answer = x.copy(), y.copy(), x.copy(), y.copy()
    rho = np.array([penalty(w, y[n].sum(), gamma) for n, w in enumerate(weights)])
    rho_x, rho_y = rho[:, None] * problem.success**2, rho[:, None] + np.zeros_like(y)
    members_x = [np.flatnonzero(column) for column in problem.success.T > 0.0]
    members_y = [np.flatnonzero(column) for column in problem.reach.T]
    waits_s = waiting_s(class_sums(problem, y), problem.mean_s, problem.second_moment_s2)
    omegas = np.zeros(len(classes))
    number = 0
    while True:
        number += 1
        began_s = time.process_time()
        for n in users:
            p, radio_s = problem.success[n, near[n]], problem.radio_delay_s[near[n]]
            beyond_s, mine = fixed_s[n, reach[n]], y[n, reach[n]]
            rates_hz = np.outer(p * x[n, near[n]], mine / mine.sum())
            path_s = radio_s[:, None] + beyond_s + waits_s[reach[n], classes[n]]
            at = transform(weights[n], rates_hz.ravel().tolist(), path_s.ravel().tolist())
            costs = Edges(
                (at.omega * p * radio_s).tolist(), (at.omega * (beyond_s - at.delay_s)).tolist()
            )
            states, penalties = of(n, tx, ty), of(n, rho_x, rho_y)
            copies, found = user_step(
                weights[n], rate_max_hz[n], success[n], states, penalties, costs
            )
            x[n, near[n]], y[n, reach[n]] = copies.cells, copies.servers
            omegas[n] = weights[n] / found.rate_hz
        if refresh and number == refresh.at_round:
            for n in users:
                old, rate_hz = of(n, rho_x, rho_y), weights[n] / omegas[n]
                rho_y[n] = penalty(weights[n], rate_hz, refresh.gamma)
                rho_x[n] = rho_y[n, 0] * problem.success[n] ** 2
                states = rescaled(of(n, x, y), of(n, tx, ty), old, of(n, rho_x, rho_y))
                tx[n, near[n]], ty[n, reach[n]] = states.cells, states.servers
        users_s = time.process_time()
        for b, i in enumerate(members_x):
            asked = 2.0 * x[i, b] - tx[i, b]
            grants[i, b], _ = cell_step(asked, rho_x[i, b], float(problem.capacity_hz[b]))
        cells_s = time.process_time()
        for m, i in enumerate(members_y):
            asked = 2.0 * y[i, m] - ty[i, m]
            moments = problem.mean_s[m], problem.second_moment_s2[m]
            answer[i, m], info = server_step(
                asked, rho_y[i, m], omegas[i], classes[i], *moments, answer[i, m]
            )
            waits_s[m] = info.wait_s
        servers_s = time.process_time()
        tx += eta * (grants - x)
        ty += eta * (answer - y)
        yield Round(
            repair(problem, Allocation(grants, answer)),
            users_s - began_s,
            cells_s - users_s,
            servers_s - cells_s,
        )


def rounds_to(values_s: Floats, best_s: float, gap: float) -> float:
    """Returns the round from which on the gap stays below; inf if it does not."""
    far = np.flatnonzero(values_s / best_s - 1.0 >= gap)
    if len(far) == 0:
        return 1.0
    return float(far[-1] + 2) if far[-1] + 1 < len(values_s) else math.inf


GAPS = (0.05, 0.01, 0.001, 0.0005)
VARIANTS = {"as specified": None, "refreshed at 10": Refresh(10, 0.5)}


def synchronous_table(instances: int = 20, length: int = 300) -> None:
    """Prints rounds to gaps and the gap at the end, over seeds 1 to `instances`."""
    print(f"Seeds 1 to {instances}, median (largest). Gap of the repaired point to the oracle,")
    print(f"which is also started from the point at round {length}.\n")
    print("| N | penalties | to 5 % | to 1 % | to 0.1 % | to 0.05 % | gap at the end | feasible |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for users in (10, 50, 200):
        needed: dict[str, list[list[float]]] = {name: [] for name in VARIANTS}
        ends: dict[str, list[float]] = {name: [] for name in VARIANTS}
        feasible: dict[str, int] = dict.fromkeys(VARIANTS, 0)
        for seed in range(1, instances + 1):
            problem = random_problem(users, seed)
            runs = {}
            last = []
            for name, refresh in VARIANTS.items():
                points = [r.allocation for r in islice(consensus(problem, refresh=refresh), length)]
                runs[name] = np.array([weighted_paoi_s(problem, point) for point in points])
                feasible[name] += all(is_feasible(problem, point) for point in points)
                last.append(points[-1])
            best_s = optimum(problem, last[-1:])[1]
            for name, values_s in runs.items():
                needed[name].append([rounds_to(values_s, best_s, gap) for gap in GAPS])
                ends[name].append(values_s[-1] / best_s - 1.0)
        for name in VARIANTS:
            counts = np.array(needed[name])
            cells = [
                f"{middle:g} ({most:g})"
                for middle, most in zip(np.median(counts, axis=0), counts.max(axis=0), strict=True)
            ]
            gap = f"{np.median(ends[name]):.1e} ({max(ends[name]):.1e})"
            held = f"{feasible[name]} of {instances}"
            print(f"| {users} | {name} | {' | '.join(cells)} | {gap} | {held} |", flush=True)


# ---- time ---------------------------------------------------------------------------------------


def steps_table(length: int = 40) -> None:
    """Prints CPU time per node and round as the network grows, and of one server by members."""
    print(f"CPU time, mean of {length} rounds from a cold start, seed 1.\n")
    print("| N | base stations, servers | per user | per base station | per server | per round |")
    print("| --- | --- | --- | --- | --- | --- |")
    for users in (50, 100, 200, 400, 600, 800, 1000):
        problem = random_problem(users, seed=1)
        size = len(problem.capacity_hz)
        costs = np.mean([run[1:] for run in islice(consensus(problem), length)], axis=0)
        each = 1e6 * costs / np.array([users, size, size])
        print(
            f"| {users} | {size} | {each[0]:.0f} us | {each[1]:.0f} us | {each[2]:.0f} us "
            f"| {1e3 * costs.sum():.1f} ms |",
            flush=True,
        )
    print("\n| members | server step, warm | iterations | cold | iterations | base station step |")
    print("| --- | --- | --- | --- | --- | --- |")
    for members in (10, 100, 300, 1000, 3000, 10000):
        rng = np.random.default_rng(members)
        classes = rng.choice(3, members, p=(0.2, 0.3, 0.5))
        weights = np.array([4.0, 2.0, 1.0])[classes]
        rate_hz = 40.0 / members
        rho = penalty(1.0, rate_hz) * weights * rng.uniform(0.5, 2.0, members)
        omegas = weights / rate_hz * rng.uniform(0.7, 1.4, members)
        asked = rate_hz * rng.uniform(0.6, 1.6, members)
        given = rho, omegas, classes, MEAN_S, 2.0 * MEAN_S**2
        answer, _ = server_step(asked, *given, asked)
        moved = asked * rng.normal(1.0, 0.02, members)
        spent, counts = [], []
        for start in (answer, moved):
            began_s = time.process_time()
            for _ in range(50):
                _, info = server_step(moved, *given, start)
            spent.append((time.process_time() - began_s) / 50.0)
            counts.append(info.iterations)
        began_s = time.process_time()
        for _ in range(50):
            cell_step(moved, rho, 30.0)
        cell_s = (time.process_time() - began_s) / 50.0
        print(
            f"| {members} | {1e3 * spent[0]:.2f} ms | {counts[0]} | {1e3 * spent[1]:.2f} ms "
            f"| {counts[1]} | {1e3 * cell_s:.3f} ms |",
            flush=True,
        )


TABLES: dict[str, Callable[[], None]] = {
    "formula": formula_table,
    "synchronous": synchronous_table,
    "steps": steps_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    TABLES[parser.parse_args().table]()


if __name__ == "__main__":
    main()
