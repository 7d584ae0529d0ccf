"""The TODG core measured: weight against messages, cost of the re-optimisation, one large slot.

`python -m benchmarks.todg` prints every table; `--only knob`, `reopt` or `large` one of them.
Times are of this process's CPU. Networks and loads are those of `tests/todg_loop.py`, a slotted
loop around the core: the reference network and its two larger sizes.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.reference.exact_schedule import heaviest, weigh
from agents.todg.allocation.allocator import (
    EFFORTS,
    Allocator,
    Effort,
    effort_default,
    greedy_rounds,
    plan_for,
)
from agents.todg.allocation.channel_plan import plan_rounds
from agents.todg.allocation.conflict_graph import ConflictGraph
from agents.todg.allocation.improve import GAP_OPEN, WORK_MAX
from agents.todg.allocation.region import Cells
from agents.todg.allocation.search import solve
from agents.todg.discipline import ServersSeen, UsersSeen
from tests.todg_loop import CLASSES, LARGE, MEDIUM, SMALL, Loop, Size
from tests.todg_reference import clashes, greedy, play, rivals

SIZES = {"S": SMALL, "M": MEDIUM, "L": LARGE}
LOAD = 1.3  # overload: where the choice of channels matters
WARM_SLOTS = 100
SLOTS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--slots", type=int, default=SLOTS)
    chosen = parser.parse_args()
    print(f"`python -m benchmarks.todg {' '.join(sys.argv[1:])}`".replace(" `", "`"))
    for name, table in TABLES.items():
        if chosen.only in (None, name):
            print()
            table(chosen.slots)


def knob(slots: int) -> None:
    """Each level in a closed loop of its own, its schedule against the optimum in every slot."""
    print(
        "| size | effort | weight / optimum, mean (least) | mini-rounds | messages | kB | utility |"
        " CPU ms per slot |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, size in SIZES.items():
        for level, effort in enumerate(EFFORTS):
            loop = Loop(size, load=LOAD)
            plan = plan_for(effort, loop.graph.stations)
            nodes = _nodes(loop.graph, effort)
            rows: list[tuple[float, int, float, float]] = []

            def allocate(
                weights: NDArray[np.float32],
                slot: int,
                loop: Loop = loop,
                nodes: dict[int, Allocator] = nodes,
                rows: list[tuple[float, int, float, float]] = rows,
            ) -> dict[int, int]:
                exact = weights.astype(np.float64)
                began_s = time.process_time()
                played = play(loop.graph, nodes, exact, slot)
                spent_s = time.process_time() - began_s
                if slot >= WARM_SLOTS:
                    best = heaviest(loop.graph, exact)[1]
                    weight = weigh(played.schedule, exact)
                    rows.append((weight / best, played.messages, played.bits, spent_s))
                return played.schedule

            for _ in range(WARM_SLOTS + slots):
                loop.step(allocate)
            ratio, messages, bits, spent_s = np.mean(rows, axis=0)
            rounds = greedy_rounds(effort, plan) + len(plan.rounds)
            print(
                f"| {name} | {level} | {ratio:.4f} ({min(rows)[0]:.3f}) | {rounds} |"
                f" {messages:.0f} | {bits / 8e3:.1f} | {loop.utility:.2f} | {1e3 * spent_s:.1f} |",
                flush=True,
            )


def reopt(slots: int) -> None:
    """The second phase alone, from the greedy schedule: integer programs against the search.

    The baseline: every base station leads in turn and solves its region
    with HiGHS. The search leads by the same rounds, merged where that loses nothing.
    """
    print(
        "| size | hops | integer programs: weight / optimum, ms per slot (worst) |"
        " search: weight / optimum, ms per slot (worst) | times cheaper |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for name, size in SIZES.items():
        snapshots = _snapshots(size, max(1, slots // 5))
        graph, samples = snapshots
        best = [heaviest(graph, weights)[1] for weights in samples]
        for reach in (0, 1, 2):
            columns = []
            for sweep in (_by_programs(graph, reach), _by_search(graph, reach)):
                ratios, times_ms = [], []
                for weights, optimum in zip(samples, best, strict=True):
                    start = greedy(graph, weights)
                    began_s = time.process_time()
                    schedule = sweep(weights, start)
                    times_ms.append(1e3 * (time.process_time() - began_s))
                    assert not clashes(graph, schedule)
                    ratios.append(weigh(schedule, weights) / optimum)
                columns.append((np.mean(ratios), np.mean(times_ms), max(times_ms)))
            (a, slow_ms, slow_max_ms), (b, fast_ms, fast_max_ms) = columns
            print(
                f"| {name} | {reach} | {a:.4f}, {slow_ms:.1f} ({slow_max_ms:.0f}) |"
                f" {b:.4f}, {fast_ms:.1f} ({fast_max_ms:.0f}) | {slow_ms / fast_ms:.1f} |",
                flush=True,
            )


Sweep = Callable[[NDArray[np.float64], dict[int, int]], dict[int, int]]


def _by_programs(graph: ConflictGraph, reach: int) -> Sweep:
    """One integer program per base station, in the order of a colouring."""
    import networkx as nx

    near = {
        bs: nx.single_source_shortest_path_length(graph.stations, bs, 2 * reach + 1)
        for bs in graph.stations
    }
    power = nx.Graph((a, b) for a in near for b in near[a])
    power.remove_edges_from(list(nx.selfloop_edges(power)))
    colour = nx.greedy_color(power, "largest_first")
    balls = {bs: {b for b, hops in near[bs].items() if hops <= reach} for bs in near}

    def sweep(weights: NDArray[np.float64], schedule: dict[int, int]) -> dict[int, int]:
        for leader in sorted(near, key=lambda bs: (colour[bs], bs)):
            free, fixed, inside = _free(graph, weights, schedule, balls[leader])
            chosen, weight = heaviest(graph, free)
            if weight > weigh(inside, weights) * (1.0 + 1e-9):
                schedule = fixed | chosen
        return schedule

    return sweep


def _by_search(graph: ConflictGraph, reach: int) -> Sweep:
    """The same with the plan's leaders and the search; prices pass from one to the next."""
    rounds = plan_rounds(graph.stations, reach).rounds
    prepared = {}
    for region in (region for part in rounds for region in part):
        inside = frozenset(region.members)
        users = [user for bs in region.members for user in graph.cell(bs)]
        at = [graph.at[user] for user in users]
        cells = Cells([place.home for place in at], [place.heard & inside for place in at])
        prepared[region.leader] = users, cells, 0.0 if region.is_whole else GAP_OPEN

    def sweep(weights: NDArray[np.float64], schedule: dict[int, int]) -> dict[int, int]:
        prices = np.zeros(len(weights))
        for region in (region for part in rounds for region in part):
            users, cells, gap = prepared[region.leader]
            free, fixed, _ = _free(graph, weights, schedule, set(region.members))
            start = np.array([schedule.get(user, -1) for user in users])
            work = int(WORK_MAX / (cells.size * weights.shape[1]))
            found = solve(cells, free[users], start, prices[users], gap, work)
            prices[users] = found.prices
            chosen = zip(users, found.channel.tolist(), strict=True)
            schedule = fixed | {user: k for user, k in chosen if k >= 0}
        return schedule

    return sweep


def _free(
    graph: ConflictGraph, weights: NDArray[np.float64], schedule: dict[int, int], ball: set[int]
) -> tuple[NDArray[np.float64], dict[int, int], dict[int, int]]:
    """Returns the weights that a ball may choose from, the schedule outside, and that inside."""
    home = {user: at.home for user, at in graph.at.items()}
    inside = {user: k for user, k in schedule.items() if home[user] in ball}
    fixed = {user: k for user, k in schedule.items() if home[user] not in ball}
    free = weights.copy()
    for user, at in home.items():
        if at not in ball:
            free[user] = 0.0
    for user, k in fixed.items():
        for rival in rivals(graph, user):
            free[rival, k] = 0.0
    return free, fixed, inside


def large(slots: int) -> None:
    """One slot's decisions of the whole network at the default effort, and how that grows."""
    print(
        "| users | base stations | channels | effort | sum ms, median (95 %) | share of a base"
        " station ms, mean | largest in a slot, median (95 %) | messages | kB |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for users, stations in ((125, 4), (250, 9), (500, 16), (1000, 36)):
        size = Size(users, stations, 64)
        loop = Loop(size)
        effort = effort_default(loop.graph)
        nodes = _nodes(loop.graph, EFFORTS[effort])
        rng = np.random.default_rng(1)
        figures = []
        for slot in range(max(20, slots // 5)):
            figures.append(_one_slot(loop, nodes, rng, slot))
        sum_ms, share_ms, messages, kilobytes = np.median(figures, axis=0)
        sum_high_ms, share_high_ms, _, _ = np.percentile(figures, 95, axis=0)
        print(
            f"| {users} | {stations} | 64 | {effort} | {sum_ms:.1f} ({sum_high_ms:.1f}) |"
            f" {sum_ms / stations:.2f} | {share_ms:.2f} ({share_high_ms:.2f}) |"
            f" {messages:.0f} | {kilobytes:.0f} |",
            flush=True,
        )


def _one_slot(
    loop: Loop, nodes: dict[int, Allocator], rng: np.random.Generator, slot: int
) -> tuple[float, float, float, float]:
    """Plays one slot; returns CPU ms of all nodes and of the busiest, messages, kB."""
    cells = {bs: np.array(at.neighbourhood.users) for bs, at in nodes.items()}
    inputs = {bs: _seen(len(users), rng) for bs, users in cells.items()}
    servers = ServersSeen(loop.frame, 0)
    servers.backlog[:], servers.usable[:] = rng.integers(0, 9, servers.backlog.shape), True
    spent = dict.fromkeys(nodes, 0.0)
    weights = {}
    for bs, users in inputs.items():
        began_s = time.thread_time()
        weights[bs] = loop.todg.weigh(users, servers).astype(np.float32)
        spent[bs] += time.thread_time() - began_s
    messages, bits = 0, 0.0
    steps = max(at.steps for at in nodes.values())
    for number in range(-1, steps + 1):
        mail = []
        for bs, at in nodes.items():
            began_s = time.thread_time()
            if number < 0:
                at.begin(slot, 0, weights[bs])
            elif number < steps:
                mail += [(bs, *letter) for letter in at.step(number)]
            else:
                at.finish()
            spent[bs] += time.thread_time() - began_s
        while mail:
            answers = []
            for source, target, body in mail:
                messages += 1
                bits += body.size_bits
                began_s = time.thread_time()
                answers += [(target, *a) for a in nodes[target].hear(source, body)]
                spent[target] += time.thread_time() - began_s
            mail = answers
    return 1e3 * sum(spent.values()), 1e3 * max(spent.values()), messages, bits / 8e3


def _seen(users: int, rng: np.random.Generator) -> UsersSeen:
    """Draws what a base station knows of its users: some have no task, some channels are poor."""
    kind = rng.integers(0, len(CLASSES), users)
    size_bits = np.array([CLASSES[c].size_bits for c in kind])
    backlog, persistence = rng.integers(0, 9, users).astype(float), rng.exponential(5.0, users)
    bits = rng.exponential(3.0, (users, 64)) * size_bits[:, None]
    slack, idle = np.ones(users), np.zeros(users)
    return UsersSeen(0, kind, backlog, persistence, slack, idle, bits, size_bits)


def _nodes(graph: ConflictGraph, effort: Effort) -> dict[int, Allocator]:
    plan = plan_for(effort, graph.stations)
    return {bs: Allocator(graph.neighbourhood(bs), effort, plan) for bs in graph.stations}


def _snapshots(size: Size, count: int) -> tuple[ConflictGraph, list[NDArray[np.float64]]]:
    """Returns the weights of every fifth slot of a closed loop with the greedy schedule."""
    loop = Loop(size, load=LOAD)
    kept: list[NDArray[np.float64]] = []
    for slot in range(WARM_SLOTS + 5 * count):
        weights = loop.step(lambda w, t: greedy(loop.graph, w.astype(np.float64)))
        if slot >= WARM_SLOTS and slot % 5 == 0:
            kept.append(weights.astype(np.float64))
    return loop.graph, kept


TABLES: dict[str, Callable[[int], None]] = {"knob": knob, "reopt": reopt, "large": large}

if __name__ == "__main__":
    main()
