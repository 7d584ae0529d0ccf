"""A slotted network around the decisions that nodes run: tests and benchmarks close loops with it.

The reference network; every decision is `Todg`'s, the mechanics of a slot (docs/todg.md, One slot)
are here. It sees all queues at once, so views are never stale; faults are a radio that is black or
a server that is down. Users may have two kinds of task, each a flow. Task: (birth slot, flow).
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.todg import rules
from agents.todg.allocation.conflict_graph import ConflictGraph
from agents.todg.discipline import ServersSeen, UsersSeen
from agents.todg.frame import Frame, Machine, Slotting
from agents.todg.protocol import Todg, TodgOptions
from agents.todg.queues import Admission, Backlog
from tests.todg_reference import attach, clashes, utility

CLASSES = (
    rules.TaskClass(size_bits=20e3, value=4.0, deadline_slots=40, cpu_slots=4),
    rules.TaskClass(size_bits=60e3, value=2.0, deadline_slots=60, cpu_slots=12),
    rules.TaskClass(size_bits=150e3, value=1.0, deadline_slots=120, cpu_slots=30),
)
RATES = (0.8, 0.6, 0.35)  # tasks per slot
PROFILES = ((0, 1), (1,), (1, 2))
WORK = ((4.0, 6.0, 12.0), (3.0, 9.0, 30.0), (5.0, 5.0, 20.0))  # (server, class)
SPEEDS = (100.0, 60.0, 70.0)  # work units per slot
SETTINGS = rules.Settings(  # of the published numbers; V is of the network
    v_slots=0.0,
    mode="hol",
    persistence=1.5,
    server_persistence=0.3,
    inflow_slots=4.0,
    server_share=0.3,
    arrivals_max=4,
)

Task = tuple[int, int]
Allocate = Callable[[NDArray[np.float32], int], dict[int, int]]
"""Maps (weights (user, channel), slot) to a schedule user -> channel."""


class Size(Struct, frozen=True):
    """A network: users, base stations (a square grid of unit cells), channels, server speed."""

    users: int
    stations: int
    channels: int
    speed: float = 1.0
    hear: float = 0.95  # cell widths


SMALL = Size(24, 4, 4)
MEDIUM = Size(54, 9, 6, 2.25)
LARGE = Size(64, 16, 3, 2.67)


class Reference(Frame):
    """What nodes know of the reference network; a task's work depends on server and class."""

    arrivals_max = SETTINGS.arrivals_max

    def __init__(self, size: Size) -> None:
        self.speeds = [speed * size.speed for speed in SPEEDS]
        super().__init__(
            Slotting(slot_s=0.05, report_s=0.0, round_s=0.0, guard_s=0.0),
            CLASSES,
            works=(1.0,) * len(CLASSES),
            rates=RATES,
            kind_of={},  # users have up to two
            machines=[Machine(f"server-{s}", 1.0) for s in range(len(SPEEDS))],
            stations=[f"bs-{bs}" for bs in range(size.stations)],
            channels=size.channels,
            places=[],
        )

    def mean_slots(self, server: int, kind: int) -> float:
        return WORK[server][kind] / self.speeds[server]


class Loop:
    """The network and its queues. `counts` follows every task to its end."""

    def __init__(
        self,
        size: Size,
        seed: int = 1,
        load: float = 1.0,
        mode: rules.Mode = "hol",
        v_slots: float | None = None,
        persistence: float = SETTINGS.persistence,
    ) -> None:
        self.size, self.load = size, load
        self.rng = np.random.default_rng(seed)
        side = round(size.stations**0.5)
        grid = np.array([(x + 0.5, y + 0.5) for x in range(side) for y in range(side)])
        cell = np.arange(size.users) % size.stations
        where = grid[cell] + self.rng.uniform(-0.5, 0.5, (size.users, 2))
        self.distance = np.linalg.norm(where[:, None] - grid[None], axis=2)
        at = attach(self.distance, size.hear)
        self.graph = ConflictGraph(range(size.stations), size.channels, at)
        self.home = np.array([at[user].home for user in range(size.users)])
        near = np.maximum(self.distance[np.arange(size.users), self.home], 0.12)
        self.snr = 10**0.3 * (0.5 / near) ** 3
        self.frame = Reference(size)
        chosen = TodgOptions(
            V=v_slots or "auto",
            guarantee="watchdog" if v_slots else "analytic",
            effort=2,
            mode=mode,
            persistence=persistence,
        )
        self.todg = Todg(self.frame, chosen, lambda: 0.5)
        self._queues()
        self.counts: Counter[str] = Counter()
        self.done: Counter[int] = Counter()  # flow -> completed
        self.age_max = [0, 0, 0]
        self.breaches: list[str] = []
        self.slot = 0

    def _queues(self) -> None:
        self.speeds, kinds = self.frame.speeds, range(len(CLASSES))
        self.flows = [
            (user, kind)
            for user in range(self.size.users)
            for kind in PROFILES[user // self.size.stations % 3]
        ]
        self.user_queues: list[Backlog[Task]] = [
            Backlog(self.todg.user_rule(c)) for _, c in self.flows
        ]
        self.doors = [Admission(self.todg.user_rule(c), RATES[c]) for _, c in self.flows]
        self.server_queues: list[list[Backlog[Task]]] = [
            [Backlog(self.todg.server_rule(s, c)) for c in kinds] for s in range(len(SPEEDS))
        ]
        self.bound = [
            rules.age_max_slots(
                task,
                [self.todg.user_rule(c)],
                [row[c].rule for row in self.server_queues],
                has_cpu=True,
            )
            for c, task in enumerate(CLASSES)
        ]
        self.bits_left = [CLASSES[c].size_bits for _, c in self.flows]
        self.work_left = [list(row) for row in WORK]
        self.cpu: dict[int, tuple[int, Task]] = {}
        self.user_of = np.array([user for user, _ in self.flows])
        self.kind_of = np.array([kind for _, kind in self.flows])
        self.size_bits = np.array([CLASSES[kind].size_bits for _, kind in self.flows])
        self.flow_table = np.full((self.size.users, 2), -1)
        for flow, (user, _) in enumerate(self.flows):
            free = int(np.argmin(self.flow_table[user] >= 0))
            self.flow_table[user, free] = flow

    def end(self, task: Task, how: str) -> None:
        birth, flow = task
        kind = self.flows[flow][1]
        age = self.slot - birth
        self.counts[how] += 1
        self.age_max[kind] = max(self.age_max[kind], age)
        if age > self.bound[kind]:
            self.breaches.append(f"slot {self.slot}: {how} of class {kind} at age {age}")
        if how == "completed":
            self.done[flow] += 1

    def weigh(self, bits: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Returns vertex weights and the flows behind them; `bits` (user, channel)."""
        seen = UsersSeen(
            slot=self.slot,
            kind=self.kind_of,
            backlog=np.array([float(len(queue)) for queue in self.user_queues]),
            persistence=np.array([queue.persistence for queue in self.user_queues]),
            slack_slots=np.ones(len(self.flows)),
            idle_slots=np.zeros(len(self.flows)),
            bits=bits[self.user_of],
            size_bits=self.size_bits,
        )
        by_flow = self.todg.weigh(seen, self._servers_seen(0))
        none = np.zeros((1, bits.shape[1]))  # what `flow_table` -1 points to
        by_user = np.concatenate([by_flow, none])[self.flow_table]
        return by_user.max(axis=1).astype(np.float32), by_user.argmax(axis=1)

    def _servers_seen(self, station: int) -> ServersSeen:
        seen = ServersSeen(self.frame, station)
        seen.backlog[:] = [[len(queue) for queue in row] for row in self.server_queues]
        seen.usable[:] = self.up
        return seen

    def step(
        self,
        allocate: Allocate,
        arrivals: NDArray[np.int64] | None = None,
        black: bool = False,
        down: tuple[int, ...] = (),
    ) -> NDArray[np.float32]:
        """Plays one slot; returns the vertex weights that were allocated for."""
        self.up = [s not in down for s in range(len(self.speeds))]
        gain = self.rng.exponential(1.0, (self.size.users, self.size.channels))
        drawn = self.rng.binomial(4, [min(RATES[c] * self.load / 4, 1.0) for _, c in self.flows])
        arrivals = drawn if arrivals is None else arrivals
        bits = 50e3 * np.minimum(np.log2(1 + self.snr[:, None] * gain), 6.0) * (not black)
        at_start = [len(queue) for queue in self.user_queues]
        weights, pick = self.weigh(bits)
        sent = self._transmit(allocate(weights, self.slot), pick, bits)
        self._compute()
        for s in range(len(self.speeds)):
            if self.up[s]:
                self._serve(s)
        for flow, (queue, door) in enumerate(zip(self.user_queues, self.doors, strict=True)):
            served = queue.served
            for task in (dropped := queue.settle(self.slot)):
                self.end(task, "dropped by user")
            if dropped:
                self.bits_left[flow] = CLASSES[self.flows[flow][1]].size_bits
            admitted = door.admit(int(arrivals[flow]), at_start[flow], served)
            for _ in range(admitted):
                queue.push((self.slot, flow), self.slot)
            self.counts["generated"] += int(arrivals[flow])
            self.counts["admitted"] += admitted
        for s, row in enumerate(self.server_queues):
            for c, queue in enumerate(row):
                for task in (dropped := queue.settle(self.slot)):
                    self.end(task, "dropped by server")
                if dropped:
                    self.work_left[s][c] = WORK[s][c]
                for task in sent[s][c]:
                    queue.push(task, self.slot)
        self._check()
        self.slot += 1
        return weights

    def _transmit(
        self, schedule: dict[int, int], pick: NDArray[np.intp], bits: NDArray[np.float64]
    ) -> list[list[list[Task]]]:
        assert not clashes(self.graph, schedule)
        sent: list[list[list[Task]]] = [[[] for _ in CLASSES] for _ in self.speeds]
        seen = [self._servers_seen(bs) for bs in range(self.size.stations)]
        for user, channel in sorted(schedule.items()):
            flow = int(self.flow_table[user, pick[user, channel]])
            c, servers = self.flows[flow][1], seen[self.home[user]]
            queue, budget = self.user_queues[flow], bits[user, channel]
            while len(queue) and budget > 1e-6:
                chosen = self.todg.choose(c, servers)
                if chosen is None:
                    break
                used = min(budget, self.bits_left[flow])
                budget -= used
                self.bits_left[flow] -= used
                if self.bits_left[flow] > 1e-6:
                    break
                self.bits_left[flow] = CLASSES[c].size_bits
                servers.sent[chosen, c] += 1
                sent[chosen][c].append(queue.take())
        return sent

    def _compute(self) -> None:
        for user in range(self.size.users):
            if user in self.cpu and self.cpu[user][0] <= self.slot:
                self.end(self.cpu.pop(user)[1], "completed")
            if user in self.cpu:
                continue
            offered = {}
            for flow in self.flow_table[user][self.flow_table[user] >= 0].tolist():
                kind, queue = self.flows[flow][1], self.user_queues[flow]
                whole = self.bits_left[flow] == CLASSES[kind].size_bits
                if len(queue) and whole and self.todg.computes(kind):
                    offered[queue.urgency / CLASSES[kind].cpu_slots] = flow, kind
            if offered:
                flow, kind = offered[max(offered)]
                task = self.user_queues[flow].take()
                self.cpu[user] = (self.slot + CLASSES[kind].cpu_slots, task)

    def _serve(self, s: int) -> None:
        queues, left = self.server_queues[s], self.work_left[s]
        budget = self.speeds[s]
        while any(queues) and budget > 1e-9:
            c = self.todg.next_kind(s, queues)
            used = min(budget, left[c])
            budget -= used
            left[c] -= used
            if left[c] <= 1e-9:
                left[c] = WORK[s][c]
                self.end(queues[c].take(), "completed")

    def _check(self) -> None:
        """Asserts theorem 1 and conservation; runs the watchdog, which must find nothing."""
        queues = [*self.user_queues, *(queue for row in self.server_queues for queue in row)]
        for queue in queues:
            assert queue.is_within_bounds, (queue.rule, len(queue), queue.persistence)
            for task in queue.remove(lambda task: self.overdue(task)):
                self.end(task, "expired")
        assert all(door.is_within_bounds for door in self.doors)
        ended = sum(
            self.counts[how]
            for how in ("completed", "dropped by user", "dropped by server", "expired")
        )
        assert self.counts["admitted"] == ended + self.backlog + len(self.cpu)

    def overdue(self, task: Task) -> bool:
        return self.slot - task[0] >= CLASSES[self.flows[task[1]][1]].deadline_slots

    @property
    def backlog(self) -> int:
        queues = [*self.user_queues, *(queue for row in self.server_queues for queue in row)]
        return sum(map(len, queues))

    @property
    def utility(self) -> float:
        """Returns sum phi(rate of tasks on time), value per slot."""
        return sum(
            utility(self.done[flow] / self.slot, CLASSES[c].value, RATES[c])
            for flow, (_, c) in enumerate(self.flows)
        )
