"""Puts the faults of nodes into effect on one host: who stands at a node's address, and how it is.

The kernel tells it what is active; it compares each node's condition with the one before and does
what the difference asks for. A node that goes down loses what it holds there and then, and is made
anew from the plan, as it was before the run; when it comes up again it starts.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from agents.api import CLOCK, RADIO, Node
from agents.base_station import BaseStation
from agents.messages import Body, Handover, NodeId, Tempo
from agents.tasks import Uniform
from agents.todg.base_station import ScheduledCell
from agents.user import User
from emulator.faults.fold import AnyFault
from emulator.faults.node_types import WELL, ActorKill, Condition, condition_of, handed_over
from emulator.faults.selectors import NodeKind
from emulator.results.journal import Presence
from emulator.results.readings import Read
from emulator.sim.accelerator import Accelerator
from emulator.sim.substitutes import Clock, Down, Skewed

if TYPE_CHECKING:
    from emulator.sim.kernel import Kernel

AWAY = "away"


class Workshop(Protocol):
    """What makes new parts of the world while it runs."""

    def fresh(self, name: NodeId) -> Node:
        """Returns a node as it is before a run."""

    def reads(self, node: Node) -> Sequence[Read]:
        """Returns what tells of a node over time."""

    def accelerator(self, name: NodeId, model: str = "") -> Accelerator:
        """Returns a node's accelerator; with `model`, one that has that network only."""

    def draw(self, *name: str) -> Uniform:
        """Returns the random stream of that name."""

    def cells(self, name: NodeId) -> Sequence[NodeId]:
        """Names the base stations that a user reaches; of a base station, all."""


def kind_of(node: Node) -> NodeKind:
    match node:
        case User():
            return "user"
        case BaseStation() | ScheduledCell():
            return "base_station"
        case _:
            return "server"


class NodeConditions:
    """The conditions of one kernel's nodes. `faulty` holds those that are not well."""

    def __init__(
        self, kernel: "Kernel", workshop: Workshop | None, die: Callable[[], None] | None
    ) -> None:
        self.faulty: dict[NodeId, Condition] = {}
        self.clocks: dict[NodeId, Clock] = {}
        self._kernel = kernel
        self._workshop = workshop
        self._die = die  # kills this process, where hosts have one each
        self._away: set[NodeId] = set()
        self._gone: dict[NodeId, tuple[NodeId, ...]] = {}  # as told, where not empty
        self._turns: dict[NodeId, int] = {}  # counts redrawn departures, so that old ones are void

    def apply(self, active: Sequence[AnyFault], now_s: float, due_s: float) -> None:
        """Brings every node to the condition that the active faults give it.

        `due_s` is when that was due; a runtime may be late.
        """
        for name, node in list(self._kernel.nodes.items()):
            kind = kind_of(node)
            if any(isinstance(fault, ActorKill) and fault.hits(name, kind) for fault in active):
                assert self._die is not None, "checked with the scenario"
                self._die()
            before = self.faulty.get(name, WELL)
            after = condition_of(active, name, kind)
            if after != before:
                if after == WELL:
                    del self.faulty[name]
                else:
                    self.faulty[name] = after
                self._change(name, before, after, now_s, due_s)
            if isinstance(node, User | ScheduledCell):
                self._hand_over(name, active, now_s)

    def _change(
        self, name: NodeId, before: Condition, after: Condition, now_s: float, due_s: float
    ) -> None:
        kernel = self._kernel
        if after.model != before.model:
            kernel.accelerators[name] = self._shop.accelerator(name, after.model)
        moved_s = 0.0
        if (after.ahead_s, after.drift) != (before.ahead_s, before.drift):
            new, old = (Clock(each.ahead_s, each.drift) for each in (after, before))
            moved_s = new.shows_s(now_s) - old.shows_s(now_s)
            if after.ahead_s or after.drift:
                self.clocks[name] = new
            else:
                del self.clocks[name]
            if not self._down_by(name, before):
                kernel.acting[name] = self._up(name)
        is_there = isinstance(kernel.nodes[name], User) and name not in self._away
        if is_there and (moved_s or after.hurry != before.hurry):
            self._tell(name, CLOCK, Tempo(after.hurry, moved_s), now_s)
        self._set_down(name, self._down_by(name, before), self._down_by(name, after), now_s)
        if _churn(after) != _churn(before):
            if after.has_churn != (name in self._away) and (
                not after.has_churn or (after.all_leave and not before.all_leave)
            ):
                self._come_or_go(name, now_s)
            self._plan_turn(name, due_s)

    @property
    def _shop(self) -> Workshop:
        assert self._workshop is not None, "a kernel without a workshop was told of such a fault"
        return self._workshop

    # Down and up

    def _down_by(self, name: NodeId, condition: Condition) -> str:
        return condition.down_by or (AWAY if name in self._away else "")

    def _set_down(self, name: NodeId, before: str, after: str, now_s: float) -> None:
        if bool(before) == bool(after):
            return
        if after:
            self._fall(name, after, now_s)
        else:
            self._rise(name, now_s)

    def _fall(self, name: NodeId, reason: str, now_s: float) -> None:
        kernel = self._kernel
        old = kernel.nodes[name]
        tasks = kernel.clear(name, now_s)
        fresh = self._shop.fresh(name)
        if isinstance(old, User) and isinstance(fresh, User):
            fresh.generated = old.generated  # tasks are named by their number
        kernel.replace(name, fresh, self._shop.reads(fresh), now_s)
        server = name if kind_of(old) == "server" else ""
        kernel.acting[name] = down = Down(name, reason, server)
        kernel.perform(name, down.lose(tasks, now_s), now_s)

    def _rise(self, name: NodeId, now_s: float) -> None:
        self._kernel.acting[name] = self._up(name)
        self._kernel.begin(name, now_s)
        hurry = self.faulty.get(name, WELL).hurry  # it starts as if all were well
        if hurry != 1.0:
            self._tell(name, CLOCK, Tempo(hurry), now_s)
        if name in self._gone:
            self._tell(name, RADIO, Handover(self._gone[name]), now_s)

    def _up(self, name: NodeId) -> Node:
        node, clock = self._kernel.nodes[name], self.clocks.get(name)
        return node if clock is None else Skewed(node, clock)

    def _tell(self, name: NodeId, source: NodeId, body: Body, now_s: float) -> None:
        self._kernel.tell(name, source, body, now_s)

    # Users that move, leave and join

    def _hand_over(self, name: NodeId, active: Sequence[AnyFault], now_s: float) -> None:
        """Tells users, and base stations that plan together, which others are gone."""
        before = self._gone.get(name, ())
        gone: tuple[NodeId, ...] = ()
        if self._workshop is not None:
            gone = tuple(bs for bs in self._workshop.cells(name) if handed_over(active, bs))
        if gone == before:
            return
        self._gone.pop(name, None)
        if gone:
            self._gone[name] = gone
        self._tell(name, RADIO, Handover(gone), now_s)  # who is down hears it when it is up

    def _come_or_go(self, user: NodeId, now_s: float) -> None:
        condition = self.faulty.get(user, WELL)
        before = self._down_by(user, condition)
        self._away ^= {user}
        self._set_down(user, before, self._down_by(user, condition), now_s)
        self._kernel.records.append(Presence(now_s, user, user not in self._away))

    def _plan_turn(self, user: NodeId, from_s: float) -> None:
        """Draws when a user leaves or joins next. Exponential spans may be drawn anew at any time:
        they have no memory. By name of the instant, so that they depend on nothing before it."""
        self._turns[user] = turn = self._turns.get(user, 0) + 1
        condition = self.faulty.get(user, WELL)
        rate_hz = condition.join_rate_hz if user in self._away else condition.leave_rate_hz
        if condition.has_churn and rate_hz > 0.0:
            uniform = self._shop.draw("churn", user, repr(from_s))
            due_s = from_s - math.log(1.0 - uniform()) / rate_hz
            self._kernel.at(due_s, self._turn, (user, turn, due_s))

    def _turn(self, drawn: tuple[NodeId, int, float], now_s: float) -> None:
        user, turn, due_s = drawn
        if turn == self._turns[user]:
            self._come_or_go(user, now_s)
            self._plan_turn(user, due_s)


def _churn(condition: Condition) -> tuple[bool, bool, float, float]:
    return (
        condition.has_churn,
        condition.all_leave,
        condition.leave_rate_hz,
        condition.join_rate_hz,
    )
