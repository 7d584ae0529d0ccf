"""A user in a scheduled network: a queue settled each slot, a report, and a burst if granted.

A slot of its own: at its begin the last slot ends (drops, late tasks, admission of what arrived),
the own CPU pulls a task if it is idle, the radio is asked how good the channels are, and what waits
is reported to the base station. A grant of this slot is used at once; what the radio lost comes
back before the slot ends. Source: docs/todg.md, One slot.
"""

from collections.abc import Iterator, Sequence

from agents.api import ACCELERATOR, CLOCK, JOURNAL, RADIO, Message, Node, NodeKind, Send, Unhandled
from agents.messages import (
    Abort,
    Executed,
    Handover,
    NodeId,
    Outcome,
    Result,
    Tempo,
    Undelivered,
    Wake,
    completed,
    ended,
)
from agents.messages.slots import Burst, Sense, Sensed, SlotGrant
from agents.queues import Job
from agents.reasons import Reason, UserCause
from agents.station import Station
from agents.task_source import TaskSource
from agents.tasks import Task
from agents.todg.discipline import Discipline
from agents.todg.line import Line
from agents.todg.readings import Tally
from agents.todg.uplink import Uplink


class ScheduledUser(Node):
    """One device with one kind of task; `homes` are the base stations it reaches, nearest first.

    Many attributes: it composes a task source, a queue, an uplink and an own processor.
    """

    kind: NodeKind = "user"

    def __init__(
        self,
        name: NodeId,
        source: TaskSource,
        homes: Sequence[NodeId],
        cpu: Station | None,
        discipline: Discipline,
    ) -> None:
        frame = discipline.frame
        self.id = name
        self._source = source
        self._homes = tuple(homes)
        self._cpu = cpu
        self._discipline = discipline
        self._number = number = frame.kind_of[name]  # of its kind of task
        self._slotting = frame.slotting
        self._next_bs = self._homes[0]
        self._tally = Tally()
        rule = discipline.user_rule(number)
        self._line: Line[Task] = Line(rule, self._tally, lambda task: task.due_s)
        self._uplink = Uplink(self._line, source.size_bits, self._next_bs)
        self._admission = discipline.admission(number)
        self._arrived: list[Task] = []  # in this slot
        self._slot = -1
        self._backlog_at_start = 0

    @property
    def generated(self) -> int:
        return self._source.generated

    def start(self, now_s: float) -> list[Send]:
        slot = self._slotting.next_slot(now_s)
        wake = Wake(max(now_s, self._slotting.at_s(slot)), UserCause.SLOT, slot)
        return [Send(CLOCK, wake), self._source.start(now_s)]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        match wake.cause:
            case UserCause.GENERATE:
                if not self._source.is_due(wake):
                    return []
                self._arrived.append(self._source.make(now_s))
                return [self._source.following(now_s)]
            case UserCause.SLOT:
                return self._begin_slot(wake.key, now_s)
            case UserCause.OVERDUE:
                return self._abandon(wake.key, now_s)
            case _:
                raise Unhandled(wake)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Sensed() as sensed:
                report = self._uplink.report(sensed)
                self._tally.sent(report.size_bits)
                return [Send(self._uplink.bs, report)]
            case SlotGrant() as grant:
                return self._uplink.burst(grant, now_s)
            case Result() as result:
                return self._receive(result, now_s)
            case Executed() as executed:
                assert self._cpu is not None
                ((_, result),) = self._cpu.finish(executed, now_s)
                return self._receive(result, now_s)
            case Undelivered(lost=Burst() as lost, reason=reason):
                if self._uplink.take_back(lost):
                    return []
                return self._end(lost.tasks, now_s, "dropped", reason)
            case Handover(gone=gone):
                left = [bs for bs in self._homes if bs not in gone]
                self._next_bs = left[0] if left else self._homes[0]
                return []
            case Tempo() as tempo:
                return self._source.hurry(tempo, now_s)
            case _:
                raise Unhandled(message)

    def tasks(self) -> Iterator[Task]:
        yield from self._line
        yield from self._arrived

    def readings(self, now_s: float) -> dict[str, float]:
        return {
            **self._tally.readings(),
            "waiting_users": len(self._line),
            "persistence": self._line.persistence,
            "admission": 0.0 if self._admission is None else self._admission.credit,
        }

    def _begin_slot(self, slot: int, now_s: float) -> list[Send]:
        sends = self._end_slot(slot - 1, now_s) if slot else []
        self._slot = slot
        self._uplink.begin_slot(slot, self._next_bs)
        line = self._line
        self._backlog_at_start = len(line)
        sends += self._compute(now_s)
        if self._discipline.offloads and (len(line) or self._uplink.has_reported):
            sends.append(Send(RADIO, Sense(self._uplink.bs)))
        sends.append(Send(CLOCK, Wake(self._slotting.at_s(slot + 1), UserCause.SLOT, slot + 1)))
        return sends

    def _end_slot(self, slot: int, now_s: float) -> list[Send]:
        line, head, served = self._line, self._line.head(), self._line.served
        dropped, late = line.end_slot(slot, self._slotting.at_s(slot + 2))
        sends = self._end(dropped, now_s, "dropped", Reason.BOUND)
        sends += self._end(late, now_s, "expired", Reason.DEADLINE)
        if line.head() is not head:
            self._uplink.renew_head()
        arrived, self._arrived = self._arrived, []
        admitted = len(arrived)
        if self._admission is not None:
            admitted = self._admission.admit(len(arrived), self._backlog_at_start, served)
        for task in arrived[:admitted]:
            line.push(task, slot)
        sends += self._end(arrived[admitted:], now_s, "dropped", Reason.REJECTED)
        line.watch(self._admission)
        return sends

    def _end(
        self, tasks: Sequence[Task], now_s: float, outcome: Outcome, reason: Reason
    ) -> list[Send]:
        return [Send(JOURNAL, ended(task, now_s, outcome, reason)) for task in tasks]

    def _receive(self, result: Result, now_s: float) -> list[Send]:
        end = Send(JOURNAL, completed(result, now_s))
        return [end, *self._source.after(result.task.seq, now_s)]

    # The own CPU

    def _compute(self, now_s: float) -> list[Send]:
        """Lets an idle CPU pull the head, if it is whole and can be done in time."""
        cpu, line = self._cpu, self._line
        if cpu is None:
            return []
        if cpu.running:
            return self._limit(cpu)
        is_whole = self._uplink.is_head_whole
        if not line or not is_whole or not self._discipline.computes(self._number):
            return []
        sends = cpu.admit(Job(line.take(), self.id, now_s), now_s)
        return sends + self._limit(cpu)

    def _limit(self, cpu: Station) -> list[Send]:
        """Sees to it that the task on the CPU ends at its deadline at the latest."""
        task = cpu.running[0].task
        if task.due_s > self._slotting.at_s(self._slot + 1):
            return []
        return [Send(CLOCK, Wake(task.due_s, UserCause.OVERDUE, task.seq))]

    def _abandon(self, seq: int, now_s: float) -> list[Send]:
        cpu = self._cpu
        if cpu is None or not cpu.running or cpu.running[0].task.seq != seq:
            return []
        given_up = [job.task for job in cpu.abandon(now_s)]
        overrun = self._end(given_up, now_s, "expired", Reason.OVERRUN)
        return [Send(ACCELERATOR, Abort()), *overrun]
