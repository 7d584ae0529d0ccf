"""Whether the topology is one that the scenario can run on. Complaints as in `check.py`.

Nothing of a file is ignored in silence: what has no meaning here is named, with what to do.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emulator.checks.complaints import Complaint, kinds_of, readable, suggest
from emulator.scenario import graph_file
from emulator.scenario.graph_file import Edge, GraphFile
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import is_scheduled
from emulator.scenario.topology import Graph, Layout, build, layout

NODE, RADIO, WIRE = ("kind", "x_m", "y_m"), ("distance_m",), ("delay_s",)
NAMES = ("id", "key")  # of edges: some tools number them
SHOWN_MAX = 5  # nodes, of a kind of mistake

Found = Iterator[tuple[str, str]]


def problems(chosen: Scenario) -> tuple[list[Complaint], Layout | None]:
    """Returns what is wrong with the topology, and the topology where it can be read."""
    if chosen.topology.kind == "generated":
        graph = build(chosen)
        made = layout(graph, chosen.backhaul.delay_s)
        wrong = [*_paths(made), *_places(chosen, graph, made)]
        return [(("topology",), *each) for each in wrong], made
    where, path = ("topology", "file"), Path(chosen.topology.file)
    unreadable = list(readable(where, str(path), graph_file.read))
    if unreadable:
        return unreadable, None
    file = graph_file.read(path)
    strangers = list(_strangers(chosen, file))
    found = [*strangers, *_graph_attributes(file), *_nodes(file), *_edges(file, path)]
    tables: Layout | None = None
    if not strangers:
        graph = build(chosen)
        try:
            tables = layout(graph, chosen.backhaul.delay_s)
        except (TypeError, ValueError, OverflowError):
            pass  # what is no number was found already
        else:
            found += _paths(tables)
            if not found:
                found += _places(chosen, graph, tables)
    return [(where, f"{path.name}: {text}", remedy) for text, remedy in found], tables


def _strangers(chosen: Scenario, file: GraphFile) -> Found:
    """Yields in what the nodes of the topology are not those of the scenario."""
    expected = dict(kinds_of(chosen))
    found = {name: attributes.get("kind") for name, attributes in file.nodes}
    for name in sorted(expected.keys() - found.keys())[:SHOWN_MAX]:
        yield f"lacks the {expected[name]} '{name}'", "add it, or change the counts"
    for name in sorted(found.keys() - expected.keys())[:SHOWN_MAX]:
        yield f"has '{name}', which no group makes", "remove it, or add a group"
    for name in sorted(n for n in found.keys() & expected.keys() if found[n] != expected[n]):
        text = f"says '{name}' is a {found[name]}, the scenario says {expected[name]}"
        if found[name] is None:
            text = f"does not say what '{name}' is"
        yield text, f"set its attribute `kind` to {expected[name]}"
    for edge in file.edges:
        for name in (edge.source, edge.target):
            if name not in found and name not in expected:
                yield f"{_called(edge)} names '{name}', which is no node", "add it, or remove both"


def _graph_attributes(file: GraphFile) -> Found:
    known = ("name", *graph_file.JSON_KEYS)
    for key, value in file.attributes.items():
        if key != "name" and value not in ({}, [], "", None):  # networkx writes empty defaults
            yield f"unknown attribute '{key}' of the graph", _or_remove(key, known)


def _nodes(file: GraphFile) -> Found:
    seen: set[str] = set()
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    for name, attributes in file.nodes:
        if name in seen:
            yield f"has the node '{name}' twice", "leave one"
        seen.add(name)
        for key in attributes.keys() - set(NODE):
            unknown[key].append(f"'{name}'")
        yield from _numbers(f"'{name}'", attributes, ("x_m", "y_m"))
        if len({"x_m", "y_m"} & attributes.keys()) == 1:
            text = f"gives only one of x_m and y_m of '{name}'"
            yield text, "give both, or neither"
    for key, names in sorted(unknown.items()):
        yield f"unknown attribute '{key}' of {_and_more(names)}", _or_remove(key, NODE)


def _edges(file: GraphFile, path: Path) -> Found:
    kinds = {name: str(attributes.get("kind")) for name, attributes in file.nodes}
    pairs: defaultdict[tuple[str, ...], list[Edge]] = defaultdict(list)
    unknown: defaultdict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for edge in file.edges:
        pairs[tuple(sorted((edge.source, edge.target)))].append(edge)
        ends = {kinds.get(edge.source), kinds.get(edge.target)}
        if edge.source == edge.target:
            yield f"{_called(edge)} leads nowhere", "remove it"
        elif ends in ({"user", "base_station"}, {"base_station", "server"}):
            known: tuple[str, ...] = RADIO if "user" in ends else WIRE
            for key in edge.attributes.keys() - {*known, *NAMES}:
                unknown[key, known].append(_called(edge))
            yield from _numbers(_called(edge), edge.attributes, known)
        elif ends <= {"user", "base_station", "server"}:
            yield _relay(edge, kinds, file)
    for (key, meant), names in sorted(unknown.items()):
        yield f"unknown attribute '{key}' of {_and_more(names)}", _or_remove(key, meant)
    yield from _ways(list(pairs.values()), path)


def _ways(pairs: list[list[Edge]], path: Path) -> Found:
    """Yields pairs of nodes that are joined more than once, or one way only.

    A link has two ways that are alike: an undirected edge, or one each way that say the same.
    """
    one_way: list[str] = []
    for edges in pairs:
        reported = [{k: v for k, v in e.attributes.items() if k not in NAMES} for e in edges]
        first = edges[0]
        if len(edges) == 1:
            one_way += [f"'{first.source}' -> '{first.target}'"] if first.is_directed else []
        elif len(edges) > 2 or not all(e.is_directed for e in edges):
            text = f"has {len(edges)} edges between '{first.source}' and '{first.target}'"
            yield f"{text}: {', '.join(map(str, reported))}", "keep one"
        elif edges[1].source == first.source:
            text = f"has 2 edges from '{first.source}' to '{first.target}'"
            yield f"{text}: {', '.join(map(str, reported))}", "keep one"
        elif reported[0] != reported[1]:
            text = f"says {reported[0]} of '{first.source}' -> '{first.target}'"
            yield f"{text}, {reported[1]} of the way back", "make both alike"
    if one_way:
        whole = '`edgedefault="undirected"`'
        if path.suffix.lower() == ".json":
            whole = '`"directed": false`'
        text = f"has edges that lead one way only: {_and_more(one_way)}"
        yield text, f"write {whole}, or add the edges back"


def _relay(edge: Edge, kinds: Mapping[str, str], file: GraphFile) -> tuple[str, str]:
    """Explains an edge that is no hop of a task: user, base station, server are all there are."""
    a, b = edge.source, edge.target
    joined = f"a {kinds[a]} and a {kinds[b]}".replace("_", " ")
    text = f"{_called(edge)} joins {joined}: a task goes by one base station to a server"
    if kinds[a] == kinds[b] == "base_station":
        ends = [(each.source, each.target) for each in file.edges]
        ends += [(target, source) for source, target in ends]
        behind = {bs: [t for s, t in ends if s == bs and kinds.get(t) == "server"] for bs in (a, b)}
        for lone, other in ((a, b), (b, a)):
            if behind[other] and not behind[lone]:
                return text, f"replace it by an edge '{lone}' - '{behind[other][0]}'"
    if {kinds[a], kinds[b]} == {"user", "server"}:
        user, server = (a, b) if kinds[a] == "user" else (b, a)
        cells = [name for name, kind in kinds.items() if kind == "base_station"]
        if cells:
            return text, f"remove it; '{user}' - '{cells[0]}' - '{server}' would be a path"
    return text, "remove it"


def _paths(tables: Layout) -> Found:
    """Yields in what the topology does not join users to servers, or by links of no length."""
    for edges, unit in ((tables.cells, "m"), (tables.servers, "s")):
        for name, others in edges.items():
            for other, length in others:
                if not 0.0 <= length < math.inf:
                    text = f"says it is {length:g} {unit} from '{name}' to '{other}'"
                    yield text, "it must be finite, and not negative"
    for user, cells in tables.cells.items():
        if not cells:
            near = _nearest(tables, user)
            yield (
                f"no edge leads from '{user}' to a base station",
                f"add an edge '{user}' - '{near}'",
            )
    for bs, users in tables.users.items():
        if users and not tables.servers[bs]:
            text = f"no server stands behind '{bs}', which '{users[0]}' hears"
            yield text, f"add an edge '{bs}' - '{next(iter(tables.base_stations))}'"


def _nearest(tables: Layout, user: str) -> str:
    """Returns a base station to join a user to: one with a server, near by if that is known."""
    at_m = tables.placed_m
    candidates = [bs for bs in tables.users if tables.servers[bs]] or list(tables.users)
    if user not in at_m or any(bs not in at_m for bs in candidates):
        return candidates[0]
    return min(candidates, key=lambda bs: math.dist(at_m[user], at_m[bs]))


def _places(chosen: Scenario, graph: Graph, tables: Layout) -> Found:
    """Yields what the topology does not say of where nodes are, and must."""
    if not tables.unplaced:
        return
    example = f"give '{min(tables.unplaced)}' its x_m and y_m"
    if is_scheduled(chosen) and chosen.topology.hear_m > 0.0:
        yield f"does not say where all are, which hear_m = {chosen.topology.hear_m:g} asks", example
    for user, cells in tables.cells.items():
        for bs, _ in cells:
            lost = {user, bs} & tables.unplaced
            if lost and "distance_m" not in graph.edges[user, bs]:
                remedy = f"give the edge its distance_m, or '{min(lost)}' its x_m and y_m"
                yield f"does not say how far '{user}' is from '{bs}'", remedy


def _numbers(what: str, attributes: Mapping[str, Any], keys: tuple[str, ...]) -> Found:
    for key in keys:
        if key not in attributes:
            continue
        value = attributes[key]
        try:
            is_number = math.isfinite(float(value)) and not isinstance(value, bool)
        except (TypeError, ValueError, OverflowError):
            is_number = False
        if not is_number:
            text = f"{key} of {what} must be a finite number, not {value!r}"
            yield text, "write it as a number, or leave it out"


def _called(edge: Edge) -> str:
    return f"the edge '{edge.source}' - '{edge.target}'"


def _and_more(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _or_remove(key: str, known: tuple[str, ...]) -> str:
    remedy = suggest(key, known)
    return remedy if remedy.startswith("did") else f"{remedy}; remove it"
