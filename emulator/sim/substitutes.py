"""What answers in a node's place while a fault is on it: nobody, or the node with a wrong clock.

Nodes know nothing of faults, so their code has no case for one. A kernel calls whatever stands at
a node's address; these two are nodes by the same contract.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from agents.api import JOURNAL, Message, Node, NodeKind, Send
from agents.messages import TaskEnd, Wake, ended, tasks_in
from agents.reasons import Reason
from agents.tasks import Task

INSTANTS = ("born_s", "due_s", "ended_s", "arrived_s", "started_s", "finished_s")  # of a TaskEnd


class Down(Node):
    """Holds nothing, says nothing, and loses every task that comes, for the given reason."""

    def __init__(self, node: Node, reason: Reason) -> None:
        self.id = node.id
        self.kind: NodeKind = node.kind
        self._reason = reason

    def start(self, now_s: float) -> list[Send]:
        return []

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        return []

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        return self.lose(tasks_in(message.body), now_s)

    def lose(self, tasks: Iterable[Task], now_s: float) -> list[Send]:
        server = self.id if self.kind == "server" else ""
        return [
            Send(JOURNAL, ended(task, now_s, "dropped", self._reason, server)) for task in tasks
        ]

    def tasks(self) -> Iterable[Task]:
        return ()


class Clock(Struct, frozen=True):
    """Shows t + ahead_s + drift t at the emulated instant t."""

    ahead_s: float
    drift: float

    def shows_s(self, now_s: float) -> float:
        return now_s + self.ahead_s + self.drift * now_s

    def due_s(self, at_s: float, now_s: float) -> float:
        """Returns the instant at which a timer is over that was set now, to what the clock shows
        then. As with real timers it is the span that counts: a clock set anew moves none."""
        return now_s + max(0.0, at_s - self.shows_s(now_s)) / (1.0 + self.drift)


class Skewed(Node):
    """A node that is told the time of a wrong clock."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self.id = node.id
        self.kind: NodeKind = node.kind
        self._node = node
        self._clock = clock

    def start(self, now_s: float) -> list[Send]:
        return self._out(self._node.start(self._clock.shows_s(now_s)), now_s)

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        return self._out(self._node.on_tick(wake, self._clock.shows_s(now_s)), now_s)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        return self._out(self._node.on_message(message, self._clock.shows_s(now_s)), now_s)

    def tasks(self) -> Iterable[Task]:
        return self._node.tasks()

    def _out(self, sends: list[Send], now_s: float) -> list[Send]:
        """Moves what is told to the journal, and radio grants, to the emulated instant; the
        intervals in it stay as the node measured them."""
        fast_s = self._clock.shows_s(now_s) - now_s
        for number, send in enumerate(sends):
            if isinstance(send.body, TaskEnd):
                right = {name: getattr(send.body, name) - fast_s for name in INSTANTS}
                body = msgspec.structs.replace(send.body, **right)
                sends[number] = msgspec.structs.replace(send, body=body)
            elif send.grant is not None:
                grant = send.grant
                grant = msgspec.structs.replace(grant, until_s=grant.until_s - fast_s)
                sends[number] = msgspec.structs.replace(send, grant=grant)
        return sends
