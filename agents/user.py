"""A user: generates tasks, places them, waits for channels where they are scarce, counts results.

Mechanics only: where a task goes is its policy's choice. The user owns a task until a message
carries it away, and again when the link layer gives one back.
"""

import math
from collections.abc import Iterator

from msgspec import Struct

from agents.api import CLOCK, JOURNAL, Message, Send
from agents.messages import (
    Beacon,
    Executed,
    Grant,
    Handover,
    NodeId,
    Offload,
    Request,
    Result,
    TaskEnd,
    Tempo,
    Undelivered,
    Vacate,
    Wake,
    ended,
)
from agents.policy import UserPolicy
from agents.queues import Job, PriorityQueue
from agents.station import Station
from agents.tasks import Arrivals, AtWill, OnGrant, Task, Uniform

ASK_AGAIN_S = 0.1  # a lost request costs at most this; requests are idempotent
LOSS_WAIT_S = 0.1  # generate-at-will tries again this long after the link layer gave up


class Demand(Struct, frozen=True):
    """What one user's tasks are like. `images` bounds the index a task may carry (exclusive)."""

    arrivals: Arrivals
    priority: int
    size_bits: float
    images: int
    deadline_s: float = math.inf
    expires: bool = False
    work: float = 1.0


class User:
    """One device with a radio and, where the scenario gives it one, a CPU (`cpu`)."""

    __slots__ = (
        "_access",
        "_asked",
        "_at_will",
        "_behind",
        "_cells",
        "_cpu",
        "_demand",
        "_next_s",
        "_on_grant",
        "_placed",
        "_policy",
        "_queue",
        "_tempo",
        "_timer_s",
        "_uniform",
        "_used",
        "_void_s",
        "generated",
        "id",
    )

    def __init__(
        self,
        name: NodeId,
        demand: Demand,
        policy: UserPolicy,
        uniform: Uniform,
        queue: PriorityQueue,
        cpu: Station | None = None,
    ) -> None:
        self.id = name
        self.generated = 0
        self._asked = 0
        self._next_s = math.inf  # when the next task is due, by the clock as it is now,
        self._timer_s = math.inf  # and as it was when the timer for it was set
        self._void_s: list[float] = []  # when it would have been due before the tempo changed
        self._tempo = 1.0
        self._demand = demand
        self._policy = policy
        self._uniform = uniform
        self._used: tuple[NodeId, Grant] | None = None  # the last grant: a copy of it is void
        self._queue = queue  # tasks waiting for a granted channel
        self._cpu = cpu
        self._cells = policy.view.cells
        self._access = {cell.bs: cell.access for cell in policy.view.cells}
        self._behind = {
            cell.bs: {reach.server for reach in cell.servers} for cell in policy.view.cells
        }
        self._at_will = isinstance(demand.arrivals, AtWill)
        self._on_grant = isinstance(demand.arrivals, OnGrant)
        self._placed: dict[int, tuple[NodeId, NodeId | None]] = {}  # seq -> placement, queue only

    def start(self, now_s: float) -> list[Send]:
        self._next_s = self._timer_s = self._demand.arrivals.next_s(0, now_s, self._uniform)
        return [self._wake(self._next_s), *self._policy.start(now_s)]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause == "ask":  # one that was followed by another has had its answer
            return self._ask(now_s) if wake.key == self._asked else []
        if wake.cause != "generate":
            return self._policy.on_tick(wake, now_s)
        if self._at_will and wake.key != self.generated:
            return []  # a time-out, and news came before it
        if self._void_s and wake.at_s in self._void_s:
            self._void_s.remove(wake.at_s)
            return []
        return self._generate(now_s)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Result() as result:
                return self._receive(result, now_s)
            case Grant() as grant:
                return self._use(message.source, grant, now_s)
            case Beacon(seq=seq, every_s=every_s):
                self._policy.view.quality[message.source].hear(seq, every_s, now_s)
                return []
            case Undelivered() as undelivered:
                return self._take_back(undelivered, now_s)
            case Executed() as executed:
                return self._finish_local(executed, now_s)
            case Tempo() as tempo:
                return self._hurry(tempo, now_s)
            case Handover(gone=gone):
                left = tuple(cell for cell in self._cells if cell.bs not in gone)
                self._policy.hand_over(left or self._cells)
                return []
            case _:
                return self._policy.on_message(message, now_s)

    def tasks(self) -> Iterator[Task]:
        for job in self._queue:
            yield job.task
        if self._cpu is not None:
            yield from self._cpu.tasks()

    def _wake(self, at_s: float) -> Send:
        return Send(CLOCK, Wake(at_s, "generate", self.generated))

    def _generate(self, now_s: float) -> list[Send]:
        sends = self._place(self._new_task(now_s), now_s)
        at_s = self._demand.arrivals.next_s(self.generated, now_s, self._uniform)
        if self._tempo != 1.0:
            at_s = now_s + (at_s - now_s) / self._tempo
        self._next_s = self._timer_s = at_s
        sends.append(Send(CLOCK, Wake(at_s, "generate", self.generated)))
        return sends

    def _hurry(self, tempo: Tempo, now_s: float) -> list[Send]:
        """Changes the speed at which the time between tasks passes, of the gap now on as well."""
        self._next_s += tempo.moved_s
        if tempo.factor == self._tempo:
            return []  # a clock set anew moves no timer
        self._void_s.append(self._timer_s)
        left_s = (self._next_s - now_s) * self._tempo / tempo.factor
        self._tempo = tempo.factor
        self._next_s = self._timer_s = now_s + left_s
        return [self._wake(self._next_s)]

    def _new_task(self, now_s: float) -> Task:
        demand = self._demand
        task = Task(
            self.id,
            self.generated,
            now_s,
            demand.priority,
            demand.size_bits,
            int(self._uniform() * demand.images),
            now_s + demand.deadline_s,
            demand.expires,
            demand.work,
        )
        self.generated += 1
        return task

    def _place(self, task: Task, now_s: float) -> list[Send]:
        placement = self._policy.place(task, now_s)
        if placement is None:
            assert self._cpu is not None, f"{self.id} was told to serve a task but has no CPU"
            return self._cpu.admit(Job(task, self.id, now_s), now_s)
        bs, server = placement.bs, placement.server
        access = self._access[bs]
        if access == "dedicated" and server is not None:
            return [Send(server, Offload(task, server), None, bs)]
        if access in ("dedicated", "contention"):
            return [Send(bs, Offload(task, server))]
        was_empty = not self._queue
        refused = self._queue.push(Job(task, bs, now_s))
        self._placed[task.seq] = (bs, server)
        sends = self._ask(now_s) if was_empty else []
        if refused is not None:
            del self._placed[refused.task.seq]
            sends.append(Send(JOURNAL, ended(refused.task, now_s, "dropped", "queue-full")))
        return sends

    def _ask(self, now_s: float) -> list[Send]:
        """Asks for a channel for the head of the queue, and again later in case that is lost."""
        head = self._queue.head()
        if head is None:
            return []
        bs, _ = self._placed[head.task.seq]
        if self._access[bs] == "slotted":
            return []  # slots come unasked
        task = head.task
        request = Request(task.priority, task.born_s, task.size_bits, task.seq)
        self._asked += 1
        again = Wake(now_s + ASK_AGAIN_S, "ask", self._asked)
        return [Send(bs, request), Send(CLOCK, again)]

    def _use(self, bs: NodeId, grant: Grant, now_s: float) -> list[Send]:
        """Uses a granted channel for a waiting task, or for one made for it."""
        if now_s >= grant.until_s or (bs, grant) == self._used:
            return []
        self._used = (bs, grant)
        if not self._on_grant:
            return self._transmit(bs, grant, now_s)
        if not self._policy.wants(bs, now_s):
            return []
        task = self._new_task(now_s)
        placement = self._policy.place(task, now_s, bs)
        if placement is None:
            assert self._cpu is not None, f"{self.id} was told to serve a task but has no CPU"
            return self._cpu.admit(Job(task, self.id, now_s), now_s)
        server = placement.server
        assert server is None or server in self._behind[bs], f"{bs} does not lead to {server}"
        offload = Send(bs, Offload(task, server), grant)
        return [offload, *self._policy.sent(bs, task.seq, grant.until_s, now_s)]

    def _transmit(self, bs: NodeId, grant: Grant, now_s: float) -> list[Send]:
        """Sends the first waiting task meant for that base station over the granted channel."""
        sends: list[Send] = []
        index = 0
        for job in tuple(self._queue):
            if self._placed[job.task.seq][0] != bs:
                index += 1
                continue
            self._queue.pop(index)
            _, server = self._placed.pop(job.task.seq)
            if job.task.expires and now_s >= job.task.due_s:
                sends.append(Send(JOURNAL, ended(job.task, now_s, "expired", "deadline")))
                continue
            sends.append(Send(bs, Offload(job.task, server), grant))
            sends += self._policy.sent(bs, job.task.seq, grant.until_s, now_s)
            break
        else:
            sends += self._vacate(bs)
        return sends + self._ask(now_s)

    def _vacate(self, bs: NodeId) -> list[Send]:
        """Hands the last grant back, so that it blocks nobody; slots are not a user's to give."""
        if self._used is None or self._used[0] != bs or self._access[bs] != "granted":
            return []
        grant = self._used[1]
        return [Send(bs, Vacate(grant.channel, grant.until_s))]

    def _take_back(self, undelivered: Undelivered, now_s: float) -> list[Send]:
        lost, attempts = undelivered.lost, undelivered.attempts
        assert isinstance(lost, Offload), "users send no results, and bursts only where scheduled"
        reported = self._policy.lost(undelivered.target, lost.task.seq, now_s)
        if undelivered.reason == "grant-over" and not self._on_grant:
            # It was not the channel's fault: ask again.
            self._placed[lost.task.seq] = (undelivered.target, lost.server)
            self._queue.push_front(Job(lost.task, undelivered.target, now_s))
            return [*reported, *self._ask(now_s)]
        end = ended(lost.task, now_s, "dropped", undelivered.reason, attempts=attempts)
        # Not at once: where nothing takes time and nothing passes, time would stand still.
        again = self._next_at_will(lost.task.seq, now_s, LOSS_WAIT_S)
        return [Send(JOURNAL, end), *again, *self._vacate(undelivered.target), *reported]

    def _receive(self, result: Result, now_s: float) -> list[Send]:
        task = result.task
        end = TaskEnd(
            task.user,
            task.seq,
            task.priority,
            task.born_s,
            task.due_s,
            now_s,
            "completed",
            "",
            result.server,
            result.arrived_s,
            result.started_s,
            result.finished_s,
            result.attempts,
            result.correct,
        )
        if self._at_will:
            return [Send(JOURNAL, end), *self._next_at_will(task.seq, now_s)]
        return [Send(JOURNAL, end)]

    def _next_at_will(self, ended_seq: int, now_s: float, wait_min_s: float = 0.0) -> list[Send]:
        arrivals = self._demand.arrivals
        if isinstance(arrivals, AtWill) and ended_seq == self.generated - 1:
            return [self._wake(now_s + max(arrivals.wait_s, wait_min_s))]
        return []

    def _finish_local(self, executed: Executed, now_s: float) -> list[Send]:
        cpu = self._cpu
        assert cpu is not None
        started_s = cpu.started_s
        sends: list[Send] = []
        correct = executed.correct or (None,) * len(executed.tasks)
        for job, is_correct in zip(cpu.finish(executed, now_s), correct, strict=True):
            result = Result(job.task, self.id, job.arrived_s, started_s, now_s, is_correct, 0)
            sends += self._receive(result, now_s)
        return sends + cpu.next_batch(now_s)
