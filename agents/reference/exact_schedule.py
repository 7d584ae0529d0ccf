"""The heaviest independent set, exactly: it sees everything, no node may use it.

An observer compares the schedules of a run with it (docs/todg.md, What is measured). scipy is
imported where it is used, so that nodes start without it.
"""

from collections.abc import Mapping

import numpy as np

from agents.todg.allocation.conflict_graph import ConflictGraph
from agents.todg.allocation.region import Bools, Floats, Ints


def heaviest(graph: ConflictGraph, weights: Floats) -> tuple[dict[int, int], float]:
    """Returns the heaviest schedule (user -> channel) and its weight, exactly, by HiGHS.

    `weights` (user, channel) by user number.
    """
    users, channels = np.nonzero(weights > 0.0)
    won = select(graph, users, channels, weights[users, channels])
    schedule = dict(zip(users[won].tolist(), channels[won].tolist(), strict=True))
    return schedule, float(weights[users[won], channels[won]].sum())


def select(graph: ConflictGraph, users: Ints, channels: Ints, value: Floats) -> Bools:
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
        foreign = sorted(graph.neighbourhood(bs).foreign)
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
