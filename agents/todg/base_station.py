"""A base station in a scheduled network: reads reports and boards, allocates channels with its
neighbours, grants, and relays bursts.

All steps of a slot happen at public instants (`frame.Slotting`), so that base stations need not
wait for each other: who hears nothing by then goes on without, and what it does not know it does
not use. Source: docs/todg.md, One slot.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from agents.api import CLOCK, JOURNAL, Message, Node, NodeKind, Send, Unhandled
from agents.messages import Handover, NodeId, Offload, Undelivered, Wake, ended
from agents.messages.slots import (
    Allocated,
    Board,
    Burst,
    Commit,
    Propose,
    QueueReport,
    Released,
    SlotGrant,
    State,
    Table,
)
from agents.policy import Reach
from agents.reasons import CellCause
from agents.tasks import Task
from agents.todg.allocation.allocator import Letters
from agents.todg.discipline import Discipline
from agents.todg.readings import Tally
from agents.todg.views import Membership, Reports, SlotView

GRANT_COPIES = 2  # a lost grant costs a channel for a slot


class ScheduledCell(Node):
    """One cell. It learns everything from messages, and grants what its `Allocator` decides.

    Many attributes: it is where views, allocation and grants of a slot meet.
    """

    kind: NodeKind = "base_station"

    def __init__(
        self,
        name: NodeId,
        reach: Iterable[Reach],
        discipline: Discipline,
        sampled_slots: Collection[int] = (),
    ) -> None:
        """`sampled_slots` are those whose weights and schedule it tells the journal."""
        frame = discipline.frame
        self.id = name
        self._frame = frame
        self._slotting = frame.slotting
        self._discipline = discipline
        self._number = frame.station_number[name]
        self._members = Membership(discipline, self._number, frozenset())
        self._known_gone = self._members.gone  # whose users went elsewhere, from the next slot on
        self._reports = Reports(frame, self._number, reach)
        self._slot = 0
        self._view: SlotView | None = None  # from the first slot on
        self._sampled_slots = sampled_slots
        self._tally = Tally()
        self._weight = 0.0
        self._mini_rounds = 0
        self._allocations = 0

    def start(self, now_s: float) -> list[Send]:
        slot = self._slotting.next_slot(now_s)
        at_s = self._slotting.at_s(slot, self._slotting.report_s)
        return [Send(CLOCK, Wake(at_s, CellCause.ALLOCATE, slot))]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        match wake.cause:
            case CellCause.ALLOCATE:
                return self._allocate(wake.key, now_s)
            case CellCause.ROUND:
                return self._round(wake.key)
            case _:
                raise Unhandled(wake)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Table() | State() | Propose() | Released() | Commit() as body:
                number = self._frame.station_number[message.source]
                return self._letters(self._members.allocator.hear(number, body))
            case QueueReport() | Board() as report:
                self._reports.hear(message.source, report)
                return []
            case Handover(gone=gone):
                self._known_gone = frozenset(self._frame.station_number[bs] for bs in gone)
                return []
            case Burst(tasks=tasks, servers=servers):
                attempts = message.attempts
                pairs = zip(tasks, servers, strict=True)
                return [Send(to, Offload(task, to, attempts)) for task, to in pairs]
            case Undelivered(lost=lost, reason=reason) if not isinstance(lost, Burst):
                return [Send(JOURNAL, ended(lost.task, now_s, "dropped", reason))]
            case _:
                raise Unhandled(message)

    def tasks(self) -> Iterable[Task]:
        return ()  # relays at once, keeps nothing

    def readings(self, now_s: float) -> dict[str, float]:
        return {
            **self._tally.readings(),
            "weight": self._weight,
            "mini_rounds": self._mini_rounds,
            "allocations": self._allocations,
        }

    # The allocation

    @property
    def _grant_s(self) -> float:
        """When in a slot channels are granted."""
        slotting = self._slotting
        return slotting.report_s + self._members.allocator.steps * slotting.round_s

    def _allocate(self, slot: int, now_s: float) -> list[Send]:
        self._slot = slot
        if self._known_gone != self._members.gone:
            self._members = Membership(self._discipline, self._number, self._known_gone)
        members = self._members
        self._allocations += 1
        self._mini_rounds += members.rounds
        users = self._reports.users(members, slot, self._grant_s)
        servers = self._reports.servers(slot)
        weights = self._discipline.weigh(users, servers).astype(np.float32)
        self._view = SlotView(users, servers, weights)
        members.allocator.begin(slot, members.epoch, weights)
        following_s = self._slotting.at_s(slot + 1, self._slotting.report_s)
        return [*self._round(0), Send(CLOCK, Wake(following_s, CellCause.ALLOCATE, slot + 1))]

    def _round(self, number: int) -> list[Send]:
        if number == self._members.allocator.steps:
            return self._grant()
        sends = self._letters(self._members.allocator.step(number))
        slotting = self._slotting
        at_s = slotting.at_s(self._slot, slotting.report_s + (number + 1) * slotting.round_s)
        sends.append(Send(CLOCK, Wake(at_s, CellCause.ROUND, number + 1)))
        return sends

    def _letters(self, letters: Letters) -> list[Send]:
        for _, body in letters:
            self._tally.sent(body.size_bits)
        return [Send(self._frame.stations[number], body) for number, body in letters]

    def _grant(self) -> list[Send]:
        """Tells the winners, heaviest first, and gives every task they may finish a server."""
        slotting, members, view = self._slotting, self._members, self._view
        assert view is not None, "a slot is granted after it was allocated"
        until_s = slotting.at_s(self._slot, slotting.slot_s - slotting.guard_s)
        schedule = members.allocator.finish()
        sends: list[Send] = []
        if self._slot in self._sampled_slots:
            sends.append(Send(JOURNAL, self._allocated(schedule, view)))
        won = [
            (-float(view.weights[row, channel]), members.names[row], channel, row)
            for number, channel in schedule.items()
            for row in (members.row[number],)
        ]
        for lighter, user, channel, row in sorted(won):
            self._weight -= lighter
            members.granted_slot[row] = self._slot
            grant = SlotGrant(self._slot, channel, until_s, self._servers_for(row, channel, view))
            for _ in range(GRANT_COPIES):
                self._tally.sent(grant.size_bits)
                sends.append(Send(user, grant))
        return sends

    def _allocated(self, schedule: Mapping[int, int], view: SlotView) -> Allocated:
        users = tuple(self._members.row)
        channel = tuple(schedule.get(user, -1) for user in users)
        return Allocated(self._slot, self.id, users, channel, view.weights.tobytes())

    def _servers_for(self, row: int, channel: int, view: SlotView) -> tuple[NodeId, ...]:
        """Chooses a server for every task whose last bit the user could send now."""
        members = self._members
        bits, size_bits = float(view.users.bits[row, channel]), float(members.size_bits[row])
        kind = int(members.kind[row])
        chosen: list[NodeId] = []
        for _ in range(self._reports.could_finish(members.names[row], bits, size_bits)):
            server = self._discipline.choose(kind, view.servers)
            if server is None:
                break
            view.servers.sent[server, kind] += 1
            chosen.append(self._frame.machines[server].name)
        return tuple(chosen)
