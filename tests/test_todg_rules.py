"""The decisions that nodes run against their naive twin, on networks and views drawn at random."""

import numpy as np
import pytest
import todg_twin as twin
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.queues import Job
from agents.todg import rules
from agents.todg.discipline import ServersSeen, UsersSeen
from agents.todg.frame import Frame, Machine, Slotting
from agents.todg.protocol import Todg, TodgOptions
from agents.todg.queues import Admission, Backlog

CLOSE = 1e-9  # relative; both multiply a few floats, in another order
MODES: tuple[rules.Mode, ...] = ("hol", "capped", "persistent")

some = settings(max_examples=150, derandomize=True, deadline=None)
seeds = st.integers(0, 2**32 - 1)


class Drawn:
    """A network with its protocol, and the same in the twin's terms."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        kinds, servers = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        self.stations = int(rng.integers(1, 5))
        self.mode = MODES[rng.integers(3)]
        self.kinds = [
            twin.Kind(
                value=float(rng.integers(1, 6)),
                deadline=int(rng.integers(10, 120)),
                bits=float(rng.integers(1, 9)) * 2e4,
                cpu=int(rng.integers(1, 40)),
            )
            for _ in range(kinds)
        ]
        self.rates = rng.uniform(0.1, 2.0, kinds).tolist()
        means_s, works = rng.choice([0.01, 0.02, 0.03], servers), rng.uniform(0.5, 4.0, kinds)
        self.slots = [[float(mean * work / 0.05) for work in works] for mean in means_s]
        self.v = float(rng.uniform(5.0, 90.0))
        options = TodgOptions(
            V=self.v, guarantee="watchdog", effort=0, mode=self.mode, persistence=1.5
        )
        self.frame = Frame(
            Slotting(0.05, 0.0, 0.0, 0.0),
            [rules.TaskClass(k.bits, k.value, k.deadline, k.cpu) for k in self.kinds],
            works.tolist(),
            self.rates,
            kind_of={},
            machines=[Machine(f"server-{s}", float(mean)) for s, mean in enumerate(means_s)],
            stations=[f"bs-{bs}" for bs in range(self.stations)],
            channels=3,
            places=[],
        )
        self.todg = Todg(self.frame, options, rng.random)
        longest = max(kind.deadline for kind in self.kinds)
        most = self.frame.arrivals_max
        self.users = [
            twin.at_user(kind, rate, longest, self.v, 1.5, most)
            for kind, rate in zip(self.kinds, self.rates, strict=True)
        ]
        self.servers = [
            [
                twin.at_server(kind, slots, longest, self.v, 0.3, 0.3, 4.0)
                for kind, slots in zip(self.kinds, row, strict=True)
            ]
            for row in self.slots
        ]

    def servers_seen(self, station: int = 0) -> ServersSeen:
        """Some are down, some are slow, some have been sent tasks; small numbers, so ties."""
        seen, rng = ServersSeen(self.frame, station), self.rng
        seen.backlog[:] = rng.integers(0, 4, seen.backlog.shape)
        seen.sent[:] = rng.integers(0, 4, seen.sent.shape)
        seen.usable[:] = rng.random(seen.usable.shape) < 0.7
        seen.slowness[:] = rng.choice([1.0, 1.5], seen.slowness.shape)
        return seen


@some
@given(seeds)
def test_constants_and_stays_are_those_of_the_twin(seed: int) -> None:
    drawn = Drawn(seed)
    own = [drawn.todg.user_rule(c) for c in range(len(drawn.kinds))]
    theirs = [
        drawn.todg.server_rule(s, c)
        for s in range(len(drawn.slots))
        for c in range(len(drawn.kinds))
    ]
    expected = [*drawn.users, *(queue for row in drawn.servers for queue in row)]

    for rule, queue in zip([*own, *theirs], expected, strict=True):
        assert (rule.rate_min, rule.threshold, rule.weight) == pytest.approx(queue[:3], rel=CLOSE)
        assert rule.inflow_max == queue.inflow
        assert rule.wait_max_slots == twin.sojourn_max(queue, drawn.mode)
    for c, (kind, queue) in enumerate(zip(drawn.kinds, drawn.users, strict=True)):
        in_time = twin.sojourn_max(queue, drawn.mode) + kind.cpu <= kind.deadline
        assert drawn.todg.computes(c) == in_time


@some
@given(seeds)
def test_weights_are_those_of_the_twin(seed: int) -> None:
    drawn = Drawn(seed)
    rng, users = drawn.rng, 8
    kind = rng.integers(0, len(drawn.kinds), users)
    size_bits = np.array([drawn.kinds[c].bits for c in kind])
    backlog, persistence = rng.integers(0, 6, users).astype(float), rng.exponential(3.0, users)
    bits = rng.exponential(8e4, (users, 3)) * (rng.random((users, 3)) < 0.8)
    none = np.zeros(users)
    servers = drawn.servers_seen()

    found = drawn.todg.weigh(
        UsersSeen(0, kind, backlog, persistence, none, none, bits, size_bits), servers
    )

    for user, c in enumerate(kind):
        prices = [
            row[c].weight * servers.backlog[s, c] * servers.slowness[s]
            for s, row in enumerate(drawn.servers)
            if servers.usable[s]
        ]
        expected = [
            twin.weight(
                drawn.users[c], drawn.kinds[c], int(backlog[user]), persistence[user], each, prices
            )
            for each in bits[user]
        ]
        assert found[user] == pytest.approx(expected, rel=CLOSE, abs=1e-9)


@some
@given(seeds)
def test_servers_are_chosen_as_by_the_twin(seed: int) -> None:
    drawn = Drawn(seed)
    for station in range(drawn.stations):
        servers = drawn.servers_seen(station)
        for c in range(len(drawn.kinds)):
            costs, is_open = [], []
            for s, row in enumerate(drawn.servers):
                price = row[c].weight
                waiting = servers.backlog[s, c] * servers.slowness[s] + servers.sent[s, c]
                costs.append(price * waiting)
                credit = twin.shares(row[c].inflow, drawn.stations, s + c)[station]
                is_open.append(bool(servers.usable[s]) and servers.sent[s, c] < credit)
            slots = [row[c] for row in drawn.slots]

            found = drawn.todg.choose(c, servers)

            assert found in (twin.servers(costs, slots, is_open) or {None})


@some
@given(seeds)
def test_a_free_server_takes_the_kind_of_the_twin(seed: int) -> None:
    """The largest eta (H + Y) / C of the kinds that wait."""
    drawn = Drawn(seed)
    rng = drawn.rng
    for s, row in enumerate(drawn.servers):
        lines: list[Backlog[Job]] = []
        index: dict[int, float] = {}
        for c, queue in enumerate(row):
            line: Backlog[Job] = Backlog(drawn.todg.server_rule(s, c))
            line.persistence = float(rng.exponential(3.0))
            for _ in range(rng.integers(0, 4)):
                line.push(None, 0)  # type: ignore[arg-type]  # what waits does not matter
            lines.append(line)
            if len(line):
                pressure = len(line) + line.persistence
                index[c] = queue.weight * pressure / drawn.slots[s][c]
        if index:
            found = drawn.todg.next_kind(s, lines)
            assert index[found] == pytest.approx(max(index.values()), rel=CLOSE)


@some
@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 9))
def test_credits_are_dealt_out_as_by_the_twin(intake: int, stations: int, turn: int) -> None:
    assert list(rules.credits(intake, stations, turn)) == twin.shares(intake, stations, turn)


@some
@given(seeds)
def test_a_queue_drops_and_admits_as_the_twin_does(seed: int) -> None:
    """One user's queue over 120 slots of bursts and pauses: tasks, Z, G and all that goes."""
    drawn = Drawn(seed)
    rng, at = drawn.rng, drawn.users[0]
    queue: Backlog[int] = Backlog(drawn.todg.user_rule(0))
    door = drawn.todg.admission(0)
    assert isinstance(door, Admission)
    naive, naive_door = twin.Queue(at, drawn.mode), twin.Door(at, drawn.mode, drawn.rates[0])

    for slot in range(120):
        at_start = len(queue)
        served = min(at_start, int(rng.integers(0, 3)) * int(rng.random() < 0.4))
        for _ in range(served):
            queue.take()
        del naive.came[:served]
        arrivals = int(rng.poisson(2.0 * drawn.rates[0]))

        sent = queue.served
        dropped = len(queue.settle(slot))
        admitted = door.admit(arrivals, at_start, sent)

        assert dropped == naive.end_slot(slot, served)
        assert admitted == naive_door.admit(arrivals, at_start, served)
        for _ in range(admitted):
            queue.push(slot, slot)
            naive.came.append(slot)
        assert list(queue) == naive.came
        assert queue.persistence == pytest.approx(naive.z, rel=CLOSE)
        assert door.credit == pytest.approx(naive_door.g, rel=CLOSE, abs=1e-12)
