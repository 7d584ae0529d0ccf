"""A base station in a scheduled network: reads reports and boards, allocates channels with its
neighbours, grants, and relays bursts.

All steps of a slot happen at public instants (`frame.Slotting`), so that base stations need not
wait for each other: who hears nothing by then goes on without, and what it does not know it does
not use. Source: docs/todg.md, One slot.
"""

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from agents.api import CLOCK, JOURNAL, Message, Send
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
from agents.tasks import Task
from agents.todg.allocation.allocator import Allocator, Letters, plan_for
from agents.todg.discipline import Discipline, ServersSeen, UsersSeen
from agents.todg.readings import Tally

REPORT_HOLD_SLOTS = 3  # a lost report is bridged by the last one for so long,
BOARD_HOLD_SLOTS = 5  # and a lost board
GRANT_COPIES = 2  # a lost grant costs a channel for a slot


class ScheduledCell:
    """One cell. It learns everything from messages, and grants what its `Allocator` decides."""

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
        self._gone: frozenset[int] = frozenset()  # base stations whose users went elsewhere,
        self._known_gone = self._gone  # those known now; it counts from the next slot on
        self._settle()
        self._reports: dict[NodeId, QueueReport] = {}
        self._boards: dict[NodeId, Board] = {}
        self._reached = {frame.server_number[each.server] for each in reach}
        self._slot = 0
        self._sampled_slots = sampled_slots
        self._tally = Tally()
        self._weight = 0.0
        self._mini_rounds = 0
        self._allocations = 0

    def _settle(self) -> None:
        """Works out whose users are its own, and with whom they conflict."""
        frame, effort = self._frame, self._discipline.effort
        graph = frame.graph_without(self._gone)
        neighbourhood = graph.neighbourhood(self._number)
        self._epoch = sum(1 << bs for bs in self._gone)
        self._names = [frame.users[number] for number in neighbourhood.users]
        self._row = {user: row for row, user in enumerate(self._names)}
        self._by_number = dict(zip(neighbourhood.users, self._names, strict=True))
        self._plan = plan_for(effort, graph.stations)
        self._allocator = Allocator(neighbourhood, effort, self._plan)
        self._rounds = self._allocator.greedy_rounds + len(self._plan.rounds)
        self._kind = np.array([frame.kind_of[user] for user in self._names], dtype=np.int64)
        self._size_bits = np.array([frame.kinds[kind].size_bits for kind in self._kind])
        self._granted_slot = np.full(len(self._names), -1.0)

    def start(self, now_s: float) -> list[Send]:
        slot = self._slotting.next_slot(now_s)
        return [
            Send(CLOCK, Wake(self._slotting.at_s(slot, self._slotting.report_s), "allocate", slot))
        ]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        match wake.cause:
            case "allocate":
                return self._allocate(wake.key, now_s)
            case "round":
                return self._round(wake.key)
            case cause:
                raise AssertionError(f"{self.id} asked for no {cause}")

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Table() | State() | Propose() | Released() | Commit() as body:
                number = self._frame.station_number[message.source]
                return self._letters(self._allocator.hear(number, body))
            case QueueReport() as report:
                self._reports[message.source] = report
                return []
            case Board() as board:
                self._boards[message.source] = board
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
                raise AssertionError(f"{self.id} was sent {message.body}")

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
        return slotting.report_s + self._allocator.steps * slotting.round_s

    def _allocate(self, slot: int, now_s: float) -> list[Send]:
        self._slot = slot
        if self._known_gone != self._gone:
            self._gone = self._known_gone
            self._settle()
        self._allocations += 1
        self._mini_rounds += self._rounds
        self._users, self._servers = self._views(slot)
        weights = self._discipline.weigh(self._users, self._servers)
        self._weights = weights.astype(np.float32)
        self._allocator.begin(slot, self._epoch, self._weights)
        following_s = self._slotting.at_s(slot + 1, self._slotting.report_s)
        return [*self._round(0), Send(CLOCK, Wake(following_s, "allocate", slot + 1))]

    def _round(self, number: int) -> list[Send]:
        if number == self._allocator.steps:
            return self._grant()
        sends = self._letters(self._allocator.step(number))
        slotting = self._slotting
        at_s = slotting.at_s(self._slot, slotting.report_s + (number + 1) * slotting.round_s)
        sends.append(Send(CLOCK, Wake(at_s, "round", number + 1)))
        return sends

    def _letters(self, letters: Letters) -> list[Send]:
        for _, body in letters:
            self._tally.sent(body.size_bits)
        return [Send(self._frame.stations[number], body) for number, body in letters]

    def _views(self, slot: int) -> tuple[UsersSeen, ServersSeen]:
        """Puts together what is known; what is older than it may be counts as not known."""
        slotting, channels = self._slotting, self._frame.graph.channels
        window_s = slotting.slot_s - slotting.guard_s - self._grant_s
        begin_s = slotting.at_s(slot)
        rows = len(self._names)
        backlog, persistence, slack = np.zeros(rows), np.zeros(rows), np.ones(rows)
        bits = np.zeros((rows, channels))
        for row, user in enumerate(self._names):
            report = self._reports.get(user)
            if report is None or slot - report.slot > REPORT_HOLD_SLOTS:
                continue
            backlog[row], persistence[row] = report.backlog, report.persistence
            slack[row] = max(1.0, (report.head_due_s - begin_s) / slotting.slot_s)
            bits[row] = report.rates_bps
        idle = slot - self._granted_slot
        users = UsersSeen(
            slot, self._kind, backlog, persistence, slack, idle, bits * window_s, self._size_bits
        )
        servers = ServersSeen(self._frame, self._number)
        for board in self._boards.values():
            number = self._frame.server_number[board.server]
            if slot - board.slot <= BOARD_HOLD_SLOTS and number in self._reached:
                servers.backlog[number] = board.backlog
                servers.slowness[number] = board.slowness
                servers.usable[number] = True
        return users, servers

    def _grant(self) -> list[Send]:
        """Tells the winners, heaviest first, and gives every task they may finish a server."""
        slotting = self._slotting
        until_s = slotting.at_s(self._slot, slotting.slot_s - slotting.guard_s)
        schedule = self._allocator.finish()
        won = [
            (-float(self._weights[self._row[user], channel]), user, channel)
            for number, channel in schedule.items()
            for user in (self._by_number[number],)
        ]
        sends: list[Send] = []
        if self._slot in self._sampled_slots:
            sends.append(Send(JOURNAL, self._allocated(schedule)))
        for lighter, user, channel in sorted(won):
            row = self._row[user]
            self._weight -= lighter
            self._granted_slot[row] = self._slot
            servers = self._servers_for(row, float(self._users.bits[row, channel]))
            grant = SlotGrant(self._slot, channel, until_s, servers)
            for _ in range(GRANT_COPIES):
                self._tally.sent(grant.size_bits)
                sends.append(Send(user, grant))
        return sends

    def _allocated(self, schedule: Mapping[int, int]) -> Allocated:
        users = tuple(self._by_number)
        channel = tuple(schedule.get(user, -1) for user in users)
        return Allocated(self._slot, self.id, users, channel, self._weights.tobytes())

    def _servers_for(self, row: int, bits: float) -> tuple[NodeId, ...]:
        """Chooses a server for every task whose last bit the user could send now."""
        report = self._reports[self._names[row]]
        size_bits = float(self._size_bits[row])
        could = (
            0 if bits < report.rest_bits else 1 + math.floor((bits - report.rest_bits) / size_bits)
        )
        kind = int(self._kind[row])
        chosen: list[NodeId] = []
        for _ in range(min(could, report.backlog)):
            server = self._discipline.choose(kind, self._servers)
            if server is None:
                break
            self._servers.sent[server, kind] += 1
            chosen.append(self._frame.machines[server].name)
        return tuple(chosen)
