"""A user in a scheduled network: a queue settled each slot, a report, and a burst if granted.

A slot of its own: at its begin the last slot ends (drops, late tasks, admission of what arrived),
the own CPU pulls a task if it is idle, the radio is asked how good the channels are, and what waits
is reported to the base station. A grant of this slot is used at once; what the radio lost comes
back before the slot ends. Source: docs/todg.md, One slot.
"""

from collections.abc import Iterator

from msgspec import Struct

from agents.api import ACCELERATOR, CLOCK, JOURNAL, RADIO, Message, Send
from agents.messages import Abort, Grant, Handover, NodeId, Undelivered, Wake, ended
from agents.messages.slots import Burst, QueueReport, Sense, Sensed, SlotGrant
from agents.policy import UserPolicy
from agents.queues import Job, PriorityQueue
from agents.station import Station
from agents.tasks import HEADER_BITS, Task, Uniform
from agents.todg.discipline import Discipline
from agents.todg.line import Line
from agents.todg.readings import Tally
from agents.user import Demand, User

WINDOW_SHARE = 1.0 - 1e-9  # of the granted time: a burst that fits exactly must not miss its end
REST_MIN_BITS = 1e-3  # less than this is rounding


class Aloft(Struct):
    """The burst on the air: its tasks with the slots they came in, and the head's rest before."""

    slot: int
    tasks: list[tuple[Task, int]]
    rest_before_bits: float


class ScheduledUser(User):
    """One device with one kind of task; the nearest base station is its own."""

    __slots__ = (
        "_admission",
        "_aloft",
        "_arrived",
        "_backlog_at_start",
        "_bs",
        "_discipline",
        "_has_reported",
        "_kind",
        "_line",
        "_next_bs",
        "_rates_bps",
        "_rest_bits",
        "_slot",
        "_slotting",
        "_tally",
        "_used_slot",
    )

    def __init__(
        self,
        name: NodeId,
        demand: Demand,
        policy: UserPolicy,
        uniform: Uniform,
        cpu: Station | None,
        discipline: Discipline,
    ) -> None:
        super().__init__(name, demand, policy, uniform, PriorityQueue(1), cpu)
        frame = discipline.frame
        self._kind = frame.kind_of[name]
        self._discipline = discipline
        self._slotting = frame.slotting
        self._bs = self._next_bs = policy.view.cells[0].bs
        self._tally = Tally()
        self._line: Line[Task] = Line(
            discipline.user_rule(self._kind), self._tally, lambda task: task.due_s
        )
        self._admission = discipline.admission(self._kind)
        self._arrived: list[Task] = []  # in this slot
        self._slot = -1
        self._backlog_at_start = 0
        self._rest_bits = demand.size_bits  # what the head still needs
        self._rates_bps: tuple[float, ...] = ()
        self._used_slot = -1  # the last slot whose grant was used
        self._has_reported = False
        self._aloft: Aloft | None = None

    def start(self, now_s: float) -> list[Send]:
        return [self._next_slot(now_s), *super().start(now_s)]

    def _next_slot(self, now_s: float) -> Send:
        slot = self._slotting.next_slot(now_s)
        return Send(CLOCK, Wake(max(now_s, self._slotting.at_s(slot)), "slot", slot))

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause == "slot":
            return self._begin_slot(wake.key, now_s)
        if wake.cause == "overdue":
            return self._abandon(wake.key, now_s)
        return super().on_tick(wake, now_s)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Sensed() as sensed:
                return self._report(sensed, now_s)
            case SlotGrant() as grant:
                return self._burst(grant, now_s)
            case Handover(gone=gone):
                left = [cell.bs for cell in self._cells if cell.bs not in gone]
                self._next_bs = left[0] if left else self._cells[0].bs
                return []
            case Undelivered(lost=Burst() as lost, reason=reason):
                return self._take_back_burst(lost, reason, now_s)
            case _:
                return super().on_message(message, now_s)

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

    def _place(self, task: Task, now_s: float) -> list[Send]:
        self._arrived.append(task)
        return []

    def _begin_slot(self, slot: int, now_s: float) -> list[Send]:
        sends = self._end_slot(slot - 1, now_s) if slot else []
        self._slot = slot
        self._aloft = None
        if self._next_bs != self._bs:
            self._bs = self._next_bs
            self._rest_bits = self._demand.size_bits  # the other one has no part of the head
        line = self._line
        self._backlog_at_start = len(line)
        sends += self._compute(now_s)
        if self._discipline.offloads and (len(line) or self._has_reported):
            sends.append(Send(RADIO, Sense(self._bs)))
        sends.append(Send(CLOCK, Wake(self._slotting.at_s(slot + 1), "slot", slot + 1)))
        return sends

    def _end_slot(self, slot: int, now_s: float) -> list[Send]:
        line, head, served = self._line, self._line.head(), self._line.served
        dropped, late = line.end_slot(slot, self._slotting.at_s(slot + 2))
        sends = [Send(JOURNAL, ended(task, now_s, "dropped", "bound")) for task in dropped]
        sends += [Send(JOURNAL, ended(task, now_s, "expired", "deadline")) for task in late]
        if line.head() is not head:
            self._rest_bits = self._demand.size_bits
        arrived, self._arrived = self._arrived, []
        admitted = len(arrived)
        if self._admission is not None:
            admitted = self._admission.admit(len(arrived), self._backlog_at_start, served)
        for task in arrived[:admitted]:
            line.push(task, slot)
        sends += [Send(JOURNAL, ended(t, now_s, "dropped", "rejected")) for t in arrived[admitted:]]
        line.watch(self._admission)
        return sends

    # The radio

    def _report(self, sensed: Sensed, now_s: float) -> list[Send]:
        self._rates_bps = sensed.rates_bps
        line = self._line
        self._has_reported = bool(line)
        report = QueueReport(
            self._slot,
            len(line),
            line.persistence,
            self._rest_bits,
            line.first.due_s if line else 0.0,
            sensed.rates_bps,
        )
        self._tally.sent(report.size_bits)
        return [Send(self._bs, report)]

    def _burst(self, grant: SlotGrant, now_s: float) -> list[Send]:
        """Sends head tasks while bits last; a second grant, or one of another slot, is void."""
        line = self._line
        if grant.slot != self._slot or self._used_slot == grant.slot or now_s >= grant.until_s:
            return []
        if not line or not self._rates_bps:
            return []  # granted on a report from before it began anew
        self._used_slot = grant.slot
        rate_bps = self._rates_bps[grant.channel]
        room_bits = rate_bps * (grant.until_s - now_s) * WINDOW_SHARE - HEADER_BITS
        aloft = Aloft(grant.slot, [], self._rest_bits)
        bits = 0.0
        while line and room_bits - bits > REST_MIN_BITS:
            if self._rest_bits <= room_bits - bits:
                if len(aloft.tasks) == len(grant.servers):
                    break
                bits += self._rest_bits
                entered = line.head_slot
                aloft.tasks.append((line.take(), entered))
                self._rest_bits = self._demand.size_bits
            else:
                self._rest_bits -= room_bits - bits
                bits = room_bits
        if not bits:
            return []
        self._aloft = aloft
        tasks = tuple(task for task, _ in aloft.tasks)
        burst = Burst(tasks, grant.servers[: len(tasks)], bits)
        return [Send(self._bs, burst, Grant(grant.channel, grant.until_s))]

    def _take_back_burst(self, lost: Burst, reason: str, now_s: float) -> list[Send]:
        """Puts what the radio lost back where it was; it does not count as served.

        Told after the slot's end, which a runtime that is late can do, it is too late for that.
        """
        aloft = self._aloft
        if aloft is None or tuple(task for task, _ in aloft.tasks) != lost.tasks:
            return [Send(JOURNAL, ended(task, now_s, "dropped", reason)) for task in lost.tasks]
        self._aloft = None
        for task, entered in reversed(aloft.tasks):
            self._line.put_back(task, entered)
        self._rest_bits = aloft.rest_before_bits
        return []

    # The own CPU

    def _compute(self, now_s: float) -> list[Send]:
        """Lets an idle CPU pull the head, if it is whole and can be done in time."""
        cpu, line = self._cpu, self._line
        if cpu is None:
            return []
        if cpu.running:
            return self._limit(now_s)
        is_whole = self._rest_bits == self._demand.size_bits
        if not line or not is_whole or not self._discipline.computes(self._kind):
            return []
        sends = cpu.admit(Job(line.take(), self.id, now_s), now_s)
        return sends + self._limit(now_s)

    def _limit(self, now_s: float) -> list[Send]:
        """Sees to it that the task on the CPU ends at its deadline at the latest."""
        assert self._cpu is not None
        task = self._cpu.running[0].task
        if task.due_s > self._slotting.at_s(self._slot + 1):
            return []
        return [Send(CLOCK, Wake(task.due_s, "overdue", task.seq))]

    def _abandon(self, seq: int, now_s: float) -> list[Send]:
        cpu = self._cpu
        assert cpu is not None
        if not cpu.running or cpu.running[0].task.seq != seq:
            return []
        task = cpu.abandon()[0].task
        return [Send(ACCELERATOR, Abort()), Send(JOURNAL, ended(task, now_s, "expired", "overrun"))]
