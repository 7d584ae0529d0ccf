"""An edge server in a scheduled network: a queue per kind of task, and one accelerator.

What arrives in a slot joins its queue when the slot ends, unless it can be served before. Whenever
the accelerator is free it takes a batch of one kind; what is in service has left the queue, and is
given up at its deadline. Each slot begins with a `Board` to the base stations: how many wait.
Source: docs/todg.md, One slot; service is an accelerator's, not the work units of a slotted model.
"""

from collections.abc import Iterator, Sequence

from agents.api import ACCELERATOR, CLOCK, JOURNAL, Message, Node, NodeKind, Send, Unhandled
from agents.messages import (
    Abort,
    Executed,
    NodeId,
    Offload,
    Outcome,
    Result,
    ServerReport,
    Undelivered,
    Wake,
    ended,
)
from agents.messages.slots import Board
from agents.moments import Moments
from agents.queues import Job
from agents.reasons import Reason, ServerCause
from agents.station import Service
from agents.tasks import Task
from agents.todg.discipline import Discipline
from agents.todg.line import Line
from agents.todg.readings import Tally


class ScheduledServer(Node):
    """One server, with a queue for every kind of task."""

    kind: NodeKind = "server"

    def __init__(
        self,
        name: NodeId,
        discipline: Discipline,
        moments: Moments,
        base_stations: Sequence[NodeId],
        batch_max: int = 1,
    ) -> None:
        frame = discipline.frame
        self.id = name
        self._frame = frame
        self._number = frame.server_number[name]
        self._discipline = discipline
        self._service = Service(name, moments)
        self._declared_s = moments.mean
        self._base_stations = tuple(base_stations)
        self._batch_max = batch_max
        self._tally = Tally()
        rules = [discipline.server_rule(self._number, kind) for kind in range(len(frame.kinds))]
        self._lines: list[Line[Job]] = [
            Line(rule, self._tally, lambda job: job.task.due_s) for rule in rules
        ]
        self._arrived: list[Job] = []  # in this slot
        self._slot = 0
        self._batches = 0

    def start(self, now_s: float) -> list[Send]:
        slotting = self._frame.slotting
        self._slot = slotting.slot(now_s)
        slot = slotting.next_slot(now_s)
        return [Send(CLOCK, Wake(max(now_s, slotting.at_s(slot)), ServerCause.SLOT, slot))]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause is ServerCause.SLOT:
            return self._begin_slot(wake.key, now_s)
        if wake.cause is ServerCause.OVERDUE:
            return self._abandon(wake.key, now_s)
        raise Unhandled(wake)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Offload(task=task, attempts=attempts):
                job = Job(task, message.via or message.source, now_s, attempts)
                if task.due_s < now_s:  # the wire took too long: a broken promise, on record
                    return [self._end(job, now_s, "expired", Reason.DEADLINE)]
                self._arrived.append(job)
                return [] if self._service.running else self._serve(now_s)
            case Executed() as executed:
                return self._finish(executed, now_s)
            case Undelivered(lost=Result(task=task), reason=reason):
                return [Send(JOURNAL, ended(task, now_s, "dropped", reason, self.id))]
            case _:
                raise Unhandled(message)

    def tasks(self) -> Iterator[Task]:
        """Names the waiting tasks; those in service are on their way in an Executed."""
        for line in self._lines:
            for job in line:
                yield job.task
        for job in self._arrived:
            yield job.task

    def report(self, now_s: float) -> ServerReport:
        waiting = sum(map(len, self._lines)) + len(self._arrived)
        return self._service.report(waiting + len(self._service.running), now_s)

    def readings(self, now_s: float) -> dict[str, float]:
        return {
            **self._tally.readings(),
            "waiting_servers": sum(map(len, self._lines)),
            "persistence": sum(line.persistence for line in self._lines),
        }

    def _begin_slot(self, slot: int, now_s: float) -> list[Send]:
        sends = self._end_slot(slot - 1, now_s) if slot else []
        self._slot = slot
        sends += self._limit() if self._service.running else self._serve(now_s)
        waiting = tuple(map(len, self._lines))
        board = Board(slot, self.id, waiting, self._service.moments.mean / self._declared_s)
        for bs in self._base_stations:
            self._tally.sent(board.size_bits)
            sends.append(Send(bs, board))
        next_s = self._frame.slotting.at_s(slot + 1)
        sends.append(Send(CLOCK, Wake(next_s, ServerCause.SLOT, slot + 1)))
        return sends

    def _end_slot(self, slot: int, now_s: float) -> list[Send]:
        sends: list[Send] = []
        next_s = self._frame.slotting.at_s(slot + 2)
        for line in self._lines:
            dropped, late = line.end_slot(slot, next_s)
            sends += [self._end(job, now_s, "dropped", Reason.BOUND) for job in dropped]
            sends += [self._end(job, now_s, "expired", Reason.DEADLINE) for job in late]
        for job in self._arrived:
            if job.task.due_s < next_s:
                sends.append(self._end(job, now_s, "expired", Reason.DEADLINE))
            else:
                self._lines[self._frame.kind_of[job.task.user]].push(job, slot)
        self._arrived.clear()
        for line in self._lines:
            line.watch()
        return sends

    def _end(self, job: Job, now_s: float, outcome: Outcome, reason: Reason) -> Send:
        return Send(JOURNAL, ended(job.task, now_s, outcome, reason, self.id, job.attempts))

    # Service

    def _serve(self, now_s: float) -> list[Send]:
        """Starts the next batch; what arrived in this slot only if nobody waits since before."""
        if any(self._lines):
            line = self._lines[self._discipline.next_kind(self._number, self._lines)]
            batch = tuple(line.take() for _ in range(min(len(line), self._batch_max)))
        elif self._arrived:
            kind_of = self._frame.kind_of
            kind = kind_of[self._arrived[0].task.user]
            alike = [job for job in self._arrived if kind_of[job.task.user] == kind]
            batch = tuple(alike[: self._batch_max])
            self._arrived = [job for job in self._arrived if job not in batch]
        else:
            return []
        self._batches += 1
        waiting = sum(map(len, self._lines)) + len(self._arrived)
        return [self._service.run(batch, waiting, now_s), *self._limit()]

    def _finish(self, executed: Executed, now_s: float) -> list[Send]:
        done = self._service.finish(executed, now_s)
        sends = self._serve(now_s)
        for job, result in done:
            sends.append(Send(job.task.user, result, None, job.brought_by))
        return sends

    def _limit(self) -> list[Send]:
        """Sees to it that a batch in service ends at its earliest deadline at the latest."""
        due_s = min(job.task.due_s for job in self._service.running)
        if due_s > self._frame.slotting.at_s(self._slot + 1):
            return []
        return [Send(CLOCK, Wake(due_s, ServerCause.OVERDUE, self._batches))]

    def _abandon(self, batch: int, now_s: float) -> list[Send]:
        if not self._service.running or batch != self._batches:
            return []
        given_up = self._service.abandon(now_s)
        sends = [Send(ACCELERATOR, Abort())]
        sends += [self._end(job, now_s, "expired", Reason.OVERRUN) for job in given_up]
        return sends + self._serve(now_s)
