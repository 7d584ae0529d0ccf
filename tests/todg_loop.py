"""A slotted network around the TODG core: what its tests and benchmarks close loops with.

One object per step of a slot (docs/todg.md, One slot), the reference network. It sees
all queues at once, so views are never stale; faults are a radio that is black or a server that is
down. Task: (birth slot, flow number).
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from agents.scheduled import rules
from agents.scheduled.conflict import ConflictGraph, attach
from agents.scheduled.queues import Admission, Backlog, utility

CLASSES = (
    rules.TaskClass(size_bits=20e3, value=4.0, deadline_slots=40, cpu_slots=4),
    rules.TaskClass(size_bits=60e3, value=2.0, deadline_slots=60, cpu_slots=12),
    rules.TaskClass(size_bits=150e3, value=1.0, deadline_slots=120, cpu_slots=30),
)
RATES = (0.8, 0.6, 0.35)  # tasks per slot
PROFILES = ((0, 1), (1,), (1, 2))
WORK = ((4.0, 6.0, 12.0), (3.0, 9.0, 30.0), (5.0, 5.0, 20.0))  # (server, class)
SPEEDS = (100.0, 60.0, 70.0)  # work units per slot

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


class Loop:
    """The network and its queues. `counts` follows every task to its end."""

    def __init__(
        self, size: Size, seed: int = 1, load: float = 1.0, at: rules.Settings | None = None
    ) -> None:
        self.size, self.load = size, load
        self.rng = np.random.default_rng(seed)
        side = round(size.stations**0.5)
        grid = np.array([(x + 0.5, y + 0.5) for x in range(side) for y in range(side)])
        cell = np.arange(size.users) % size.stations
        where = grid[cell] + self.rng.uniform(-0.5, 0.5, (size.users, 2))
        self.distance = np.linalg.norm(where[:, None] - grid[None], axis=2)
        self.graph = ConflictGraph(range(size.stations), size.channels)
        for user, place in enumerate(attach(self.distance, size.hear, range(size.stations))):
            self.graph.place(user, place)
        self.home = np.array([self.graph.attachment(user).home for user in range(size.users)])
        near = np.maximum(self.distance[np.arange(size.users), self.home], 0.12)
        self.snr = 10**0.3 * (0.5 / near) ** 3
        self._queues(at or rules.Settings(v_slots=0.0))
        self.counts: Counter[str] = Counter()
        self.done: Counter[int] = Counter()  # flow -> completed
        self.age_max = [0, 0, 0]
        self.breaches: list[str] = []
        self.slot = 0

    def _queues(self, at: rules.Settings) -> None:
        speeds = [speed * self.size.speed for speed in SPEEDS]
        if at.v_slots == 0.0:
            servers = list(zip(speeds, WORK, strict=True))
            at = replace(
                at, v_slots=rules.v_max_slots(CLASSES, [[rate] for rate in RATES], servers, at)
            )
        self.at, self.speeds = at, speeds
        longest = max(task.deadline_slots for task in CLASSES)
        self.flows = [
            (user, kind)
            for user in range(self.size.users)
            for kind in PROFILES[user // self.size.stations % 3]
        ]
        own = [rules.user_rule(CLASSES[c], RATES[c], longest, at) for _, c in self.flows]
        self.user_queues: list[Backlog[Task]] = [Backlog(rule) for rule in own]
        self.doors = [
            Admission(rule, RATES[c]) for rule, (_, c) in zip(own, self.flows, strict=True)
        ]
        self.server_rules = [
            [
                rules.server_rule(CLASSES[c], speeds[s], WORK[s][c], longest, at)
                for c in range(len(CLASSES))
            ]
            for s in range(len(speeds))
        ]
        self.server_queues: list[list[Backlog[Task]]] = [
            [Backlog(rule) for rule in row] for row in self.server_rules
        ]
        self.credit = [
            [
                rules.credits(rule.inflow_max, self.size.stations, s + c)
                for c, rule in enumerate(row)
            ]
            for s, row in enumerate(self.server_rules)
        ]
        self.bound = [
            rules.age_max_slots(
                task,
                [rule for rule, (_, kind) in zip(own, self.flows, strict=True) if kind == c],
                [row[c] for row in self.server_rules],
                has_cpu=True,
            )
            for c, task in enumerate(CLASSES)
        ]
        self.bits_left = [CLASSES[c].size_bits for _, c in self.flows]
        self.work_left = [list(row) for row in WORK]
        self.cpu: dict[int, tuple[int, Task]] = {}
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
        backlog = np.array([[len(queue) for queue in row] for row in self.server_queues])
        weight = np.array([[rule.weight for rule in row] for row in self.server_rules])
        price = rules.server_prices(weight, backlog, np.array(self.up))
        shape = self.flow_table.shape
        urgency, prices, size, held = (np.zeros(shape) for _ in range(4))
        size += 1.0
        for flow, (user, c) in enumerate(self.flows):
            at = user, int(np.flatnonzero(self.flow_table[user] == flow)[0])
            queue = self.user_queues[flow]
            urgency[at], prices[at], held[at] = queue.urgency, price[c], len(queue)
            size[at] = CLASSES[c].size_bits
        movable = np.minimum(bits[:, None, :] / size[:, :, None], held[:, :, None])
        return rules.vertex_weights(urgency, prices, movable)

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
        assert not self.graph.clashes(schedule)
        sent: list[list[list[Task]]] = [[[] for _ in CLASSES] for _ in self.speeds]
        share: Counter[tuple[int, int, int]] = Counter()
        for user, channel in sorted(schedule.items()):
            flow = int(self.flow_table[user, pick[user, channel]])
            c, bs = self.flows[flow][1], int(self.home[user])
            queue, budget = self.user_queues[flow], bits[user, channel]
            while len(queue) and budget > 1e-6:
                chosen = rules.choose_server(
                    [row[c].weight for row in self.server_rules],
                    [len(row[c]) for row in self.server_queues],
                    [share[bs, s, c] for s in range(len(self.speeds))],
                    [row[c][bs] for row in self.credit],
                    self.up,
                    [WORK[s][c] / self.speeds[s] for s in range(len(self.speeds))],
                )
                if chosen is None:
                    break
                used = min(budget, self.bits_left[flow])
                budget -= used
                self.bits_left[flow] -= used
                if self.bits_left[flow] > 1e-6:
                    break
                self.bits_left[flow] = CLASSES[c].size_bits
                share[bs, chosen, c] += 1
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
                task, queue = CLASSES[self.flows[flow][1]], self.user_queues[flow]
                whole = self.bits_left[flow] == task.size_bits
                if len(queue) and whole and rules.can_compute(task, queue.rule):
                    offered[flow] = queue.urgency
            slots = {flow: CLASSES[self.flows[flow][1]].cpu_slots for flow in offered}
            flow = rules.choose_own(offered, slots)
            if flow is not None:
                self.cpu[user] = (self.slot + slots[flow], self.user_queues[flow].take())

    def _serve(self, s: int) -> None:
        queues, left = self.server_queues[s], self.work_left[s]
        pressure = [len(queue) + queue.persistence for queue in queues]
        budget = self.speeds[s]
        for c in rules.service_order([q.rule.weight for q in queues], pressure, WORK[s]):
            while len(queues[c]) and budget > 1e-9:
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
