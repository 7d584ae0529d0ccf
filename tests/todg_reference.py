"""What tests and benchmarks of the TODG core compare with, and play it on: it sees everything.

Who conflicts with whom, the slot decision of a central controller, the central greedy schedule, and
the distributed allocation played over a perfect or lossy wire. What it computes: docs/todg.md.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct
from networkx import all_pairs_shortest_path_length

from agents.messages.slots import AllocationBody, Table
from agents.reference.exact_schedule import select, weigh
from agents.todg.allocation.allocator import Allocator
from agents.todg.allocation.conflict_graph import Attachment, ConflictGraph
from agents.todg.allocation.region import Floats

Loses = Callable[[int, int, AllocationBody], bool]
"""(source, target, body): is this message lost? Asked once for each message sent."""


class Played(Struct, frozen=True):
    """One slot's allocation: user -> channel, and what it cost. A message counts once per hop."""

    schedule: dict[int, int]
    messages: int
    bits: float
    weights: tuple[float, ...]  # after every step; falls only between Propose and Commit


def attach(distance_m: Floats, hear_m: float) -> dict[int, Attachment]:
    """Puts each user at the nearest base station; others hear it within `hear_m`.

    `distance_m` is (user, base station).
    """
    found = {}
    for user, row in enumerate(distance_m):
        home = int(row.argmin())
        found[user] = Attachment(home, frozenset(np.flatnonzero(row < hear_m).tolist()) - {home})
    return found


def conflict(a: Attachment, b: Attachment) -> bool:
    """Says whether users at `a` and `b` may not hold the same channel."""
    return a.home == b.home or a.home in b.heard or b.home in a.heard


def rivals(graph: ConflictGraph, user: int) -> set[int]:
    """Returns the users that may not hold the same channel as `user`."""
    mine = graph.at[user]
    return {other for other, at in graph.at.items() if other != user and conflict(mine, at)}


def clashes(graph: ConflictGraph, schedule: Mapping[int, int]) -> list[tuple[int, int]]:
    """Returns the pairs of users of a schedule (user -> channel) that conflict."""
    return [
        (a, b)
        for a, channel in schedule.items()
        for b, same in schedule.items()
        if a < b and same == channel and conflict(graph.at[a], graph.at[b])
    ]


def decide(
    graph: ConflictGraph, urgency: Floats, costs: Floats, movable: Floats
) -> tuple[dict[int, tuple[int, int]], float]:
    """Returns the central decision of a slot: user -> (channel, server), and its value.

    Maximises the sum of (urgency - cost) movable over channel and server at once, without use of
    the closed form. `urgency` theta (Q + Z) is (user,), `costs` eta H (user, server), `movable`
    min(r / L, Q) tasks (user, channel).
    """
    gain = (urgency[:, None] - costs)[:, :, None] * movable[:, None, :]
    users, servers, channels = np.nonzero(gain > 0.0)
    value = gain[users, servers, channels]
    won = np.flatnonzero(select(graph, users, channels, value)).tolist()
    chosen = {int(users[n]): (int(channels[n]), int(servers[n])) for n in won}
    return chosen, float(value[won].sum())


def greedy(graph: ConflictGraph, weights: Floats) -> dict[int, int]:
    """Returns the schedule of the central rule: heaviest vertex first, ties to the lower number."""
    schedule: dict[int, int] = {}
    users, channels = np.nonzero(weights > 0.0)
    for n in np.lexsort((channels, users, -weights[users, channels])):
        user, channel = int(users[n]), int(channels[n])
        taken = any(
            same == channel and conflict(graph.at[user], graph.at[other])
            for other, same in schedule.items()
        )
        if user not in schedule and not taken:
            schedule[user] = channel
    return schedule


def play(
    graph: ConflictGraph,
    allocators: Mapping[int, Allocator],
    weights: Floats,
    slot: int = 0,
    loses: Loses = lambda source, target, body: False,
) -> Played:
    """Plays one slot's allocation in lockstep: what is sent at a step arrives before the next.

    `weights` (user, channel) are rounded to float32, as they are on the air.
    """
    hops = dict(all_pairs_shortest_path_length(graph.stations))
    messages, bits = 0, 0.0
    seen: list[float] = []
    for at in allocators.values():
        at.begin(slot, 0, weights[list(at.neighbourhood.users)].astype(np.float32))
    most = max((at.steps for at in allocators.values()), default=0)
    for number in range(most):
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
    return Played(schedule, messages, bits, tuple(seen))


def utility(rate: float, value: float, declared: float) -> float:
    """Returns phi(x) = beta u ln(1 + x / u) of a rate x and a declared rate u, tasks per slot."""
    return value * declared * math.log1p(rate / declared)
