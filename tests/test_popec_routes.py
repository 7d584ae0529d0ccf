"""Rates along paths: not every base station leads to every server, nor equally fast.

The user's step and the flows it acts on against scipy, formulated path by path; the negotiation
against an optimum that is found here over plain path rates; and whole runs, where prediction and
measurement have to agree. Networks: two cells with a server each, and chains, in which server i
stands behind cells i and i + 1 and every user hears two neighbouring cells.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Played, Spec, distribution, perform, scenario, server_group, user_group
from scipy.optimize import linprog, minimize

from agents.freshness import Floats
from agents.messages import TaskEnd
from agents.policy import Cell, Reach, UserView
from agents.popec.allotment import AllottedUser
from agents.popec.fractional import Edges, penalty, user_step
from agents.popec.path_step import PATH_ITERATIONS_MAX, path_step
from agents.popec.routes import Routes
from agents.popec.user import NegotiatingUser
from agents.protocols import PROTOCOLS
from agents.reference.optimum import optimum
from agents.reference.problem import weighted_paoi_s
from agents.tasks import Task
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.build.problem import Whole, whole_of
from emulator.results.journal import Readings
from emulator.scenario.schema import Scenario
from emulator.streams import Streams
from tests.popec_reference import is_feasible, scattered

# The user's own step


class Given(NamedTuple):
    """What `path_step` takes, in its order, less its start."""

    weight: float
    rate_max_hz: float
    success: list[float]
    targets_hz: Edges
    penalties: Edges
    costs: list[float]
    routes: Routes


def draw_routes(rng: np.random.Generator, leads: float, is_even: bool) -> Routes:
    """Draws up to four cells and five servers, joined with that probability."""
    cells = [f"bs-{b}" for b in range(rng.integers(1, 5))]
    servers = [f"edge-{m}" for m in range(rng.integers(1, 6))]
    pairs = [(bs, m) for bs in cells for m in servers if rng.random() < leads]
    pairs = pairs or [(cells[0], servers[0])]
    return Routes(cells, servers, {p: 0.002 if is_even else rng.uniform(0.0, 0.1) for p in pairs})


def draw_user(rng: np.random.Generator, routes: Routes, cells: int, servers: int) -> Given:
    """Draws a user whose targets scatter so widely that many paths close."""
    weight, rate_hz = float(rng.choice([1.0, 2.0, 4.0])), float(10.0 ** rng.uniform(-0.5, 1.2))
    success = rng.uniform(0.15, 1.0, cells).tolist()
    rho = penalty(weight, rate_hz)
    beyond = rng.normal(0.0, 0.1, servers)
    return Given(
        weight,
        float(rng.choice([30.0, rate_hz, 0.5 * rate_hz])),
        success,
        Edges(
            rng.normal(rate_hz / cells, rate_hz, cells).tolist(),
            rng.normal(rate_hz / servers, rate_hz, servers).tolist(),
        ),
        Edges([rho * p * p for p in success], [rho] * servers),
        [
            weight / rate_hz * (delay_s + beyond[m])
            for (_, m), delay_s in zip(routes.paths, routes.delays_s, strict=True)
        ],
        routes,
    )


def sizes(routes: Routes) -> tuple[int, int]:
    sums = routes.sums([0.0] * len(routes.paths))
    return len(sums.cells), len(sums.servers)


def user_cost(given: Given, unit_hz: float) -> Callable[[Floats], float]:
    """Returns the user's objective by path rates in units of `unit_hz`, and of w / L there."""
    cells, servers = sizes(given.routes)
    radio = np.array([[b == k for b, _ in given.routes.paths] for k in range(cells)])
    tasks = np.array([[m == k for _, m in given.routes.paths] for k in range(servers)])
    rho = np.array(given.penalties.cells + given.penalties.servers)
    sums = np.concatenate([radio / np.array(given.success)[:, None], tasks])
    targets_hz = np.array(given.targets_hz.cells + given.targets_hz.servers)

    def cost(z: Floats) -> float:
        rates_hz = z * unit_hz
        value = given.weight / rates_hz.sum() + given.costs @ rates_hz
        value += 0.5 * rho @ (sums @ rates_hz - targets_hz) ** 2
        return float(value * unit_hz / given.weight)

    return cost


@pytest.mark.parametrize("leads", [0.5, 0.95])
def test_the_step_along_paths_is_the_minimum_that_scipy_finds(leads: float) -> None:
    rng = np.random.default_rng(round(100 * leads))
    capped = Counter[bool]()
    for _ in range(60):
        routes = draw_routes(rng, leads, is_even=False)
        given = draw_user(rng, routes, *sizes(routes))
        nothing = [0.0] * len(routes.paths)

        rates_hz, found = path_step(*given, nothing)
        nearby = [hz * rng.uniform(0.5, 2.0) * rng.integers(2) for hz in rates_hz]
        again_hz, again = path_step(*given, nearby)

        cost = user_cost(given, found.rate_hz)
        most = given.rate_max_hz / found.rate_hz
        done = minimize(
            cost,
            np.full(len(nothing), min(1.0, most) / len(nothing)),
            jac="3-point",
            method="SLSQP",
            bounds=[(0.0, None)] * len(nothing),
            constraints=[{"type": "ineq", "fun": lambda z, most=most: most - z.sum()}],
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert min(rates_hz) >= 0.0
        assert sum(rates_hz) <= given.rate_max_hz * (1.0 + 1e-12)
        # SLSQP ends some 1e-9 above the minimum, never below.
        assert cost(np.array(rates_hz) / found.rate_hz) <= done.fun + 1e-10
        # Sums are unique, of rates in a circle only one answer of many is found.
        one, other = routes.sums(rates_hz), routes.sums(again_hz)
        np.testing.assert_allclose(one.cells, other.cells, atol=1e-8 * found.rate_hz)
        np.testing.assert_allclose(one.servers, other.servers, atol=1e-8 * found.rate_hz)
        assert max(found.iterations, again.iterations) < PATH_ITERATIONS_MAX / 4
        capped[found.capped] += 1
    assert min(capped[True], capped[False]) > 0


def test_where_all_lead_everywhere_it_is_the_root_of_one_number() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        routes = draw_routes(rng, 1.0, is_even=True)
        assert routes.is_free
        given = draw_user(rng, routes, *sizes(routes))
        by_edge = Edges([0.0] * len(given.success), given.costs[: sizes(routes)[1]])

        rates_hz, found = path_step(*given, [0.0] * len(routes.paths))
        copies_hz, expected = user_step(*given[:5], by_edge)

        sums_hz = routes.sums(rates_hz)
        scale_hz = 1e-9 * expected.rate_hz
        assert found.rate_hz == pytest.approx(expected.rate_hz, rel=1e-9)
        np.testing.assert_allclose(sums_hz.servers, copies_hz.servers, atol=scale_hz)
        radio_hz = np.array(copies_hz.cells) * given.success
        np.testing.assert_allclose(sums_hz.cells, radio_hz, atol=scale_hz)


def test_a_user_without_a_path_has_no_step() -> None:
    nowhere = Routes(["bs-0"], ["edge-0"], {})

    with pytest.raises(ValueError, match="leads to a server"):
        path_step(1.0, 30.0, [0.9], *[Edges([1.0], [1.0])] * 2, [], nowhere, [])


# What is done with shares


@pytest.mark.parametrize("is_even", [True, False])
def test_shares_are_used_as_a_linear_program_would(is_even: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        routes = draw_routes(rng, 0.6, is_even)
        cells, servers = sizes(routes)
        supplies_hz = rng.uniform(0.0, 1.0, cells) * (rng.random(cells) < 0.8)
        demands_hz = rng.uniform(0.0, 1.0, servers) * (rng.random(servers) < 0.8)
        ways = [
            [end[side] == k for end in routes.paths]
            for side, count in enumerate((cells, servers))
            for k in range(count)
        ]
        limits_hz = np.concatenate([supplies_hz, demands_hz])
        delays_s = np.array(routes.delays_s)

        rates_hz = routes.fit(supplies_hz.tolist(), demands_hz.tolist(), routes.delays_s)

        # A task is worth more than any way could cost: the most tasks first, then the least delay.
        best = linprog(delays_s - 10.0, A_ub=np.array(ways, dtype=float), b_ub=limits_hz)
        assert min(rates_hz) >= 0.0
        assert (np.array(ways) @ rates_hz <= limits_hz + 1e-12).all()
        worth = delays_s - 10.0
        if routes.is_free:  # both sides are used in proportion, whatever is quick
            worth = np.full_like(worth, -10.0)
            best = linprog(worth, A_ub=np.array(ways, dtype=float), b_ub=limits_hz)
        assert worth @ rates_hz == pytest.approx(best.fun, abs=1e-9)


REACHES = {
    name: Reach(name, delay_s, 1.0, mean_s, 2.0 * mean_s**2)
    for name, delay_s, mean_s in (
        ("left", 0.001, 0.02),
        ("both", 0.004, 0.01),
        ("right", 0.0, 0.03),
    )
}


def view_of_three(**allotment: float) -> UserView:
    """A user between two cells that share one server and have another each."""
    cells = [
        Cell(bs, 10.0, "slotted", tuple(REACHES[name] for name in behind), 0.5, 0.02)
        for bs, behind in (("bs-0", ("left", "both")), ("bs-1", ("both", "right")))
    ]
    return UserView(
        "user-0", cells, allotment={k.replace("_", "-"): v for k, v in allotment.items()}
    )


def a_task(seq: int) -> Task:
    return Task("user-0", seq, 0.0, 0, 1000.0, 0, math.inf, False, 1.0)


def test_servers_are_drawn_behind_the_cell_that_granted_and_in_proportion() -> None:
    # bs-0 delivers 3 a second and bs-1 4; only 2 + 1 and 2 + 1.5 of it fit.
    view = view_of_three(bs_0=6.0, bs_1=8.0, left=2.0, both=3.0, right=1.5)
    user = AllottedUser(view, Streams(5).uniform("lots"), PROTOCOLS["random"].options())
    count = 20_000

    drawn = {
        bs: Counter(user.place(a_task(seq), 0.0, bs) for seq in range(count))
        for bs in ("bs-0", "bs-1", None)
    }

    assert user.rate_hz == pytest.approx(6.5)
    wanted = sum(user.wants("bs-1", 0.0) for _ in range(count)) / count
    assert user.wants("bs-0", 0.0)
    expected = {
        "bs-0": {("bs-0", "left"): 2.0 / 3.0, ("bs-0", "both"): 1.0 / 3.0},
        "bs-1": {("bs-1", "both"): 2.0 / 3.5, ("bs-1", "right"): 1.5 / 3.5},
        None: {("bs-0", "left"): 2.0, ("bs-0", "both"): 1.0, ("bs-1", "both"): 2.0}
        | {("bs-1", "right"): 1.5},
    }
    # Five standard errors of a share of 20,000 draws: below 0.018.
    assert wanted == pytest.approx(3.5 / 4.0, abs=0.018)
    for bs, seen in drawn.items():
        total = sum(expected[bs].values())
        assert {(p.bs, p.server) for p in seen} == expected[bs].keys()
        for placement, times in seen.items():
            share = expected[bs][placement.bs, placement.server or ""] / total
            assert times / count == pytest.approx(share, abs=0.018)


@pytest.mark.parametrize("kind", ["random", "round-robin"])
def test_rules_that_do_not_plan_also_draw_behind_the_cell_that_granted(kind: str) -> None:
    protocol = PROTOCOLS[kind]
    policy = protocol.user(view_of_three(), Streams(5).uniform("lots"), protocol.options())

    for bs, behind in (("bs-0", {"left", "both"}), ("bs-1", {"both", "right"})):
        placed = [policy.place(a_task(seq), 0.0, bs) for seq in range(50)]

        assert {p.bs for p in placed if p is not None} == {bs}
        assert {p.server for p in placed if p is not None} == behind


def test_the_predicted_peak_age_is_that_of_the_paths_in_use() -> None:
    # 1.5 + 1 through bs-0 and 1.25 + 0.5 through bs-1, each with the backhaul of its own cell.
    view = view_of_three(bs_0=5.0, bs_1=3.5, left=1.5, both=2.25, right=0.5)
    options = PROTOCOLS["popec"].options()
    user = NegotiatingUser(view, Streams(5).uniform("lots"), options)

    delays_s = [0.001 + 0.02, 0.004 + 0.01, 0.004 + 0.01, 0.03]
    rates_hz = [1.5, 1.0, 1.25, 0.5]
    expected_s = 1.0 / 4.25 + 0.02 + np.dot(rates_hz, delays_s) / 4.25
    assert user.paoi_s() == pytest.approx(expected_s)


# Whole networks

SLOT_S = 0.02
WARMUP_S = 5.0
FOLDER = Path(mkdtemp(prefix="fresco-test-"))


def network(kind: str, seed: int, duration_s: float, servers: Sequence[Spec], **more: Any) -> Spec:
    """Slotted cells over which a tenth is lost; 5 ms of control delay keep rounds few."""
    return (
        scenario(
            seed=seed,
            duration_s=duration_s,
            warmup_s=WARMUP_S,
            protocol={"kind": kind},
            servers=list(servers),
            channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 2.0e6},
            downlink={"kind": "ideal"},
            resend={"attempts_max": 1},
            control={"channel": {"kind": "ideal", "delay_s": 0.005}},
            backhaul={"delay_s": 0.002},
        )
        | more
    )


def group(name: str, count: int, **changes: Any) -> Spec:
    return user_group(
        name=name, count=count, arrival={"kind": "on-grant"}, input_bits=2.0e4, **changes
    )


def cells(count: int) -> list[Spec]:
    return [{"name": "bs", "count": count, "access": "slotted", "channels": 1, "grant_s": SLOT_S}]


def two_cells(kind: str, seed: int = 1, duration_s: float = 60.0) -> Spec:
    """A slow server behind one cell, a fast one behind the other: users hear both cells."""
    return network(
        kind,
        seed,
        duration_s,
        [
            server_group(distribution("exponential", 0.05), name="slow"),
            server_group(distribution("exponential", 0.01), name="fast"),
        ],
        users=[group("u", 4)],
        base_stations=cells(2),
        topology={"kind": "generated", "servers_per_cell": 1},
    )


def chain_file(length: int) -> str:
    """Writes a chain; a server is 2 ms from its cell and 8 ms from the next."""
    nodes: list[Spec] = []
    edges: list[Spec] = []
    for i in range(length):
        nodes.append({"id": f"bs-{i}", "kind": "base_station", "x_m": 200.0 * i, "y_m": 0.0})
        nodes.append({"id": f"edge-{i}", "kind": "server", "x_m": 200.0 * i, "y_m": -40.0})
        edges.append({"source": f"bs-{i}", "target": f"edge-{i}", "delay_s": 0.002})
        if i:
            edges.append({"source": f"bs-{i}", "target": f"edge-{i - 1}", "delay_s": 0.008})
    for i in range(length - 1):
        for name in (f"urgent-{i}", *(f"normal-{k}" for k in range(3 * i, 3 * i + 3))):
            x_m = 200.0 * i + 50.0 * len(nodes) % 200.0
            nodes.append({"id": name, "kind": "user", "x_m": x_m, "y_m": 20.0})
            edges += [{"source": name, "target": f"bs-{near}"} for near in (i, i + 1)]
    path = FOLDER / f"chain-{length}.json"
    graph = {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "edges": edges}
    path.write_text(json.dumps(graph))
    return str(path)


def chain(length: int, kind: str, seed: int = 1, duration_s: float = 60.0) -> Spec:
    return network(
        kind,
        seed,
        duration_s,
        [server_group(distribution("gamma", 0.04, 0.25), name="edge", count=length)],
        users=[
            group("urgent", length - 1, priority=0, weight=4.0),
            group("normal", 3 * length - 3, priority=1, weight=1.0),
        ],
        base_stations=cells(length),
        topology={"kind": "file", "file": chain_file(length)},
    )


def near_servers(reached: int, kind: str, seed: int = 1, duration_s: float = 60.0) -> Spec:
    """Three cells of twelve users, each with its nearest of three servers of three speeds."""
    return network(
        kind,
        seed,
        duration_s,
        [
            server_group(distribution("gamma", 0.02, 0.25), name="gpu"),
            server_group(distribution("exponential", 0.04), name="cpu"),
            server_group(distribution("deterministic", 0.012), name="npu"),
        ],
        users=[
            group("urgent", 4, priority=0, weight=4.0),
            group("normal", 8, priority=1, weight=1.0),
        ],
        base_stations=cells(3),
        topology={"kind": "generated", "area_m": 400.0, "servers_per_cell": reached},
    )


NETWORKS = {
    "two cells": two_cells,
    "chain of three": partial(chain, 3),
    "chain of five": partial(chain, 5),
    "one server per cell": partial(near_servers, 1),
    "two servers per cell": partial(near_servers, 2),
}
PLANNED = ("static-optimum", "priority-agnostic")
NEGOTIATED = ("popec", "popec-async")


def best_along_paths_s(whole: Whole, starts: int = 3) -> float:
    """Minimises the weighted peak age over naive path rates, by SLSQP from random starts."""
    problem = whole.problem
    paths = [
        (n, b, m)
        for n, row in enumerate(problem.success)
        for b, p in enumerate(row)
        for m in range(len(whole.servers))
        if p > 0.0 and np.isfinite(problem.backhaul_delay_s[b, m])
    ]
    user, cell, server = np.array(paths).T
    classes = problem.priorities[user]
    sent = 1.0 / problem.success[user, cell]

    def objective(q: Floats) -> float:
        delay_s = problem.backhaul_delay_s[cell, server] + problem.mean_s[server, classes]
        for m in range(len(whole.servers)):
            here = server == m
            residual_s = 0.5 * (q * problem.second_moment_s2[server, classes])[here].sum()
            for k in range(problem.mean_s.shape[1]):
                load = q * problem.mean_s[server, classes] * here
                urgent, upto = load[classes < k].sum(), load[classes <= k].sum()
                delay_s[here & (classes == k)] += residual_s / ((1.0 - urgent) * (1.0 - upto))
        rates_hz = np.bincount(user, q)
        ages_s = (1.0 + np.bincount(user, q * delay_s)) / rates_hz + problem.slot_s
        return float(problem.weights @ ages_s)

    use = np.array([sent * (cell == b) for b in range(len(problem.capacity_hz))])
    load = np.array(
        [problem.mean_s[server, classes] * (server == m) for m in range(len(whole.servers))]
    )
    found = []
    for seed in range(starts):
        start = np.random.default_rng(seed).uniform(0.5, 1.5, len(paths))
        start *= min((problem.capacity_hz / (use @ start)).min(), (0.7 / (load @ start)).min())
        done = minimize(
            objective,
            start,
            jac="3-point",
            method="SLSQP",
            bounds=[(0.0, 30.0)] * len(paths),
            constraints=[
                {
                    "type": "ineq",
                    "fun": lambda q: problem.capacity_hz - use @ q,
                    "jac": lambda q: -use,
                },
                {"type": "ineq", "fun": lambda q: 0.97 - load @ q, "jac": lambda q: -load},
            ],
            options={"ftol": 1e-11, "maxiter": 300},
        )
        found.append(float(done.fun))
    return min(found)


@pytest.mark.parametrize("name", ["two cells", "chain of three"])
def test_the_oracle_agrees_with_naive_path_rates(name: str) -> None:
    whole = whole_of(plan(Scenario.model_validate(NETWORKS[name]("popec")), stopwatch=False))

    # Not convex: from an even start four equal users stay equal, which is 0.3 % from the best.
    best, best_s = optimum(whole.problem, [scattered(whole.problem, seed) for seed in (1, 2)])

    assert is_feasible(whole.problem, best)
    # Differences as slopes leave SLSQP some 1e-5 short.
    assert best_s == pytest.approx(best_along_paths_s(whole), rel=1e-4)


@pytest.mark.parametrize("kind", NEGOTIATED)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_negotiation_finds_the_optimum_along_paths(name: str, kind: str) -> None:
    spec = NETWORKS[name](kind) | {"protocol": {"kind": kind, "measure": False}}
    planned = plan(Scenario.model_validate(spec), stopwatch=False)
    whole = whole_of(planned)
    best_s = optimum(whole.problem)[1]
    kernel = assemble(planned, planned.names)
    policies = [node.policy for node in kernel.nodes.values()]  # type: ignore[attr-defined]
    users = [policy for policy in policies if isinstance(policy, NegotiatingUser)]
    kernel.start()

    kernel.run_until(6.0)

    given = {user.view.name: user.grants_hz | user.splits_hz for user in users}
    value_s = weighted_paoi_s(whole.problem, whole.allocation(given))
    # As on networks where all lead everywhere: 0.2 % in the end, 1e-3 for the oracle's own error.
    assert -1e-3 < value_s / best_s - 1.0 < 0.002
    predicted_s = sum(user.view.weight * user.paoi_s() for user in users)
    assert predicted_s == pytest.approx(value_s, rel=0.002)


LENGTH_S = dict.fromkeys(PLANNED, 240.0) | dict.fromkeys(NEGOTIATED, 60.0)


@cache
def played(name: str, kind: str, duration_s: float, seed: int = 1) -> tuple[Played, float]:
    """Runs a network; returns it and its measured weighted peak age."""
    run = perform(NETWORKS[name](kind, duration_s=duration_s, seed=seed))
    return run, run.metrics.summary()["all"]["paoi_weighted_s"]


def measured_s(name: str, kind: str, seed: int = 1) -> float:
    return played(name, kind, LENGTH_S[kind], seed)[1]


def predicted_s(name: str, kind: str, seed: int = 1) -> float:
    """Returns what the protocol says of itself: its plan, or the mean of what users tell."""
    if kind in PLANNED:
        planned = plan(Scenario.model_validate(NETWORKS[name](kind, seed=seed)), stopwatch=False)
        whole = whole_of(planned)
        allocation = whole.allocation(planned.allotments)
        return weighted_paoi_s(whole.problem, allocation) / float(whole.problem.weights.sum())
    reported = [
        record.values["objective"] / record.values["weights"]
        for record in played(name, kind, LENGTH_S[kind], seed)[0].records
        if isinstance(record, Readings) and record.at_s > WARMUP_S
    ]
    return float(np.mean(reported))


@pytest.mark.parametrize("kind", [*PLANNED, *NEGOTIATED])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_predicted_is_what_is_measured(name: str, kind: str) -> None:
    # 4 %, as docs/popec.md says of the formula in small networks; runs scatter by 1 %. In the chain
    # of five the formula is 3.7 % high, so that a single run may miss: the mean of three seeds.
    seeds = (1, 2, 3) if (name, kind) == ("chain of five", "popec-async") else (1,)
    ratios = [predicted_s(name, kind, seed) / measured_s(name, kind, seed) for seed in seeds]
    assert float(np.mean(ratios)) == pytest.approx(1.0, rel=0.04)


@pytest.mark.parametrize("kind", [*PLANNED, *NEGOTIATED])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_never_worse_than_even_shares_or_lots(name: str, kind: str) -> None:
    # Equal seeds: the same channels for all.
    length_s = LENGTH_S[kind]
    for rule in ("equal-share", "random"):
        assert played(name, kind, length_s)[1] <= played(name, rule, length_s)[1], rule


def test_a_plan_is_lived_server_by_server() -> None:
    name, kind = "chain of three", "static-optimum"
    planned = plan(Scenario.model_validate(NETWORKS[name](kind)), stopwatch=False)
    whole = whole_of(planned)
    splits_hz = whole.allocation(planned.allotments).splits_hz.sum(axis=0)

    ends = [r for r in played(name, kind, 60.0)[0].records if isinstance(r, TaskEnd) and r.server]

    served = Counter(end.server for end in ends)
    for server, rate_hz in zip(whole.servers, splits_hz, strict=True):
        # Slots by lot scatter less than a Poisson process: five of its standard deviations.
        assert served[server] == pytest.approx(60.0 * rate_hz, abs=5.0 * math.sqrt(60.0 * rate_hz))


def test_tasks_that_come_without_asking_take_paths_that_exist() -> None:
    spec = two_cells("static-optimum", duration_s=20.0)
    spec["users"] = [group("u", 4) | {"arrival": {"kind": "poisson", "rate_hz": 5.0}}]

    outcomes = perform(spec).metrics.outcomes

    assert outcomes["completed"] > 200
    assert outcomes["dropped"] < 0.2 * outcomes["completed"]
