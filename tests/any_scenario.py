"""Draws scenarios as plain dicts: every access, protocol, topology, arrival, channel and fault.

A draw leans towards what fits together, by the access that it begins with, and now and then does
not: whether it can run is `check`'s to say. Hypothesis makes the same draws of the same seed.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

from conftest import Spec, distribution, scenario, user_group
from hypothesis import strategies as st

from agents.policy import CellPolicy, UserPolicy
from agents.protocols import PROTOCOLS

DURATION_S = 1.5
SCHEDULED = [name for name, each in PROTOCOLS.items() if each.discipline is not None]
SLOTTED = [name for name, each in PROTOCOLS.items() if each.slotted]
UNSLOTTED = [
    name
    for name, each in PROTOCOLS.items()
    if not each.slotted
    and (each.discipline is None or (each.user, each.cell) != (UserPolicy, CellPolicy))
]
OPTIONS: dict[str, list[Spec]] = {
    "random": [{"weights": "equal"}],
    "fixed-rate": [{"rate_hz": 0.5}, {"rate_hz": 100.0}],
    "popec": [{"quorum": 0.5, "censor": 0.1}, {"measure": False}, {"relaxation": 1.0}],
    "popec-async": [{"quorum": 1.0, "keep_s": 0.1}, {"measure": False}, {"dead_s": 0.05}],
    "max-weight": [{"effort": effort} for effort in (0, 5)],
    "todg": [
        {"V": 2.0, "guarantee": "watchdog"},
        {"V": 1.0},
        {"effort": 0},
        {"effort": 5},
        {"mode": "hol", "admission": False},
    ],
}
CHANCE = st.sampled_from([0.0, 0.1, 0.5, 1.0])
NETWORKS = ("digits-xs", "digits-s", "digits-m")
OTHERS = (
    "noisy-s",
    "scenes-xs",
    "cifar100-s",
    "digits-unknown",
)  # no answers to the same questions
RARELY = st.sampled_from([False] * 15 + [True])


def inputs(folder: Path) -> None:
    """Writes the recorded inputs that scenarios refer to."""
    (folder / "arrivals.txt").write_text("0.1\n0.10001\n0.5\n0.9\n1.499\n")
    (folder / "late.txt").write_text("7\n8\n")
    (folder / "channel.csv").write_text("t_s,success,rate_bps\n0,1,1e6\n0.3,0.2,1e5\n0.7,0,1e6\n")


def kinds(*choices: dict[str, Any]) -> st.SearchStrategy[Spec]:
    """Draws one of several dicts whose values are strategies or constants."""
    return st.one_of(
        *(
            st.fixed_dictionaries(
                {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in each.items()}
            )
            for each in choices
        )
    )


def mostly(draw: st.DrawFn, fitting: Any, other: Any) -> Any:
    """Draws what fits, and now and then something else."""
    return draw(other if draw(RARELY) else fitting)


def distributions() -> st.SearchStrategy[Spec]:
    return st.one_of(
        st.builds(distribution, st.sampled_from(["deterministic", "exponential"]), st.just(0.02)),
        st.builds(
            distribution, st.sampled_from(["gamma", "lognormal"]), st.just(0.05), st.just(0.5)
        ),
        st.builds(distribution, st.just("hyperexponential"), st.just(0.05), st.just(4.0)),
    )


@st.composite
def accelerators(draw: st.DrawFn, scheduled: bool) -> Spec:
    """Draws what serves; live inference takes the times of its trace in virtual time."""
    kind = draw(st.sampled_from(["fitted"] * 5 + ["replay", "replay", "live"]))
    if kind == "fitted":
        short = st.builds(
            distribution, st.sampled_from(["deterministic", "exponential"]), st.just(0.004)
        )
        return {"kind": kind, "service": draw(short if scheduled else distributions())}
    networks = st.sampled_from(OTHERS if draw(RARELY) else NETWORKS)
    batch_max = draw(st.integers(1, 8))
    students = draw(st.lists(networks, max_size=2))
    return {"kind": kind, "model": draw(networks), "students": students, "batch_max": batch_max}


@st.composite
def devices(draw: st.DrawFn, scheduled: bool) -> Spec:
    thermal = {"slowdown": 3.0, "time_s": 0.5}
    if draw(RARELY):
        return {"device": draw(st.sampled_from(["raspberry", "jetson", "rack"]))}
    return {
        "accelerator": draw(accelerators(scheduled)),
        "speed": draw(st.sampled_from([1.0, 1.0, 0.2, 8.0])),
        "queue_len_max": draw(st.sampled_from([1, 2, 100])),
        "thermal": draw(st.sampled_from([None, None, thermal])),
    }


def arrivals(folder: Path) -> st.SearchStrategy[Spec]:
    return kinds(
        {"kind": "poisson", "rate_hz": st.sampled_from([1.0, 20.0])},
        {"kind": "periodic", "period_s": st.sampled_from([0.05, 0.5])},
        {"kind": "at-will", "wait_s": st.sampled_from([0.01, 0.1]), "timeout_s": 0.2},
        {"kind": "trace", "file": str(folder / "arrivals.txt")},
        {"kind": "trace", "file": str(folder / "late.txt")},
    )


def channels(folder: Path) -> st.SearchStrategy[Spec]:
    return kinds(
        {"kind": "ideal", "delay_s": 0.001},
        {"kind": "bernoulli", "loss": CHANCE, "rate_bps": 1.0e6},
        {"kind": "bernoulli", "loss": CHANCE, "airtime": distributions()},
        {
            "kind": "gilbert-elliott",
            "p": CHANCE,
            "r": st.sampled_from([0.1, 1.0]),
            "rate_bps": 1.0e5,
        },
        {
            "kind": "gilbert-elliott",
            "p": 0.2,
            "r": CHANCE,
            "loss_bad": 0.9,
            "airtime": distributions(),
        },
        {"kind": "rayleigh", "snr_db": st.sampled_from([-40.0, 0.0, 30.0])},
        {"kind": "trace", "file": str(folder / "channel.csv")},
    )


def adaptive(grant_s: float) -> st.SearchStrategy[Spec]:
    return kinds(
        {
            "kind": "adaptive",
            "snr_db": st.sampled_from([-40.0, 0.0, 20.0]),
            "coherence_s": grant_s,
        }
    )


def selectors(world: Spec, *roles: str, links: bool = False) -> st.SearchStrategy[str]:
    """Draws whom a fault means: nodes of some roles, mostly; one in many means nobody."""
    groups = [group for role in roles for group in world[role]]
    names = [f"{group['name']}-{n}" for group in groups for n in range(group["count"])]
    many = [f"{group['name']}-*" for group in groups] + [f"group:{g['name']}" for g in groups]
    wide = ["*", "*,!edge-0", "area:0,-100,600,600", "priority:0", "mast-*", "nobody-0"]
    pairs = [f"{user}->bs-*" for user in names[:2]] + ["bs-0->edge-0", "edge-0->*", "bs-0->bs-1"]
    return st.sampled_from(3 * (names + many) + wide + (pairs if links else []))


def faults(world: Spec) -> st.SearchStrategy[Spec]:
    """Draws a fault of any type, with what says whom, when, how long and how many."""
    plain = (
        {"type": "blackout"},
        {"type": "loss", "p": CHANCE},
        {"type": "loss", "p": CHANCE, "correlation": 0.8, "ramp_s": 0.2},
        {"type": "corrupt", "p": CHANCE},
        {"type": "burst_loss", "loss": 0.4, "burst_length": 3.0},
        {"type": "delay", "delay_s": 0.05, "jitter_s": st.sampled_from([0.0, 0.2])},
        {"type": "delay", "delay_s": 0.05, "jitter_s": 0.05, "distribution": "pareto"},
        {"type": "rate", "rate_bps": 1.0e4},
        {"type": "duplicate", "p": CHANCE},
        {"type": "reorder", "p": CHANCE, "delay_s": 0.1},
    )
    fading = (
        {"type": "fading", "depth_db": 10.0, "ramp_s": 0.2},
        {"type": "shadowing", "sigma_db": 8.0},
    )
    messages = (
        {"type": "message_drop", "message": "*", "p": CHANCE},
        {"type": "message_drop", "message": st.sampled_from(["beacon", "board", "request,grant"])},
        {"type": "message_delay", "message": st.sampled_from(["*", "ask"]), "delay_s": 0.05},
    )
    when = {
        "at_s": st.sampled_from([0.0, 0.4, 0.7, 9.0]),
        "for_s": st.sampled_from([None, 0.3, 0.8]),
    }
    how = {"direction": st.sampled_from(["both", "both", "up", "down"])}
    every = ("users", "base_stations", "servers")
    on_links = {"target": selectors(world, *every, links=True)}
    of_links = {
        **when,
        **how,
        **on_links,
        "only": st.sampled_from([None, None, "tasks", "control"]),
    }
    some, user, cell, server = (
        {**when, "target": selectors(world, *roles)}
        for roles in (every, every[:1], every[1:2], every[2:])
    )
    sides = st.lists(selectors(world, *every), min_size=1, max_size=2)
    again = {"at_s": 0.1, "for_s": 0.1, "every_s": 0.3, "probability": 0.6}
    fades = any(
        (world[key] or {}).get("kind") in ("rayleigh", "adaptive")
        for key in ("channel", "downlink")
    )
    swapped = {"type": "model_swap", "model": st.sampled_from((*NETWORKS, *OTHERS))}
    factor = st.sampled_from([0.2, 10.0])
    offset = {
        "offset_s": st.sampled_from([-5.0, -0.01, 0.3, 5.0]),
        "drift_ppm": st.sampled_from([-1e4, 0.0, 1e5]),
    }
    churn = {
        "leave_rate_hz": st.sampled_from([None, 2.0, 50.0]),
        "join_rate_hz": st.sampled_from([0.0, 2.0, 50.0]),
    }
    on_links_only = [{**of_links, **each} for each in plain]
    if fades:
        on_links_only += [{**of_links, **each} for each in fading]
    return kinds(
        *on_links_only,
        {**of_links, **fading[0]},
        *({**when, **how, **on_links, **each} for each in messages),
        {**again, "type": "blackout", **on_links, "mode": "one"},
        {**again, "type": "duplicate", "p": 1.0, **on_links, "mode": "percent", "value": 50.0},
        {**again, "type": "loss", "p": 1.0, **on_links, "mode": "fixed", "value": 2.0},
        {**how, **some, "type": "interference", "rise_db": 10.0},
        {**when, **how, "type": "partition", "a": sides, "b": sides},
        {**cell, "type": "channel_loss", "channels": st.sampled_from([[0], [1, 0]])},
        {**server, "type": "server_pause"},
        {**some, "type": "server_slowdown", "factor": factor},
        {**server, "type": "server_crash"},
        {**server, **again, "type": "server_crash"},
        {**server, **swapped},
        {**cell, "type": "bs_outage", "handover": st.sampled_from(["none", "nearest"])},
        {**some, "type": "clock_skew", **offset},
        {**user, "type": "user_churn", **churn},
        {**user, "type": "arrival_burst", "factor": factor},
        {**user, "type": "actor_kill"},
    )


def base_stations(draw: st.DrawFn, access: str) -> list[Spec]:
    """Draws one or two groups; what is scheduled shares one schedule."""
    groups = []
    names = draw(st.sampled_from([("bs",), ("bs",), ("bs", "mast")]))
    grant_s = 0.05 if access == "scheduled" else draw(st.sampled_from([0.02, 0.1]))
    count = st.sampled_from([1, 2])
    for name in names:
        kind = mostly(draw, st.just(access), st.sampled_from(["dedicated", "slotted", "granted"]))
        shared: Spec = {} if kind == "dedicated" else {"channels": 2, "grant_s": grant_s}
        if shared and kind != "scheduled":
            shared["channels"] = draw(st.integers(1, 3))
        groups.append({"name": name, "count": draw(count), "access": kind, **shared})
    return groups


def names_of(groups: list[Spec]) -> list[str]:
    return [f"{g['name']}-{n}" for g in groups for n in range(g.get("count", 1))]


@st.composite
def topologies(draw: st.DrawFn, folder: Path, world: Spec) -> Spec:
    """Draws a generated topology, or one in a file of any edges that may join its nodes."""
    hear_m = draw(st.sampled_from([0.0, 150.0, 1000.0]))
    if draw(st.booleans()):
        generated = {
            "kind": "generated",
            "hear_m": hear_m,
            "area_m": draw(st.sampled_from([30.0, 200.0, 500.0, 5000.0])),
            "cells_per_user": draw(st.integers(1, 4)),
        }
        servers_per_cell = draw(st.sampled_from([None, 1, 2]))
        return generated | (
            {} if servers_per_cell is None else {"servers_per_cell": servers_per_cell}
        )
    users, cells, servers = (names_of(world[k]) for k in ("users", "base_stations", "servers"))
    place = st.sampled_from([0.0, 50.0, 130.0, 400.0])
    nodes = [
        {"id": name, "kind": kind, "x_m": draw(place), "y_m": draw(place)}
        for kind, names in (("user", users), ("base_station", cells), ("server", servers))
        for name in names
    ]
    density = draw(st.sampled_from([0, 2, 5, 9]))  # in how many of ten pairs a link is missing
    edges: list[Spec] = []
    for (left, right), radio in (
        *((pair, True) for pair in product(users, cells)),
        *((pair, False) for pair in product(cells, servers)),
    ):
        first = right == cells[0] if radio else right == servers[0]
        if draw(st.sampled_from(range(10))) < density and not (first and not draw(RARELY)):
            continue
        edge: Spec = {"source": left, "target": right}
        if draw(st.booleans()):
            edge["distance_m" if radio else "delay_s"] = 60.0 if radio else 0.0015
        edges.append(edge)
    graph = {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "edges": edges}
    if draw(st.booleans()):
        import networkx as nx

        file = folder / "net.graphml"
        nx.write_graphml(nx.node_link_graph(graph, edges="edges"), file)
    else:
        file = folder / "net.json"
        file.write_text(json.dumps(graph))
    return {"kind": "file", "file": str(file), "hear_m": hear_m}


@st.composite
def scenarios(draw: st.DrawFn, folder: Path) -> Spec:
    """Draws a scenario of up to two groups of users, of cells and of servers."""
    access = draw(st.sampled_from(["dedicated", "contention", "granted", "slotted", "scheduled"]))
    on_slots, scheduled = access == "slotted", access == "scheduled"
    fitting = {"slotted": SLOTTED + UNSLOTTED, "scheduled": SCHEDULED}.get(access, UNSLOTTED)
    kind = mostly(draw, st.sampled_from(fitting), st.sampled_from(sorted(PROTOCOLS)))
    options = draw(st.sampled_from([{}, *OPTIONS.get(kind, [])]))
    on_grant = on_slots and (PROTOCOLS[kind].slotted or draw(st.booleans()))
    queue_len_max = st.sampled_from([1, 2, 100])
    asked = kinds(
        {"kind": "poisson", "rate_hz": st.sampled_from([1.0, 20.0])},
        {"kind": "periodic", "period_s": st.sampled_from([0.05, 0.5])},
        {"kind": "trace", "file": str(folder / "arrivals.txt")},
    )
    usual = st.just({"kind": "on-grant"}) if on_grant else asked if scheduled else arrivals(folder)
    deadline = st.sampled_from([1.0, 2.0] if scheduled else [None, 0.03, 0.3])

    def cpu() -> Spec | None:
        needed = PROTOCOLS[kind].local or draw(st.sampled_from([False, False, False, True]))
        return draw(devices(scheduled)) if needed else None

    servers = [
        {"name": name, "count": draw(st.integers(1, 3)), **draw(devices(scheduled))}
        for name in draw(st.sampled_from([("edge",), ("edge", "rack")]))
    ]
    all_fitted = all(each.get("accelerator", {}).get("kind") == "fitted" for each in servers)
    works = st.sampled_from([1.0, 2.0] if all_fitted else [1.0])

    users = [
        user_group(
            name=name,
            count=draw(st.integers(1, 3)),
            priority=draw(st.integers(0, 2)),
            weight=draw(st.sampled_from([1.0, 4.0])),
            value=draw(st.sampled_from([1.0, 3.0])),
            work=draw(works),
            arrival=mostly(draw, usual, arrivals(folder)),
            input_bits=draw(st.sampled_from([1.0e3, 1.0e4, 2.0e4])),
            deadline_s=draw(deadline),
            drop_late=draw(st.booleans()),
            queue_len_max=draw(queue_len_max),
            cpu=cpu(),
        )
        for name in draw(st.sampled_from([("phone",), ("phone", "camera")]))
    ]
    cells = base_stations(draw, access)
    grant_s = cells[0].get("grant_s", 0.05)
    any_channel = channels(folder)
    fits = kinds(
        {"kind": "bernoulli", "loss": CHANCE, "rate_bps": 4.0e6},
        {"kind": "gilbert-elliott", "p": CHANCE, "r": 0.5, "rate_bps": 4.0e6},
        {"kind": "rayleigh", "snr_db": st.sampled_from([0.0, 30.0])},
        {"kind": "ideal", "delay_s": 0.001},
    )
    channel = mostly(
        draw, adaptive(grant_s) if scheduled else fits if on_slots else any_channel, any_channel
    )
    once = on_grant or scheduled
    attempts = 1 if once else draw(st.integers(1, 4))
    control = st.none() | st.fixed_dictionaries(
        {
            "channel": any_channel,
            "resend": st.just({"attempts_max": 2}),
            "gather_s": st.sampled_from([None, 0.0, 0.002]),
        }
    )
    if scheduled:
        control = st.just({"channel": {"kind": "ideal", "delay_s": 0.001}}) | kinds(
            {"channel": any_channel}
        )
    world = scenario(
        seed=draw(st.integers(0, 2**32)),
        duration_s=DURATION_S,
        warmup_s=draw(st.sampled_from([0.0, 0.0, 0.5, 1.4])),
        protocol={"kind": kind, **options},
        users=users,
        base_stations=cells,
        servers=servers,
        channel=channel,
        downlink=draw(any_channel) if scheduled else draw(st.none() | any_channel),
        control=draw(control),
        resend={"attempts_max": mostly(draw, st.just(attempts), st.just(2)), "ack_s": 0.001},
        backhaul={
            "delay_s": draw(st.sampled_from([0.0, 0.0004])),
            "loss": draw(st.sampled_from([0.0, 0.0, 0.1, 1.0])),
        },
        expect=draw(
            st.sampled_from([[], [], [{"metric": "accuracy", "of": "phone", "above": 0.5}]])
        ),
    )
    world["topology"] = draw(topologies(folder, world))
    number = draw(st.sampled_from([0, 0, 1, 1, 2, 3]))
    world["faults"] = [draw(faults(world)) for _ in range(number)]
    return world
