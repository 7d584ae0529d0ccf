"""Topology files: read as they are meant, or refused with what is wrong and what to do."""

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from click.testing import CliRunner

from emulator.checks import source
from emulator.checks.source import ScenarioError
from emulator.cli.main import fresco
from emulator.scenario.topology import build, layout

SCENARIO = """\
name: net
seed: 3
duration_s: 2
protocol: {kind: nearest}
users: [{name: cam, count: 2, arrival: {kind: periodic, period_s: 0.4}, input_bits: 8000}]
base_stations: [{name: mast, count: 2}]
servers:
  - name: rack
    accelerator: {kind: fitted, service: {distribution: deterministic, mean_s: 0.01}}
channel: {kind: bernoulli, rate_bps: 1.0e6}
topology: {kind: file, file: net.json}
"""
Spec = dict[str, Any]


def net() -> Spec:
    """Returns two users, each at a mast of its own, and a server behind both."""
    kinds = {"cam": "user", "mast": "base_station", "rack": "server"}
    names = ("cam-0", "cam-1", "mast-0", "mast-1", "rack-0")
    return {
        "directed": False,
        "multigraph": False,
        "graph": {},
        "nodes": [{"id": name, "kind": kinds[name[:-2]]} for name in names],
        "edges": [
            {"source": "cam-0", "target": "mast-0", "distance_m": 70},
            {"source": "cam-1", "target": "mast-1", "distance_m": 90},
            {"source": "mast-0", "target": "rack-0", "delay_s": 0.004},
            {"source": "mast-1", "target": "rack-0", "delay_s": 0.008},
        ],
    }


def load(folder: Path, written: str | bytes | Spec, name: str = "net.json") -> Any:
    """Loads the scenario with a topology file as written."""
    if isinstance(written, dict):
        written = json.dumps(written)
    (folder / name).write_bytes(written if isinstance(written, bytes) else written.encode())
    path = folder / "net.yaml"
    path.write_text(SCENARIO.replace("net.json", name))
    return source.load(path)


def reported(folder: Path, written: str | bytes | Spec, name: str = "net.json") -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(folder, written, name)
    assert {problem.line for problem in caught.value.problems} == {11}
    return [f"{problem.message}; {problem.remedy}" for problem in caught.value.problems]


def both_ways(graph: Spec) -> Spec:
    """Directs a graph: every edge there and back."""
    back = [{**e, "source": e["target"], "target": e["source"]} for e in graph["edges"]]
    return graph | {"directed": True, "edges": graph["edges"] + back}


def graphml(graph: Spec, folder: Path) -> bytes:
    nx.write_graphml(nx.node_link_graph(graph, edges="edges"), folder / "made.graphml")
    return (folder / "made.graphml").read_bytes()


def by_hand(edge: str = "", node: str = "", graph: str = 'edgedefault="undirected"') -> str:
    """Writes the net as GraphML, with something more in the first edge or node."""
    kind = {"cam": "user", "mast": "base_station", "rack": "server"}
    nodes = "\n".join(
        f'<node id="{n["id"]}"><data key="k">{kind[n["id"][:-2]]}</data>'
        f"{node if n['id'] == 'cam-0' else ''}</node>"
        for n in net()["nodes"]
    )
    edges = "\n".join(
        f'<edge source="{e["source"]}" target="{e["target"]}">{edge if not number else ""}'
        + "".join(f'<data key="{k}">{v}</data>' for k, v in e.items() if k.endswith(("_m", "_s")))
        + "</edge>"
        for number, e in enumerate(net()["edges"])
    )
    key = '<key id="k" for="node" attr.name="kind" attr.type="string"/>'
    return f"<graphml>{key}<graph {graph}>\n{nodes}\n{edges}\n</graph></graphml>"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("net.json", lambda graph, _: graph),
        ("net.json", lambda graph, _: {k.replace("edges", "links"): v for k, v in graph.items()}),
        ("NET.JSON", lambda graph, _: b"\xef\xbb\xbf" + json.dumps(graph).encode()),
        ("net.json", lambda graph, _: json.dumps(graph, indent=1).replace("\n", "\r\n")),
        ("net.json", lambda graph, _: both_ways(graph)),
        ("net.graphml", graphml),
        ("Net.GraphML", lambda graph, folder: b"\xef\xbb\xbf" + graphml(graph, folder)),
        ("net.graphml", lambda graph, folder: graphml(both_ways(graph), folder)),
        ("net.graphml", lambda *_: by_hand(edge="<desc>the first</desc>")),
    ],
    ids=["plain", "links", "mark", "ends", "both", "graphml", "case", "both-graphml", "by-hand"],
)
def test_what_other_tools_write_is_read_as_meant(name: str, change: Any, tmp_path: Path) -> None:
    chosen = load(tmp_path, change(net(), tmp_path), name)

    tables = layout(build(chosen), chosen.backhaul.delay_s)

    assert tables.cells == {"cam-0": (("mast-0", 70.0),), "cam-1": (("mast-1", 90.0),)}
    assert tables.servers == {"mast-0": (("rack-0", 0.004),), "mast-1": (("rack-0", 0.008),)}


def changed(change: Any) -> Spec:
    graph = net()
    change(graph["nodes"], graph["edges"], graph)
    return graph


REFUSED = {
    "parallel": (
        lambda n, e, g: e.append({"source": "rack-0", "target": "mast-0", "delay_s": 0.5}),
        "has 2 edges between 'mast-0' and 'rack-0': {'delay_s': 0.004}, {'delay_s': 0.5}; keep one",
    ),
    "parallel-keys": (
        lambda n, e, g: e.append({**e[2], "key": 1}),
        "has 2 edges between 'mast-0' and 'rack-0': {'delay_s': 0.004}, {'delay_s': 0.004}; keep",
    ),
    "parallel-directed": (
        lambda n, e, g: (g.update(both_ways(g)), g["edges"].append({**e[0], "distance_m": 1})),
        "has 3 edges between 'cam-0' and 'mast-0'",
    ),
    "same-way-twice": (
        lambda n, e, g: (
            g.update(both_ways(g)),
            g["edges"].__setitem__(4, {**e[0], "distance_m": 1}),
        ),
        "has 2 edges from 'cam-0' to 'mast-0': {'distance_m': 70}, {'distance_m': 1}; keep one",
    ),
    "one-way": (
        lambda n, e, g: g.update(directed=True),
        "has edges that lead one way only: 'cam-0' -> 'mast-0' and 3 more; "
        'write `"directed": false`, or add the edges back',
    ),
    "ways-differ": (
        lambda n, e, g: (g.update(both_ways(g)), g["edges"][-1].update(delay_s=9)),
        "says {'delay_s': 0.008} of 'mast-1' -> 'rack-0', {'delay_s': 9} of the way back; make",
    ),
    "loop": (
        lambda n, e, g: e.append({"source": "mast-0", "target": "mast-0"}),
        "the edge 'mast-0' - 'mast-0' leads nowhere; remove it",
    ),
    "user-to-server": (
        lambda n, e, g: e.append({"source": "rack-0", "target": "cam-1", "delay_s": 1e-4}),
        "the edge 'rack-0' - 'cam-1' joins a server and a user: a task goes by one base station "
        "to a server; remove it; 'cam-1' - 'mast-0' - 'rack-0' would be a path",
    ),
    "user-to-user": (
        lambda n, e, g: e.append({"source": "cam-0", "target": "cam-1"}),
        "the edge 'cam-0' - 'cam-1' joins a user and a user: a task goes by one base station to a "
        "server; remove it",
    ),
    "unknown-of-node": (
        lambda n, e, g: (n[0].update(label="A"), n[3].update(label="B")),
        "unknown attribute 'label' of 'cam-0' and 1 more; known: kind, x_m, y_m; remove it",
    ),
    "misspelt-of-node": (
        lambda n, e, g: n[0].update(x=1, y_m=2, x_m=2),
        "unknown attribute 'x' of 'cam-0'; did you mean 'x_m'?",
    ),
    "misspelt-of-edge": (
        lambda n, e, g: e[2].update(delay_ms=4),
        "unknown attribute 'delay_ms' of the edge 'mast-0' - 'rack-0'; did you mean 'delay_s'?",
    ),
    "misplaced": (
        lambda n, e, g: e[2].update(distance_m=4),
        "unknown attribute 'distance_m' of the edge 'mast-0' - 'rack-0'; known: delay_s; remove it",
    ),
    "unknown-of-graph": (
        lambda n, e, g: g["graph"].update(crs="EPSG:4326"),
        "unknown attribute 'crs' of the graph; known: name, directed, multigraph, graph, nodes",
    ),
    "misspelt-key": (
        lambda n, e, g: g.update(direct=True),
        "unknown attribute 'direct' of the graph; did you mean 'directed'?",
    ),
    "half-a-place": (
        lambda n, e, g: n[4].update(x_m=1),
        "gives only one of x_m and y_m of 'rack-0'; give both, or neither",
    ),
    "no-number": (
        lambda n, e, g: e[0].update(distance_m=True),
        "distance_m of the edge 'cam-0' - 'mast-0' must be a finite number, not True; write it",
    ),
    "huge": (
        lambda n, e, g: n[0].update(x_m=10**400, y_m=0),
        "x_m of 'cam-0' must be a finite number, not 1000",
    ),
    "twice": (lambda n, e, g: n.append(n[0]), "has the node 'cam-0' twice; leave one"),
    "no-kind": (
        lambda n, e, g: n[2].pop("kind"),
        "does not say what 'mast-0' is; set its attribute `kind` to base_station",
    ),
    "odd-kind": (
        lambda n, e, g: n[2].update(kind=["tower"]),
        "says 'mast-0' is a ['tower'], the scenario says base_station; set its attribute `kind`",
    ),
    "no-such-node": (
        lambda n, e, g: e.append({"source": "cam-0", "target": "mast-7"}),
        "the edge 'cam-0' - 'mast-7' names 'mast-7', which is no node; add it, or remove both",
    ),
    "unreached": (
        lambda n, e, g: e.pop(1),
        "no edge leads from 'cam-1' to a base station; add an edge 'cam-1' - 'mast-0'",
    ),
    "nothing-behind": (
        lambda n, e, g: e.pop(3),
        "no server stands behind 'mast-1', which 'cam-1' hears; add an edge 'mast-1' - 'rack-0'",
    ),
    "no-length": (
        lambda n, e, g: e[0].pop("distance_m"),
        "does not say how far 'cam-0' is from 'mast-0'; give the edge its distance_m, or 'cam-0'",
    ),
    "two-lists": (
        lambda n, e, g: g.update(links=[]),
        "has 'edges' and 'links', which mean the same; leave one",
    ),
    "no-list": (
        lambda n, e, g: g.update(adjacency=g.pop("edges")),
        "has no list 'edges' or 'links'; its keys are 'directed', 'multigraph', 'graph', 'nodes', "
        "'adjacency'",
    ),
    "numbered": (
        lambda n, e, g: e[0].update(source=0),
        "edges[0]: 'source' must be the name of a node, not 0",
    ),
    "nameless": (
        lambda n, e, g: n[1].pop("id"),
        "nodes[1]: 'id' must be the name of a node",
    ),
    "word-for-boolean": (
        lambda n, e, g: g.update(directed="false"),
        "'directed' is true or false, not 'false'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_topology_cannot_mean_is_refused_with_its_place(what: str, tmp_path: Path) -> None:
    change, text = REFUSED[what]

    (said,) = reported(tmp_path, changed(change))

    assert said.startswith(f"net.json: {text}")


def test_the_base_station_to_add_is_the_one_near_by(tmp_path: Path) -> None:
    graph = changed(lambda n, e, g: e.pop(0))
    for node, at_m in zip(graph["nodes"], (60.0, 100.0, 0.0, 80.0, 0.0), strict=True):
        node |= {"x_m": at_m, "y_m": 0.0}

    (said,) = reported(tmp_path, graph)

    assert said.endswith("; add an edge 'cam-0' - 'mast-1'")


def test_a_relay_is_refused_with_the_edge_that_is_missing(tmp_path: Path) -> None:
    graph = changed(lambda n, e, g: e[3].update(target="mast-0"))

    said = reported(tmp_path, graph)

    assert said == [
        "net.json: the edge 'mast-1' - 'mast-0' joins a base station and a base station: a task "
        "goes by one base station to a server; replace it by an edge 'mast-1' - 'rack-0'",
        "net.json: no server stands behind 'mast-1', which 'cam-1' hears; add an edge 'mast-1' - "
        "'rack-0'",
    ]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('{"nodes": [],\n "edges": [}', "net.json:2: not JSON: Expecting value"),
        ('{"nodes": [{"id": "a", "id": "b"}]}', "net.json: the key 'id' stands twice in one"),
        ("[]", "net.json: a graph is an object with the lists 'nodes' and 'edges'"),
        ('{"nodes": ["cam-0"], "edges": []}', "net.json: nodes[0] is an object, not 'cam-0'"),
        ("[" * 100_000, "net.json: nested too deeply"),
        (b"\xff\xfe{", "net.json: is not UTF-8 text"),
        ("", "net.json:1: not JSON"),
    ],
)
def test_json_that_is_no_graph_is_refused_with_its_line(
    written: str | bytes, text: str, tmp_path: Path
) -> None:
    (said,) = reported(tmp_path, written)

    assert said.startswith(text)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("<graphml>\n<graph>\n</graphml>", ":3: not XML: mismatched tag"),
        ("<graphml/>", ": needs one <graph> in <graphml>; has 0 in <graphml>"),
        ("<gexf/>", ": needs one <graph> in <graphml>; has 0 in <gexf>"),
        (by_hand().replace("</graph>", "</graph><graph/>"), ": needs one <graph>"),
        (by_hand(graph=""), ": has edges that lead one way only: 'cam-0' -> 'mast-0' and 3 more"),
        (by_hand().replace("<edge ", '<edge directed="true" ', 1), ": has edges that lead one way"),
        (by_hand(node="<graph/>"), ": <node> cam-0: <graph> is not read, only <data>; remove it"),
        (by_hand(edge="<port/>"), ": <edge> cam-0 - mast-0: <port> is not read"),
        (by_hand().replace("</graph>", "<hyperedge/></graph>"), ": <hyperedge> is not read"),
        (by_hand(node='<data key="d9">#fff</data>'), ": unknown attribute 'd9' of 'cam-0'; known"),
        (by_hand(node='<data key="k">user</data>'), ": <node> cam-0: 'kind' stands there twice"),
        (by_hand(edge='<data key="loss">.9</data>'), ": unknown attribute 'loss' of the edge 'cam"),
    ],
)
def test_graphml_is_held_to_the_same(written: str, text: str, tmp_path: Path) -> None:
    (said,) = reported(tmp_path, written, "net.graphml")

    assert said.startswith(f"net.graphml{text}")


def test_a_default_of_graphml_is_a_value(tmp_path: Path) -> None:
    declared = '<key id="x" for="node" attr.name="x"><default>4</default></key>'

    (said,) = reported(
        tmp_path, by_hand().replace("<graph ", f"{declared}<graph ", 1), "net.graphml"
    )

    assert said == "net.graphml: unknown attribute 'x' of 'cam-0' and 4 more; did you mean 'x_m'?"


def test_another_ending_is_refused(tmp_path: Path) -> None:
    assert reported(tmp_path, "{}", "net.xml")[0].startswith(
        "net.xml: a topology ends in .graphml or "
    )


@pytest.mark.parametrize("verb", [["check"], ["run", "--runtime", "loop", "--no-dashboard"]])
def test_check_and_run_refuse_alike(verb: list[str], tmp_path: Path) -> None:
    graph = changed(lambda n, e, g: e[0].update(loss=0.9))
    (tmp_path / "net.json").write_text(json.dumps(graph))
    path = tmp_path / "net.yaml"
    path.write_text(SCENARIO)

    ended = CliRunner().invoke(fresco, [verb[0], str(path), *verb[1:]])

    assert ended.exit_code == 2
    assert (
        "net.yaml:11:24: topology.file: net.json: unknown attribute 'loss' of the" in ended.output
    )
    assert not (tmp_path / "runs").exists()
