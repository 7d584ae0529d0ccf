"""The slot decisions and queues of the TODG core: closed forms, bounds, accounts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from todg_loop import CLASSES, MEDIUM, RATES, SETTINGS, SMALL, SPEEDS, WORK, Loop

from agents.reference.exact_schedule import heaviest
from agents.todg import rules
from agents.todg.allocation.allocator import EFFORTS, Allocator, plan_for
from agents.todg.discipline import ServersSeen, UsersSeen
from agents.todg.queues import Admission, Backlog
from tests.todg_reference import decide, greedy, play, utility

MODES: tuple[rules.Mode, ...] = ("hol", "capped", "persistent")
modes = st.sampled_from(MODES)


def rule(mode: rules.Mode, threshold: float, rate_min: float, inflow_max: int) -> rules.QueueRule:
    return rules.QueueRule(mode, rate_min, threshold, 1.0, inflow_max)


@pytest.mark.parametrize(
    ("mode", "v_slots", "waits"),
    [("hol", 89.5, [40, 60, 119]), ("capped", 36.5, [40, 56, 108])],
)
def test_the_largest_v_is_the_published_one(
    mode: rules.Mode, v_slots: float, waits: list[int]
) -> None:
    """The published numbers of the design: V_max and the bounds of the reference network."""
    loop = Loop(SMALL, mode=mode)

    assert loop.todg.settings.v_slots == pytest.approx(v_slots, abs=0.06)
    assert loop.bound == waits


@settings(max_examples=300, derandomize=True, deadline=None)
@given(modes, st.floats(0.3, 60.0), st.floats(0.05, 5.0), st.integers(1, 9), st.integers(0, 2**32))
def test_no_task_outstays_the_bound_whatever_the_service(
    mode: rules.Mode, threshold: float, rate_min: float, inflow_max: int, seed: int
) -> None:
    """Theorems 1 and 2, one queue: arrivals and service are an adversary's bursts and pauses."""
    rng = np.random.default_rng(seed)
    queue: Backlog[int] = Backlog(rule(mode, threshold, rate_min, inflow_max))
    arrivals, services = rng.choice([0.1, 0.5, 1.0], 2)
    entered = ended = 0

    for slot in range(200):
        out = []
        if rng.random() < services:
            out += [queue.take() for _ in range(min(len(queue), int(rng.integers(4))))]
        out += queue.settle(slot)
        ended += len(out)
        assert all(slot - entry <= queue.rule.wait_max_slots for entry in out)
        burst = int(rng.integers(inflow_max + 1)) if rng.random() < arrivals else 0
        for _ in range(burst):
            queue.push(slot, slot)
        entered += burst
        assert queue.is_within_bounds
        assert all(slot - entry < queue.rule.wait_max_slots for entry in queue)

    assert entered == ended + len(queue)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.floats(1.0, 60.0), st.floats(0.05, 5.0))
def test_a_starved_head_leaves_exactly_at_the_bound(threshold: float, rate_min: float) -> None:
    """The bound of mode hol is tight: one task that is never served stays that long."""
    queue: Backlog[int] = Backlog(rule("hol", threshold, rate_min, 1))
    queue.push(0, 0)

    slot = 1
    while not queue.settle(slot):
        slot += 1

    assert slot == queue.rule.wait_max_slots


def test_persistence_is_forgotten_when_the_queue_empties() -> None:
    queue: Backlog[int] = Backlog(rule("persistent", 50.0, 1.0, 4))
    queue.push(0, 0)
    for slot in range(1, 8):
        queue.settle(slot)
    before = queue.persistence
    queue.take()

    queue.settle(8)

    assert (before, queue.persistence) == (7.0, 0.0)


def test_the_watchdog_finds_old_tasks_behind_young_heads() -> None:
    queue: Backlog[int] = Backlog(rule("hol", 50.0, 0.1, 4))
    for birth in (30, 3, 29):
        queue.push(birth, 30)

    gone = queue.remove(lambda birth: 60 - birth >= 40)

    assert (gone, list(queue)) == ([3], [30, 29])


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.floats(0.1, 300.0), st.floats(0.0, 80.0), st.floats(0.1, 2.0))
def test_the_admission_target_maximises_its_term(
    v_slots: float, credit: float, rate: float
) -> None:
    """gamma maximises V phi(gamma) - theta G gamma on [0, A_max]; compared with a grid."""
    flow = rules.user_rule(CLASSES[1], rate, 120, replace(SETTINGS, v_slots=v_slots))
    door = Admission(flow, rate)
    door.credit = credit

    def term(gamma: float) -> float:
        return v_slots * utility(gamma, CLASSES[1].value, rate) - flow.weight * credit * gamma

    best = max(term(gamma) for gamma in np.linspace(0.0, 4.0, 401))
    assert 0.0 <= door.target() <= 4.0
    assert term(door.target()) >= best - 1e-9 * max(1.0, abs(best))


def test_a_burst_above_the_cap_is_clipped() -> None:
    door = Admission(rule("hol", 10.0, 1.0, 4), 0.5)
    door.credit = 3.0

    assert door.admit(9, backlog=3, served=1) == 4
    assert door.admit(9, backlog=8, served=1) == 0


@pytest.mark.parametrize("pace", [0.3, 0.7])
def test_who_would_be_dropped_is_turned_away_and_no_fewer_are_served(pace: float) -> None:
    """One queue in overload, the same chances to send with and without foresight."""
    flow = rule("hol", 120.0, 4.0, 5)

    def run(foresees: bool) -> tuple[int, int, float]:
        rng = np.random.default_rng(11)
        queue, door = Backlog[int](flow), Admission(flow, 1.0)
        served = dropped = waited = 0
        for slot in range(6000):
            at_start, can_send = len(queue), rng.random() < pace
            arrivals = min(int(rng.poisson(1.0)), 5)
            if can_send and at_start:
                served += 1
                waited += slot - queue.take()
            sent = queue.served
            dropped += len(queue.settle(slot))
            for _ in range(door.admit(arrivals, at_start, sent) if foresees else arrivals):
                queue.push(slot, slot)
        return served, dropped, waited / served

    blind, foreseeing = run(foresees=False), run(foresees=True)

    assert blind[1] > (1.0 - pace) * 5000
    assert foreseeing[1] < 0.25 * blind[1]  # a moving average errs
    assert foreseeing[0] > 0.99 * blind[0]
    assert foreseeing[2] < blind[2]


def test_with_no_backlog_everybody_is_let_in() -> None:
    """However long nobody was served, as in a blackout: the pace is that of a busy queue."""
    door = Admission(rule("hol", 120.0, 4.0, 5), 1.0)
    for _ in range(1000):
        door.admit(0, backlog=3, served=0)

    assert door.admit(2, backlog=3, served=0) == 0
    assert door.admit(2, backlog=0, served=0) == 2


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_closed_forms_agree_with_the_central_decision(seed: int) -> None:
    """The server may be chosen first and the channels second: the slot's term separates."""
    rng = np.random.default_rng(seed)
    loop = Loop(SMALL, seed=seed % 100)
    todg, kind = loop.todg, rng.integers(0, 3, 24)
    size_bits = np.array([CLASSES[c].size_bits for c in kind])
    backlog, persistence = rng.integers(0, 5, 24).astype(float), rng.exponential(5.0, 24)
    bits = rng.exponential(2.0, (24, 4)) * size_bits[:, None]
    none = np.zeros(24)
    users = UsersSeen(0, kind, backlog, persistence, none, none, bits, size_bits)
    servers = ServersSeen(loop.frame, 0)
    servers.backlog[:], servers.usable[:] = rng.integers(0, 40, (3, 3)), True
    theta = np.array([todg.user_rule(c).weight for c in kind])
    eta = np.array([[todg.server_rule(s, c).weight for c in range(3)] for s in range(3)])
    costs = (eta * servers.backlog).T[kind]
    movable = np.minimum(bits / size_bits[:, None], backlog[:, None])

    weights = todg.weigh(users, servers)
    _, weight = heaviest(loop.graph, weights)
    central, value = decide(loop.graph, theta * (backlog + persistence), costs, movable)

    # Schedules and servers of one value may differ; the value may not.
    assert weight == pytest.approx(value, rel=1e-9)
    picks = {user: todg.choose(int(kind[user]), servers) for user in central}
    assert {user: costs[user, server] for user, server in picks.items()} == pytest.approx(
        {user: costs[user, server] for user, (_, server) in central.items()}
    )


def test_an_impossible_deadline_is_refused() -> None:
    hasty = rules.TaskClass(size_bits=1.0, value=1.0, deadline_slots=1, cpu_slots=1)

    with pytest.raises(ValueError, match="deadline"):
        rules.v_max_slots([hasty], [0.5], [[0.1]], SETTINGS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("load", [1.0, 2.0])
def test_all_bounds_hold_in_a_closed_loop_with_faults(mode: rules.Mode, load: float) -> None:
    """Theorems 1, 3 and 7; the loop itself asserts the queue bounds and the accounts every slot."""
    loop = Loop(SMALL, seed=4, load=load, mode=mode)
    rng = np.random.default_rng(9)

    for slot in range(500):
        wild = None
        if slot % 50 < 15:  # an adversary: everything or nothing, above the cap too
            wild = rng.choice([0, 9], len(loop.flows))
        down = (0, 1, 2) if 200 <= slot < 240 else (0,) if 300 <= slot < 380 else ()
        black = 100 <= slot < 160
        loop.step(lambda w, t: greedy(loop.graph, w.astype(np.float64)), wild, black, down)

    assert loop.breaches == []
    assert loop.counts["expired"] == 0
    assert loop.counts["dropped by user"] > 0
    assert all(age <= bound for age, bound in zip(loop.age_max, loop.bound, strict=True))


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_the_distributed_allocation_keeps_the_bounds_in_a_closed_loop(loss: float) -> None:
    loop = Loop(MEDIUM, seed=5, load=1.3)
    rng = np.random.default_rng(3)
    plan = plan_for(EFFORTS[4], loop.graph.stations)
    nodes = {
        bs: Allocator(loop.graph.neighbourhood(bs), EFFORTS[4], plan) for bs in loop.graph.stations
    }

    def allocate(weights: NDArray[np.float32], slot: int) -> dict[int, int]:
        exact = weights.astype(np.float64)
        return play(loop.graph, nodes, exact, slot, lambda *_: rng.random() < loss).schedule

    for _ in range(150):
        loop.step(allocate)

    assert loop.breaches == []
    assert loop.counts["expired"] == 0


def test_backlog_grows_and_drops_fall_with_v() -> None:
    """O(V) backlog against O(1/V) loss, where only V acts: deadlines 40 times as long."""
    found = []
    for v_slots in (20.0, 80.0):
        loop = Loop(SMALL, seed=6, load=1.6, v_slots=v_slots, persistence=0.3)
        for _ in range(600):
            loop.step(lambda w, t, graph=loop.graph: greedy(graph, w.astype(np.float64)))
        found.append((loop.utility, loop.backlog))

    (low, short), (high, long) = found
    assert high > low
    assert 1.5 < long / short < 8.0


def test_the_scenario_is_the_reference_network() -> None:
    assert (RATES, SPEEDS) == ((0.8, 0.6, 0.35), (100.0, 60.0, 70.0))
    assert WORK[1] == (3.0, 9.0, 30.0)
    assert math.isclose(sum(RATES[c] for _, c in Loop(SMALL).flows), 23.6)
