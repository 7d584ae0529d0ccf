"""Who can hear whom: the graph of users, base stations and servers, generated or read from a file.

Node attributes: `kind` (user, base_station, server), `x_m`, `y_m`. A radio edge joins a user and
a base station (`distance_m`), a backhaul edge a base station and a server (`delay_s`). Hosts never
see the graph: `Layout` is what they need of it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import networkx as nx
from msgspec import Struct

from agents.messages import NodeId
from emulator.scenario import graph_file
from emulator.streams import Streams

if TYPE_CHECKING:
    from emulator.scenario.schema import BaseStationGroup, Scenario, ServerGroup, UserGroup

Graph: TypeAlias = "nx.Graph[NodeId]"
G = TypeVar("G", "UserGroup", "BaseStationGroup", "ServerGroup")


class Layout(Struct, frozen=True):
    """The graph as plain tables: cells of each user, nearest first; servers of each cell."""

    cells: dict[NodeId, tuple[tuple[NodeId, float], ...]]  # user -> (base station, distance_m)
    servers: dict[NodeId, tuple[tuple[NodeId, float], ...]]  # base station -> (server, delay_s)
    users: dict[NodeId, tuple[NodeId, ...]]  # base station -> users
    base_stations: dict[NodeId, tuple[NodeId, ...]]  # server -> base stations
    position_m: dict[NodeId, tuple[float, float]]
    unplaced: frozenset[NodeId] = frozenset()  # who has no position, and is drawn at 0, 0

    @property
    def placed_m(self) -> dict[NodeId, tuple[float, float]]:
        """The positions that the topology tells."""
        return {n: at for n, at in self.position_m.items() if n not in self.unplaced}

    def reached_servers(self) -> set[NodeId]:
        """Returns the servers that a task of some user can reach."""
        heard = {bs for cells in self.cells.values() for bs, _ in cells}
        return {server for bs in heard for server, _ in self.servers[bs]}


def members(groups: list[G]) -> Iterator[tuple[NodeId, G]]:
    """Expands groups to nodes: a group `x` of two becomes `x-0` and `x-1`."""
    for group in groups:
        for number in range(group.count):
            yield f"{group.name}-{number}", group


def build(scenario: "Scenario") -> Graph:
    topology = scenario.topology
    if topology.kind == "file":
        return read_graph(Path(topology.file))
    streams = Streams(scenario.seed)
    graph: Graph = nx.Graph()
    names = [name for name, _ in members(scenario.base_stations)]
    columns = math.ceil(math.sqrt(len(names)))
    rows = math.ceil(len(names) / columns)
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        x_m = topology.area_m * (column + 0.5) / columns
        y_m = topology.area_m * (row + 0.5) / rows
        graph.add_node(name, kind="base_station", x_m=x_m, y_m=y_m)
    sites = [(name, graph.nodes[name]["x_m"], graph.nodes[name]["y_m"]) for name in names]
    for name, _ in members(scenario.users):
        draw = streams.uniform("position", name)
        x_m, y_m = topology.area_m * draw(), topology.area_m * draw()
        graph.add_node(name, kind="user", x_m=x_m, y_m=y_m)
        by_distance = sorted((math.hypot(x_m - bx, y_m - by), bs) for bs, bx, by in sites)
        for distance_m, bs in by_distance[: topology.cells_per_user]:
            graph.add_edge(name, bs, distance_m=distance_m)
    servers = list(members(scenario.servers))
    for number, (name, _) in enumerate(servers):
        x_m = topology.area_m * (number + 0.5) / len(servers)
        graph.add_node(name, kind="server", x_m=x_m, y_m=-0.15 * topology.area_m)
    for bs, bx_m, by_m in sites:
        apart = sorted(
            (math.dist((bx_m, by_m), (graph.nodes[name]["x_m"], graph.nodes[name]["y_m"])), number)
            for number, (name, _) in enumerate(servers)
        )
        reached = sorted(number for _, number in apart[: topology.servers_per_cell])
        for name, group in (servers[number] for number in reached):
            delay_s = group.backhaul_delay_s
            chosen_s = scenario.backhaul.delay_s if delay_s is None else delay_s
            graph.add_edge(bs, name, delay_s=chosen_s)
    return graph


def read_graph(path: Path) -> Graph:
    """Returns a file as a graph. What that cannot hold, `checks/graph.py` refuses."""
    file = graph_file.read(path)
    graph: Graph = nx.Graph()
    graph.add_nodes_from(file.nodes)
    graph.add_edges_from((edge.source, edge.target, edge.attributes) for edge in file.edges)
    return graph


def layout(graph: Graph, backhaul_delay_s: float) -> Layout:
    """Tabulates the graph. Missing attributes: distance from positions, delay the default's."""
    kinds = {name: attributes["kind"] for name, attributes in graph.nodes(data=True)}
    position_m = {
        name: (float(attributes.get("x_m", 0.0)), float(attributes.get("y_m", 0.0)))
        for name, attributes in graph.nodes(data=True)
    }

    def neighbours(name: NodeId, kind: str) -> tuple[NodeId, ...]:
        return tuple(other for other in graph.adj[name] if kinds[other] == kind)

    def distance_m(user: NodeId, bs: NodeId) -> float:
        apart = math.dist(position_m[user], position_m[bs])
        return float(graph.edges[user, bs].get("distance_m", apart))

    cells, servers, users, base_stations = {}, {}, {}, {}
    for name, kind in kinds.items():
        match kind:
            case "user":
                heard = [(bs, distance_m(name, bs)) for bs in neighbours(name, "base_station")]
                cells[name] = tuple(sorted(heard, key=lambda cell: (cell[1], cell[0])))
            case "base_station":
                users[name] = neighbours(name, "user")
                servers[name] = tuple(
                    (server, float(graph.edges[name, server].get("delay_s", backhaul_delay_s)))
                    for server in neighbours(name, "server")
                )
            case "server":
                base_stations[name] = neighbours(name, "base_station")
    unplaced = frozenset(n for n, at in graph.nodes(data=True) if not {"x_m", "y_m"} <= at.keys())
    return Layout(cells, servers, users, base_stations, position_m, unplaced)
