"""What a base station in a scheduled network goes by: whose users are its own, and what they and
its servers reported.

What is older than it may be counts as not known, and what is not known is not used.
"""

import math
from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.messages import NodeId
from agents.messages.slots import Board, QueueReport
from agents.policy import Reach
from agents.todg.allocation.allocator import Allocator, plan_for
from agents.todg.discipline import Discipline, ServersSeen, UsersSeen
from agents.todg.frame import Frame

REPORT_HOLD_SLOTS = 3  # a lost report is bridged by the last one for so long,
BOARD_HOLD_SLOTS = 5  # and a lost board


class Membership:
    """The users of one base station while the base stations `gone` are out, row by row."""

    def __init__(self, discipline: Discipline, station: int, gone: frozenset[int]) -> None:
        frame, effort = discipline.frame, discipline.effort
        graph = frame.graph_without(gone)
        neighbourhood = graph.neighbourhood(station)
        self.gone = gone
        self.epoch = sum(1 << bs for bs in gone)
        self.names = [frame.users[number] for number in neighbourhood.users]
        self.row = {
            number: row for row, number in enumerate(neighbourhood.users)
        }  # by the user's number
        plan = plan_for(effort, graph.stations)
        self.allocator = Allocator(neighbourhood, effort, plan)
        self.rounds = self.allocator.greedy_rounds + len(plan.rounds)
        self.kind = np.array([frame.kind_of[user] for user in self.names], dtype=np.int64)
        self.size_bits = np.array([frame.kinds[kind].size_bits for kind in self.kind])
        self.granted_slot = np.full(len(self.names), -1.0)


class Reports:
    """The newest words of users and servers."""

    def __init__(self, frame: Frame, station: int, reach: Iterable[Reach]) -> None:
        self._frame = frame
        self._station = station
        self._reached = {frame.server_number[each.server] for each in reach}
        self._of_users: dict[NodeId, QueueReport] = {}
        self._boards: dict[NodeId, Board] = {}

    def hear(self, source: NodeId, report: QueueReport | Board) -> None:
        if isinstance(report, Board):
            self._boards[source] = report
        else:
            self._of_users[source] = report

    def users(self, members: Membership, slot: int, grant_s: float) -> UsersSeen:
        """Puts together what is known of users, with channels granted at `grant_s` of the slot."""
        slotting, channels = self._frame.slotting, self._frame.graph.channels
        window_s = slotting.slot_s - slotting.guard_s - grant_s
        begin_s = slotting.at_s(slot)
        rows = len(members.names)
        backlog, persistence, slack = np.zeros(rows), np.zeros(rows), np.ones(rows)
        bits = np.zeros((rows, channels))
        for row, user in enumerate(members.names):
            report = self._of_users.get(user)
            if report is None or slot - report.slot > REPORT_HOLD_SLOTS:
                continue
            backlog[row], persistence[row] = report.backlog, report.persistence
            slack[row] = max(1.0, (report.head_due_s - begin_s) / slotting.slot_s)
            bits[row] = report.rates_bps
        return UsersSeen(
            slot,
            members.kind,
            backlog,
            persistence,
            slack,
            slot - members.granted_slot,
            bits * window_s,
            members.size_bits,
        )

    def servers(self, slot: int) -> ServersSeen:
        """Puts together what is known of servers."""
        seen = ServersSeen(self._frame, self._station)
        for board in self._boards.values():
            number = self._frame.server_number[board.server]
            if slot - board.slot <= BOARD_HOLD_SLOTS and number in self._reached:
                seen.backlog[number] = board.backlog
                seen.slowness[number] = board.slowness
                seen.usable[number] = True
        return seen

    def could_finish(self, user: NodeId, bits: float, size_bits: float) -> int:
        """Counts the tasks whose last bit a user could send with so many bits."""
        report = self._of_users[user]
        if bits < report.rest_bits:
            return 0
        return min(report.backlog, 1 + math.floor((bits - report.rest_bits) / size_bits))


class SlotView(Struct, frozen=True, eq=False):
    """What the decisions of one slot rest on; `weights` (users, channels) as the allocator has
    them."""

    users: UsersSeen
    servers: ServersSeen
    weights: NDArray[np.float32]
