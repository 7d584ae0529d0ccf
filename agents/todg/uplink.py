"""The radio of a user with scheduled access: it reports what waits, and bursts if granted.

A burst carries the tasks whose last bit is in it; of the one at the head a part may stay behind.
Source: docs/todg.md, One slot.
"""

from msgspec import Struct

from agents.api import NodeId, Send
from agents.messages import Grant
from agents.messages.slots import Burst, QueueReport, Sensed, SlotGrant
from agents.tasks import HEADER_BITS, Task
from agents.todg.line import Line

WINDOW_SHARE = 1.0 - 1e-9  # of the granted time: a burst that fits exactly must not miss its end
REST_MIN_BITS = 1e-3  # less than this is rounding


class Aloft(Struct):
    """The burst on the air: its tasks with the slots they came in, and the head's rest before."""

    slot: int
    tasks: list[tuple[Task, int]]
    rest_before_bits: float


class Uplink:
    """Sends from the head of a user's queue to one base station."""

    def __init__(self, line: Line[Task], size_bits: float, bs: NodeId) -> None:
        self.bs = bs
        self.has_reported = False
        self._line = line
        self._size_bits = size_bits  # of a task
        self._rest_bits = size_bits  # what the head still needs
        self._rates_bps: tuple[float, ...] = ()
        self._slot = -1
        self._used_slot = -1  # the last slot whose grant was used
        self._aloft: Aloft | None = None

    @property
    def is_head_whole(self) -> bool:
        return self._rest_bits == self._size_bits

    def renew_head(self) -> None:
        """Is told that another task is at the head, or that what was sent of it is of no use."""
        self._rest_bits = self._size_bits

    def begin_slot(self, slot: int, bs: NodeId) -> None:
        self._slot = slot
        self._aloft = None
        if bs != self.bs:
            self.bs = bs
            self.renew_head()  # the other one has no part of it

    def report(self, sensed: Sensed) -> QueueReport:
        """Tells what could be sent in this slot, given how good the channels are."""
        self._rates_bps = sensed.rates_bps
        line = self._line
        self.has_reported = bool(line)
        return QueueReport(
            self._slot,
            len(line),
            line.persistence,
            self._rest_bits,
            line.first.due_s if line else 0.0,
            sensed.rates_bps,
        )

    def burst(self, grant: SlotGrant, now_s: float) -> list[Send]:
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
                self.renew_head()
            else:
                self._rest_bits -= room_bits - bits
                bits = room_bits
        if not bits:
            return []
        self._aloft = aloft
        tasks = tuple(task for task, _ in aloft.tasks)
        burst = Burst(tasks, grant.servers[: len(tasks)], bits)
        return [Send(self.bs, burst, Grant(grant.channel, grant.until_s))]

    def take_back(self, lost: Burst) -> bool:
        """Puts what the radio lost back where it was: it does not count as served.

        False: told after the slot's end, which a runtime that is late can do, it is too late.
        """
        aloft = self._aloft
        if aloft is None or tuple(task for task, _ in aloft.tasks) != lost.tasks:
            return False
        self._aloft = None
        for task, entered in reversed(aloft.tasks):
            self._line.put_back(task, entered)
        self._rest_bits = aloft.rest_before_bits
        return True
