"""Who may not share a channel with whom: the conflict graph of (user, channel) pairs.

User i is served by its home base station and heard by others. On one channel, i and j conflict if
they share the home, or if the home of one hears the other; and no user holds two channels. The
channels are alike, so the graph is kept as two relations, home and heard, from which vertices and
edges follow; a user that joins, moves or leaves costs as much as it has cells in earshot.
Source: docs/todg.md, The network. Limit: hearing does not depend on the channel.

Users, base stations and channels are numbers here; whoever runs the protocol numbers its names
once per scenario. Vertex (user, channel) has the number user * channels + channel.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import networkx as nx
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Vertex = tuple[int, int]
"""(user, channel)"""


class Attachment(Struct, frozen=True):
    """Where a user is: the base station that serves it, and the others that hear it."""

    home: int
    heard: frozenset[int] = frozenset()


def attach(
    distance_m: NDArray[np.float64], hear_m: float, live: Sequence[int]
) -> list[Attachment | None]:
    """Returns each user's attachment: the nearest live base station, heard within `hear_m`.

    `distance_m` (user, base station); `live` names the base stations that are up. None: no base
    station is up. A dead base station hears nobody, so it does not appear in `heard`.
    """
    if not live:
        return [None] * len(distance_m)
    near = distance_m[:, list(live)]
    found: list[Attachment | None] = []
    for row in near:
        home = live[int(row.argmin())]
        ears = {live[int(n)] for n in np.flatnonzero(row < hear_m)}
        found.append(Attachment(home, frozenset(ears - {home})))
    return found


class Neighbour(Struct, frozen=True):
    """What a base station knows of one whose vertices conflict with its own.

    `mine` are the rows (positions in `Hood.users`) of own users heard there; `theirs` says
    whether any user of the neighbour is heard here, so that it may conflict with all of ours.
    """

    mine: tuple[int, ...]
    theirs: bool


class Hood(Struct, frozen=True):
    """One base station's own corner of the graph: all that its part of a protocol may look at.

    `heard[row]` are the base stations that hear user `users[row]`; `foreign` are the users of
    others that are heard here.
    """

    bs: int
    channels: int
    users: tuple[int, ...]
    heard: tuple[frozenset[int], ...]
    neighbours: dict[int, Neighbour]
    foreign: frozenset[int]


class ConflictGraph:
    """The graph, kept up to date by `place` and `remove`. `stations` joins conflicting cells.

    Read `stations` only: its edge b-c says that some vertex of b conflicts with one of c.
    """

    def __init__(self, stations: Sequence[int], channels: int) -> None:
        self.channels = channels
        self.stations: nx.Graph[int] = nx.Graph()
        self.stations.add_nodes_from(stations)
        self._at: dict[int, Attachment] = {}
        self._cells: dict[int, set[int]] = {bs: set() for bs in stations}
        self._foreign: dict[int, set[int]] = {bs: set() for bs in stations}  # heard, not served
        self._between: dict[Vertex, int] = {}  # (home, hearer) -> number of users

    def place(self, user: int, at: Attachment) -> None:
        """Lets a user join, or move from where it was."""
        if at.home in at.heard:
            raise ValueError(f"user {user}: home {at.home} is also in heard; leave it out")
        if user in self._at:
            self.remove(user)
        self._at[user] = at
        self._cells[at.home].add(user)
        for bs in at.heard:
            self._foreign[bs].add(user)
            self._between[at.home, bs] = self._between.get((at.home, bs), 0) + 1
        self._join(at)

    def remove(self, user: int) -> None:
        """Lets a user leave."""
        at = self._at.pop(user)
        self._cells[at.home].discard(user)
        for bs in at.heard:
            self._foreign[bs].discard(user)
            self._between[at.home, bs] -= 1
        self._join(at)

    def _join(self, at: Attachment) -> None:
        """Draws the edges that a user at `at` can have made or unmade."""
        # The first user of a cell makes it vulnerable to all it hears, hence the foreign homes.
        homes = {self._at[user].home for user in self._foreign[at.home]}
        for bs in at.heard | homes | set(self.stations[at.home]):
            here, there = bool(self._cells[at.home]), bool(self._cells[bs])
            count = self._between.get((at.home, bs), 0) + self._between.get((bs, at.home), 0)
            if here and there and count:
                self.stations.add_edge(at.home, bs)
            elif self.stations.has_edge(at.home, bs):
                self.stations.remove_edge(at.home, bs)

    @property
    def users(self) -> list[int]:
        return sorted(self._at)

    def attachment(self, user: int) -> Attachment:
        return self._at[user]

    def cell(self, bs: int) -> list[int]:
        """Returns the users served by a base station, in rising order."""
        return sorted(self._cells[bs])

    def rivals(self, user: int) -> set[int]:
        """Returns the users that may not hold the same channel as `user`."""
        at = self._at[user]
        served = (self._cells[bs] for bs in (at.home, *at.heard))
        return set().union(self._foreign[at.home], *served) - {user}

    def conflicts(self, a: Vertex, b: Vertex) -> bool:
        """Says whether two different vertices may not both win."""
        if a[0] == b[0]:
            return a[1] != b[1]
        return a[1] == b[1] and b[0] in self.rivals(a[0])

    def clashes(self, schedule: Mapping[int, int]) -> list[tuple[int, int]]:
        """Returns the pairs of users of a schedule (user -> channel) that conflict."""
        return [
            (user, other)
            for user, channel in schedule.items()
            for other in sorted(self.rivals(user))
            if user < other and schedule.get(other) == channel
        ]

    def hood(self, bs: int) -> Hood:
        """Returns what base station `bs` may know."""
        users = tuple(self.cell(bs))
        heard = tuple(self._at[user].heard for user in users)
        foreign = frozenset(self._foreign[bs])
        homes = {self._at[user].home for user in foreign}
        neighbours = {
            other: Neighbour(
                mine=tuple(row for row, ears in enumerate(heard) if other in ears),
                theirs=other in homes,
            )
            for other in sorted(self.stations[bs])
        }
        return Hood(bs, self.channels, users, heard, neighbours, foreign)

    def graph(self) -> "nx.Graph[Vertex]":
        """Draws the whole graph, for tests and oracles; vertices are (user, channel)."""
        every: nx.Graph[Vertex] = nx.Graph()
        channels = range(self.channels)
        for user in self._at:
            every.add_nodes_from((user, k) for k in channels)
            every.add_edges_from(((user, a), (user, b)) for a, b in combinations(channels, 2))
            every.add_edges_from(
                ((user, k), (other, k)) for other in self.rivals(user) for k in channels
            )
        return every
