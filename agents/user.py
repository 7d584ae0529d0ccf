"""A user: generates tasks, places them, waits for channels where they are scarce, counts results.

Mechanics only: where a task goes is its policy's choice. The user owns a task until a message
carries it away, and again when the link layer gives one back.
"""

from collections.abc import Iterator

from agents.api import CLOCK, JOURNAL, Message, Node, NodeKind, Send
from agents.messages import (
    Beacon,
    Executed,
    Grant,
    Handover,
    NodeId,
    Offload,
    Request,
    Result,
    Tempo,
    Undelivered,
    Vacate,
    Wake,
    completed,
    ended,
)
from agents.policy import UserPolicy
from agents.queues import Job, PriorityQueue
from agents.reasons import Reason, UserCause
from agents.station import Station
from agents.task_source import GENERATE, TaskSource
from agents.tasks import Task

ASK_AGAIN_S = 0.1  # a lost request costs at most this; requests are idempotent
LOSS_WAIT_S = 0.1  # generate-at-will tries again this long after the link layer gave up


class User(Node):
    """One device with a radio and, where the scenario gives it one, a CPU (`cpu`)."""

    kind: NodeKind = "user"

    __slots__ = (
        "_access",
        "_asked",
        "_behind",
        "_cells",
        "_cpu",
        "_placed",
        "_queue",
        "_source",
        "_used",
        "id",
        "policy",
    )

    def __init__(
        self,
        name: NodeId,
        source: TaskSource,
        policy: UserPolicy,
        queue: PriorityQueue,
        cpu: Station | None = None,
    ) -> None:
        self.id = name
        self._source = source
        self._asked = 0
        self.policy = policy
        self._used: tuple[NodeId, Grant] | None = None  # the last grant: a copy of it is void
        self._queue = queue  # tasks waiting for a granted channel
        self._cpu = cpu
        self._cells = policy.view.cells
        self._access = {cell.bs: cell.access for cell in policy.view.cells}
        self._behind = {
            cell.bs: {reach.server for reach in cell.servers} for cell in policy.view.cells
        }
        self._placed: dict[int, tuple[NodeId, NodeId | None]] = {}  # seq -> placement, queue only

    @property
    def generated(self) -> int:
        return self._source.generated

    def start(self, now_s: float) -> list[Send]:
        return [self._source.start(now_s), *self.policy.start(now_s)]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause is GENERATE:
            return self._generate(now_s) if self._source.is_due(wake) else []
        if wake.cause is UserCause.ASK:  # one that was followed by another has had its answer
            return self._ask(now_s) if wake.key == self._asked else []
        return self.policy.on_tick(wake, now_s)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Result() as result:
                return self._receive(result, now_s)
            case Grant() as grant:
                return self._use(message.source, grant, now_s)
            case Beacon(seq=seq, every_s=every_s):
                self.policy.view.quality[message.source].hear(seq, every_s, now_s)
                return []
            case Undelivered() as undelivered:
                return self._take_back(undelivered, now_s)
            case Executed() as executed:
                return self._finish_local(executed, now_s)
            case Tempo() as tempo:
                return self._source.hurry(tempo, now_s)
            case Handover(gone=gone):
                left = tuple(cell for cell in self._cells if cell.bs not in gone)
                self.policy.hand_over(left or self._cells)
                return []
            case _:
                return self.policy.on_message(message, now_s)

    def tasks(self) -> Iterator[Task]:
        for job in self._queue:
            yield job.task
        if self._cpu is not None:
            yield from self._cpu.tasks()

    def readings(self, now_s: float) -> dict[str, float]:
        return self.policy.readings(now_s)

    def _generate(self, now_s: float) -> list[Send]:
        sends = self._place(self._source.make(now_s), now_s)
        sends.append(self._source.following(now_s))
        return sends

    def _place(self, task: Task, now_s: float) -> list[Send]:
        placement = self.policy.place(task, now_s)
        if placement is None:
            return self._serve(task, now_s)
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
            sends.append(Send(JOURNAL, ended(refused.task, now_s, "dropped", Reason.QUEUE_FULL)))
        return sends

    def _serve(self, task: Task, now_s: float) -> list[Send]:
        assert self._cpu is not None, f"{self.id} was told to serve a task but has no CPU"
        return self._cpu.admit(Job(task, self.id, now_s), now_s)

    def _ask(self, now_s: float) -> list[Send]:
        """Asks for a channel for the head of the queue, and again later in case that is lost."""
        head = self._queue.head()
        if head is None:
            return []
        bs, _ = self._placed[head.task.seq]
        if self._access[bs] == "slotted":
            return []  # slots come unasked
        task = head.task
        request = Request(task.priority, task.born_s, task.seq)
        self._asked += 1
        again = Wake(now_s + ASK_AGAIN_S, UserCause.ASK, self._asked)
        return [Send(bs, request), Send(CLOCK, again)]

    def _use(self, bs: NodeId, grant: Grant, now_s: float) -> list[Send]:
        """Uses a granted channel for a waiting task, or for one made for it."""
        if now_s >= grant.until_s or (bs, grant) == self._used:
            return []
        self._used = (bs, grant)
        if not self._source.on_grant:
            return self._transmit(bs, grant, now_s)
        if not self.policy.wants(bs, now_s):
            return []
        task = self._source.make(now_s)
        placement = self.policy.place(task, now_s, bs)
        if placement is None:
            return self._serve(task, now_s)
        server = placement.server
        assert server is None or server in self._behind[bs], f"{bs} does not lead to {server}"
        offload = Send(bs, Offload(task, server), grant)
        return [offload, *self.policy.sent(bs, task.seq, grant.until_s, now_s)]

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
                sends.append(Send(JOURNAL, ended(job.task, now_s, "expired", Reason.DEADLINE)))
                continue
            sends.append(Send(bs, Offload(job.task, server), grant))
            sends += self.policy.sent(bs, job.task.seq, grant.until_s, now_s)
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
        reported = self.policy.lost(undelivered.target, lost.task.seq, now_s)
        if undelivered.reason is Reason.GRANT_OVER and not self._source.on_grant:
            # It was not the channel's fault: ask again.
            self._placed[lost.task.seq] = (undelivered.target, lost.server)
            self._queue.push_front(Job(lost.task, undelivered.target, now_s))
            return [*reported, *self._ask(now_s)]
        end = ended(lost.task, now_s, "dropped", undelivered.reason, attempts=attempts)
        # Not at once: where nothing takes time and nothing passes, time would stand still.
        again = self._source.after(lost.task.seq, now_s, LOSS_WAIT_S)
        return [Send(JOURNAL, end), *again, *self._vacate(undelivered.target), *reported]

    def _receive(self, result: Result, now_s: float) -> list[Send]:
        end = Send(JOURNAL, completed(result, now_s))
        if self._source.at_will:
            return [end, *self._source.after(result.task.seq, now_s)]
        return [end]

    def _finish_local(self, executed: Executed, now_s: float) -> list[Send]:
        cpu = self._cpu
        assert cpu is not None
        sends: list[Send] = []
        for _, result in cpu.finish(executed, now_s):
            sends += self._receive(result, now_s)
        return sends + cpu.next_batch(now_s)
