"""What tests and benchmarks of the TODG core compare with: it sees everything, no node may use it.

The heaviest independent set by integer programming, the slot decision of a central controller,
and the distributed allocation played over a perfect or lossy wire. What it computes: docs/todg.md.
scipy is imported where it is used, so that nodes start without it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct

from agents.bodies import AllocationBody
from agents.scheduled.allocation import Allocator
from agents.scheduled.conflict import ConflictGraph
from agents.scheduled.region import Bools, Floats, Ints
from agents.slot_bodies import Table

Loses = Callable[[int, int, AllocationBody], bool]
"""(source, target, body): is this message lost? Asked once for each message sent."""


class Played(Struct, frozen=True):
    """One slot's allocation: user -> channel, and what it cost. A message counts once per hop."""

    schedule: dict[int, int]
    messages: int
    bits: float
    weights: tuple[float, ...]  # after every step; falls only between Propose and Commit
    undecided: int


def heaviest(graph: ConflictGraph, weights: Floats) -> tuple[dict[int, int], float]:
    """Returns the heaviest schedule (user -> channel) and its weight, exactly, by HiGHS.

    `weights` (user, channel) by user number.
    """
    users, channels = np.nonzero(weights > 0.0)
    won = _select(graph, users, channels, weights[users, channels])
    schedule = dict(zip(users[won].tolist(), channels[won].tolist(), strict=True))
    return schedule, float(weights[users[won], channels[won]].sum())


def decide(
    graph: ConflictGraph, urgency: Floats, costs: Floats, movable: Floats
) -> tuple[dict[int, tuple[int, int, int]], float]:
    """Returns the central decision of a slot: user -> (channel, flow, server), and its value.

    Maximises the sum of (urgency - cost) movable over channel, flow and server at once, without
    use of the closed form. `urgency` theta (Q + Z) is (user, flow), `costs` eta H (user, flow,
    server), `movable` min(r / L, Q) tasks (user, flow, channel).
    """
    gain = (urgency[:, :, None] - costs)[:, :, :, None] * movable[:, :, None, :]
    users, flows, servers, channels = np.nonzero(gain > 0.0)
    value = gain[users, flows, servers, channels]
    won = np.flatnonzero(_select(graph, users, channels, value)).tolist()
    chosen = {int(users[n]): (int(channels[n]), int(flows[n]), int(servers[n])) for n in won}
    return chosen, float(value[won].sum())


def _select(graph: ConflictGraph, users: Ints, channels: Ints, value: Floats) -> Bools:
    """Chooses the best of some claims, each of a user to a channel, that do not conflict.

    One row per user, and per channel one for each cell alone or with one of the foreign users
    heard there: every conflict lies in one of these cliques.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    if not len(value):
        return np.zeros(0, dtype=np.bool_)
    claims: dict[tuple[int, int], list[int]] = {}
    for n, vertex in enumerate(zip(users.tolist(), channels.tolist(), strict=True)):
        claims.setdefault(vertex, []).append(n)
    every = range(graph.channels)
    cliques = [[n for k in every for n in claims.get((user, k), [])] for user in graph.users]
    for bs in graph.stations:
        cell = graph.cell(bs)
        foreign = sorted(graph.hood(bs).foreign)
        for members in [[*cell, other] for other in foreign] or [cell]:
            cliques += [[n for user in members for n in claims.get((user, k), [])] for k in every]
    rows = np.repeat(np.arange(len(cliques)), [len(clique) for clique in cliques])
    columns = np.array([n for clique in cliques for n in clique])
    shape = (len(cliques), len(value))
    solved = milp(
        -value / value.max(),
        constraints=LinearConstraint(csr_array((np.ones(len(rows)), (rows, columns)), shape), ub=1),
        integrality=np.ones(len(value), dtype=np.int64),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": 0.0},
    )
    assert solved.x is not None, f"HiGHS: {solved.message}"
    won: Bools = solved.x > 0.5
    return won


def weigh(schedule: Mapping[int, int], weights: Floats) -> float:
    """Returns the weight of a schedule (user -> channel)."""
    return float(sum(weights[user, channel] for user, channel in schedule.items()))


def greedy(graph: ConflictGraph, weights: Floats) -> dict[int, int]:
    """Returns the schedule of the central rule: heaviest vertex first, ties to the lower number."""
    schedule: dict[int, int] = {}
    users, channels = np.nonzero(weights > 0.0)
    for n in np.lexsort((channels, users, -weights[users, channels])):
        user, channel = int(users[n]), int(channels[n])
        taken = any(schedule.get(other) == channel for other in graph.rivals(user))
        if user not in schedule and not taken:
            schedule[user] = channel
    return schedule


def play(
    graph: ConflictGraph,
    allocators: Mapping[int, Allocator],
    weights: Floats,
    slot: int = 0,
    loses: Loses = lambda source, target, body: False,
    steps: int | None = None,
) -> Played:
    """Plays one slot's allocation in lockstep: what is sent at a step arrives before the next.

    `weights` (user, channel) are rounded to float32, as they are on the air. `steps` cuts short.
    """
    hops = _hops(graph)
    messages, bits = 0, 0.0
    seen: list[float] = []
    for at in allocators.values():
        at.begin(slot, 0, weights[list(at.hood.users)].astype(np.float32))
    most = max((at.steps for at in allocators.values()), default=0)
    for number in range(most if steps is None else min(steps, most)):
        mail = [(bs, *letter) for bs, at in allocators.items() for letter in at.step(number)]
        while mail:
            answers: list[tuple[int, int, AllocationBody]] = []
            for source, target, body in mail:
                crossed = 1 if isinstance(body, Table) else hops[source][target]
                messages += crossed
                bits += crossed * body.size_bits
                if not loses(source, target, body) and target in allocators:
                    answers += [(target, *a) for a in allocators[target].hear(source, body)]
            mail = answers
        seen.append(sum(weigh(at.schedule(), weights) for at in allocators.values()))
    schedule: dict[int, int] = {}
    for at in allocators.values():
        schedule |= at.finish()
    undecided = sum(at.undecided for at in allocators.values())
    return Played(schedule, messages, bits, tuple(seen), undecided)


def _hops(graph: ConflictGraph) -> dict[int, dict[int, int]]:
    from networkx import all_pairs_shortest_path_length

    return dict(all_pairs_shortest_path_length(graph.stations))
