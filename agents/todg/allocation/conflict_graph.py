"""Who may not share a channel with whom: the conflict graph of (user, channel) pairs.

User i is served by its home base station and heard by others. On one channel, i and j conflict if
they share the home, or if the home of one hears the other; and no user holds two channels. The
channels are alike, so the graph is kept as two relations, home and heard, from which vertices and
edges follow. Source: docs/todg.md, The network. Limit: hearing does not depend on the channel.

Users, base stations and channels are numbers here; whoever runs the protocol numbers its names
once per scenario. Vertex (user, channel) has the number user * channels + channel.
"""

from collections.abc import Mapping, Sequence

import networkx as nx
from msgspec import Struct


class Attachment(Struct, frozen=True):
    """Where a user is: the base station that serves it, and the others that hear it."""

    home: int
    heard: frozenset[int] = frozenset()


class Neighbour(Struct, frozen=True):
    """What a base station knows of one whose vertices conflict with its own.

    `mine` are the rows (positions in `Neighbourhood.users`) of own users heard there; `theirs` says
    whether any user of the neighbour is heard here, so that it may conflict with all of ours.
    """

    mine: tuple[int, ...]
    theirs: bool


class Neighbourhood(Struct, frozen=True):
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
    """The graph of users that are at `at`. `stations` joins the cells that conflict.

    Its edge b-c says that some vertex of b conflicts with one of c.
    """

    def __init__(
        self, stations: Sequence[int], channels: int, at: Mapping[int, Attachment]
    ) -> None:
        self.channels = channels
        self.at = dict(sorted(at.items()))
        self.stations: nx.Graph[int] = nx.Graph()
        self.stations.add_nodes_from(stations)
        self._cells: dict[int, list[int]] = {bs: [] for bs in stations}
        self._foreign: dict[int, list[int]] = {bs: [] for bs in stations}  # heard, not served
        for user, place in self.at.items():
            if place.home in place.heard:
                raise ValueError(f"user {user}: home {place.home} is also in heard; leave it out")
            self._cells[place.home].append(user)
            for bs in place.heard:
                self._foreign[bs].append(user)
        self.stations.add_edges_from(
            (self.at[user].home, bs)
            for bs in stations
            for user in self._foreign[bs]
            if self._cells[bs]
        )

    @property
    def users(self) -> list[int]:
        return list(self.at)

    def cell(self, bs: int) -> list[int]:
        """Returns the users served by a base station, in rising order."""
        return self._cells[bs]

    def neighbourhood(self, bs: int) -> Neighbourhood:
        """Returns what base station `bs` may know."""
        users = tuple(self._cells[bs])
        heard = tuple(self.at[user].heard for user in users)
        homes = {self.at[user].home for user in self._foreign[bs]}
        neighbours = {
            other: Neighbour(
                mine=tuple(row for row, ears in enumerate(heard) if other in ears),
                theirs=other in homes,
            )
            for other in sorted(self.stations[bs])
        }
        return Neighbourhood(
            bs, self.channels, users, heard, neighbours, frozenset(self._foreign[bs])
        )
