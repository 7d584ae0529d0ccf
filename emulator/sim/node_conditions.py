"""Puts the faults of nodes into effect on one host: who stands at a node's address, and how it is.

It is told what is active, compares each node's condition with the one before and does
what the difference asks for. A node that goes down loses what it holds there and then, and is made
anew from the plan, as it was before the run; when it comes up again it starts.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from agents.api import CLOCK, RADIO, Node
from agents.messages import Body, Handover, NodeId, Tempo
from agents.reasons import Reason
from agents.tasks import Uniform
from emulator.faults.fold import AnyFault
from emulator.faults.node_types import WELL, ActorKill, Condition, condition_of, handed_over
from emulator.results.journal import Presence
from emulator.sim.accelerator import Accelerator
from emulator.sim.events import EventQueue
from emulator.sim.performer import Performer
from emulator.sim.substitutes import Clock, Down, Skewed


class Workshop(Protocol):
    """What makes new parts of the world while it runs."""

    def fresh(self, name: NodeId, generated: int = 0) -> Node:
        """Returns a node as it is before a run, or after it made so many tasks."""

    def accelerator(self, name: NodeId, model: str = "") -> Accelerator:
        """Returns a node's accelerator; with `model`, one that has that network only."""

    def draw(self, *name: str) -> Uniform:
        """Returns the random stream of that name."""

    def cells(self, name: NodeId) -> Sequence[NodeId]:
        """Names the base stations that a user reaches; of a base station, all."""


class NodeConditions:
    """The conditions of one host's nodes; `faulty` gets those that are not well."""

    def __init__(
        self,
        performer: Performer,
        faulty: dict[NodeId, Condition],
        events: EventQueue,
        workshop: Workshop | None,
        die: Callable[[], None] | None,
    ) -> None:
        self._performer = performer
        self._faulty = faulty
        self._events = events
        self._workshop = workshop
        self._die = die  # kills this process, where hosts have one each
        self._away: set[NodeId] = set()
        self._gone: dict[NodeId, tuple[NodeId, ...]] = {}  # as told, where not empty
        self._turns: dict[NodeId, int] = {}  # counts redrawn departures, so that old ones are void

    def apply(self, active: Sequence[AnyFault], now_s: float, due_s: float) -> None:
        """Brings every node to the condition that the active faults give it.

        `due_s` is when that was due; a runtime may be late.
        """
        for name, node in list(self._performer.nodes.items()):
            kind = node.kind
            if any(isinstance(fault, ActorKill) and fault.hits(name, kind) for fault in active):
                assert self._die is not None, "checked with the scenario"
                self._die()
            before = self._faulty.get(name, WELL)
            after = condition_of(active, name, kind)
            if after != before:
                if after == WELL:
                    del self._faulty[name]
                else:
                    self._faulty[name] = after
                self._change(name, before, after, now_s, due_s)
            if kind != "server":
                self._hand_over(name, active, now_s)

    def _change(
        self, name: NodeId, before: Condition, after: Condition, now_s: float, due_s: float
    ) -> None:
        performer = self._performer
        if after.model != before.model:
            performer.devices.install(name, self._shop.accelerator(name, after.model))
        moved_s = 0.0
        if (after.ahead_s, after.drift) != (before.ahead_s, before.drift):
            new, old = (Clock(each.ahead_s, each.drift) for each in (after, before))
            moved_s = new.shows_s(now_s) - old.shows_s(now_s)
            performer.set_clock(name, new if after.ahead_s or after.drift else None)
            if not self._down_by(name, before):
                performer.let_act(name, self._up(name))
        is_there = performer.nodes[name].kind == "user" and name not in self._away
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

    def _down_by(self, name: NodeId, condition: Condition) -> Reason:
        return condition.down_by or (Reason.AWAY if name in self._away else Reason.NONE)

    def _set_down(self, name: NodeId, before: Reason, after: Reason, now_s: float) -> None:
        if bool(before) == bool(after):
            return
        if after:
            self._fall(name, after, now_s)
        else:
            self._rise(name, now_s)

    def _fall(self, name: NodeId, reason: Reason, now_s: float) -> None:
        performer = self._performer
        old = performer.nodes[name]
        tasks = performer.empty(name, now_s)
        performer.replace(name, self._shop.fresh(name, old.generated), now_s)
        down = Down(old, reason)
        performer.let_act(name, down)
        performer.perform(name, down.lose(tasks, now_s), now_s)

    def _rise(self, name: NodeId, now_s: float) -> None:
        self._performer.let_act(name, self._up(name))
        self._performer.begin(name, now_s)
        hurry = self._faulty.get(name, WELL).hurry  # it starts as if all were well
        if hurry != 1.0:
            self._tell(name, CLOCK, Tempo(hurry), now_s)
        if name in self._gone:
            self._tell(name, RADIO, Handover(self._gone[name]), now_s)

    def _up(self, name: NodeId) -> Node:
        node, clock = self._performer.nodes[name], self._performer.clock(name)
        return node if clock is None else Skewed(node, clock)

    def _tell(self, name: NodeId, source: NodeId, body: Body, now_s: float) -> None:
        self._performer.tell(name, source, body, now_s)

    # Users that move, leave and join

    def _hand_over(self, name: NodeId, active: Sequence[AnyFault], now_s: float) -> None:
        """Tells users and base stations which others are gone."""
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
        condition = self._faulty.get(user, WELL)
        before = self._down_by(user, condition)
        self._away ^= {user}
        self._set_down(user, before, self._down_by(user, condition), now_s)
        self._performer.record(Presence(now_s, user, user not in self._away))

    def _plan_turn(self, user: NodeId, from_s: float) -> None:
        """Draws when a user leaves or joins next. Exponential spans may be drawn anew at any time:
        they have no memory. By name of the instant, so that they depend on nothing before it."""
        self._turns[user] = turn = self._turns.get(user, 0) + 1
        condition = self._faulty.get(user, WELL)
        rate_hz = condition.join_rate_hz if user in self._away else condition.leave_rate_hz
        if condition.has_churn and rate_hz > 0.0:
            uniform = self._shop.draw("churn", user, repr(from_s))
            due_s = from_s - math.log(1.0 - uniform()) / rate_hz
            self._events.at(due_s, self._turn, (user, turn, due_s))

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
