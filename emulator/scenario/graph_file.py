"""Topology files as they stand: GraphML, and the node-link JSON that networkx writes.

Nothing is merged, dropped or made up here, as graph libraries do with what they do not expect:
`checks/graph.py` says what of a file no topology can mean.
"""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from msgspec import Struct

from emulator.scenario.traces import read_text

JSON_KEYS = ("directed", "multigraph", "graph", "nodes", "edges", "links")
GRAPHML_KEYS = ("id", "edgedefault")  # and what begins with `parse.`, hints to parsers


class Edge(Struct, frozen=True):
    """One edge. `is_directed`: it leads from `source` to `target` only."""

    source: str
    target: str
    attributes: dict[str, Any]
    is_directed: bool


class GraphFile(Struct, frozen=True):
    """All that a file says. `attributes` are those of the graph itself."""

    nodes: list[tuple[str, dict[str, Any]]]
    edges: list[Edge]
    attributes: dict[str, Any]


def read(path: Path) -> GraphFile:
    """Reads a file by its ending; ValueError says what is wrong, and where."""
    match path.suffix.lower():
        case ".json":
            reader = _node_link
        case ".graphml":
            reader = _graphml
        case _:
            raise ValueError(f"{path.name}: a topology ends in .graphml or .json")
    try:
        return reader(path)
    except _Wrong as error:
        raise ValueError(f"{path.name}{error}") from None


class _Wrong(ValueError):
    """Begins with a colon, behind which a line may stand."""


def _node_link(path: Path) -> GraphFile:
    try:
        whole = json.loads(read_text(path), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _Wrong(f":{error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise _Wrong(": nested too deeply") from None
    if not isinstance(whole, dict):
        raise _Wrong(": a graph is an object with the lists 'nodes' and 'edges'")
    reported = f"its keys are {', '.join(map(repr, whole)) or 'none'}"
    if "edges" in whole and "links" in whole:
        raise _Wrong(": has 'edges' and 'links', which mean the same; leave one")
    nodes = whole.get("nodes")
    links = whole.get("edges", whole.get("links"))
    if not isinstance(nodes, list):
        raise _Wrong(f": has no list 'nodes'; {reported}")
    if not isinstance(links, list):
        raise _Wrong(f": has no list 'edges' or 'links'; {reported}")
    is_directed, graph = whole.get("directed", False), whole.get("graph", {})
    if not isinstance(is_directed, bool):
        raise _Wrong(f": 'directed' is true or false, not {is_directed!r}")
    if not isinstance(graph, dict):
        raise _Wrong(f": 'graph' is an object with attributes, not {graph!r}")
    others = {key: value for key, value in whole.items() if key not in JSON_KEYS}
    edges = []
    for number, given in enumerate(links):
        (source, target), attributes = _taken(given, ("source", "target"), f"edges[{number}]")
        edges.append(Edge(source, target, attributes, is_directed))
    found = GraphFile([], edges, graph | others)
    for number, given in enumerate(nodes):
        (name,), attributes = _taken(given, ("id",), f"nodes[{number}]")
        found.nodes.append((name, attributes))
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object; the last of two values would win in silence."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _Wrong(f": the key '{key}' stands twice in one object")
        made[key] = value
    return made


def _taken(given: Any, keys: tuple[str, ...], what: str) -> tuple[list[str], dict[str, Any]]:
    """Splits an element into what it is called and its attributes."""
    if not isinstance(given, dict):
        raise _Wrong(f": {what} is an object, not {given!r}")
    for key in keys:
        if not isinstance(given.get(key), str):
            raise _Wrong(f": {what}: '{key}' must be the name of a node, not {given.get(key)!r}")
    return [given[key] for key in keys], {k: v for k, v in given.items() if k not in keys}


def _graphml(path: Path) -> GraphFile:
    try:
        root = ElementTree.parse(path).getroot()  # bytes: the file says how it is encoded
    except ElementTree.ParseError as error:
        raise _Wrong(f":{error.position[0]}: not XML: {error}") from None
    except (LookupError, ValueError) as error:
        raise _Wrong(f": not XML: {error}") from None
    graphs = [each for each in root if _tag(each) == "graph"]
    if _tag(root) != "graphml" or len(graphs) != 1:
        raise _Wrong(f": needs one <graph> in <graphml>; has {len(graphs)} in <{_tag(root)}>")
    (graph,) = graphs
    keys = {each.get("id", ""): each for each in root if _tag(each) == "key"}
    is_directed = graph.get("edgedefault", "directed") != "undirected"  # as the format has it
    found = GraphFile([], [], {})
    reported = {
        k: v for k, v in graph.items() if k not in GRAPHML_KEYS and not k.startswith("parse.")
    }
    found.attributes.update(reported)
    for each in graph:
        match _tag(each):
            case "node":
                (name,), attributes = _taken(_data(each, keys), ("id",), "a <node>")
                found.nodes.append((name, attributes))
            case "edge":
                own = _data(each, keys)
                way = str(own.pop("directed", "")).lower()
                ends, attributes = _taken(own, ("source", "target"), "an <edge>")
                one_way = way == "true" if way else is_directed
                found.edges.append(Edge(ends[0], ends[1], attributes, one_way))
            case "data":
                found.attributes[_name(each, keys)] = _text(each)
            case "desc":
                pass  # a remark to people
            case other:
                raise _Wrong(f": <{other}> is not read, only <node> and <edge>; remove it")
    return found


def _data(element: ElementTree.Element, keys: dict[str, ElementTree.Element]) -> dict[str, str]:
    """Returns all attributes of a node or an edge, defaults of the file too."""
    what = f"<{_tag(element)}> {' - '.join(element.attrib.values())}"
    reported = dict(element.items())
    for each in element:
        if _tag(each) == "desc":
            continue
        if _tag(each) != "data":
            raise _Wrong(f": {what}: <{_tag(each)}> is not read, only <data>; remove it")
        name = _name(each, keys)
        if name in reported:
            raise _Wrong(f": {what}: '{name}' stands there twice; leave one")
        reported[name] = _text(each)
    for key, declared in keys.items():
        default = next((each for each in declared if _tag(each) == "default"), None)
        if default is not None and declared.get("for", "all") in ("all", _tag(element)):
            reported.setdefault(declared.get("attr.name", key), _text(default))
    return reported


def _name(data: ElementTree.Element, keys: dict[str, ElementTree.Element]) -> str:
    """Returns the name of what a <data> says: what its key declares, or else the key itself."""
    key = data.get("key", "")
    return keys[key].get("attr.name", key) if key in keys else key


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: ElementTree.Element) -> str:
    return "".join(element.itertext()).strip()
