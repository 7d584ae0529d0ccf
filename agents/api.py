"""The contract between a node and whatever performs it.

A node owns no clock, network, disk or accelerator. It is told what happened and returns what it
wants; whoever runs it (`emulator/sim/kernel.py`) owns time, radio, faults, inference and
recording. Wishes to the node's own surroundings are sends to an address that begins with `@`; they
are performed at once and never cross the network.
"""

from collections.abc import Iterable
from typing import Literal, Protocol

from msgspec import Struct

from agents.messages import Body, Grant, ServerReport, Wake, tag_of
from agents.tasks import Task

NodeId = str
NodeKind = Literal["user", "base_station", "server"]

CLOCK = "@clock"  # takes Wake, answers by on_tick
JOURNAL = "@journal"  # takes TaskEnd and Allocated, answers nothing
ACCELERATOR = "@accelerator"  # takes Execute, answers Executed when it is served; or Abort
RADIO = "@radio"  # takes Sense, answers Sensed at once; also the source of Undelivered


class Send(Struct, frozen=True, gc=False):
    """What a node returns. It cannot forge source or time: the runtime stamps both.

    `grant` is the radio resource this transmission uses, where a base station gave one. `via` is
    the base station whose radio and backhaul carry it to a node that has no link of its own to
    this one: what needs no decision there passes without waking it.
    """

    target: NodeId
    body: Body
    grant: Grant | None = None
    via: NodeId = ""


class Message(Struct, frozen=True, gc=False, array_like=True):
    """What a node receives, stamped by the runtime.

    `attempts` counts the attempts of the first hop (1 = no resend); `via` is as in `Send`.
    """

    source: NodeId
    target: NodeId
    sent_s: float
    body: Body
    attempts: int = 1
    via: NodeId = ""


class Unhandled(Exception):
    """A node does not know what to do with a wake-up or a message: somebody made a mistake.

    Whoever runs the node drops what it was and records that.
    """

    def __init__(self, what: Wake | Message) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        if isinstance(self.what, Wake):
            return f"wake-up '{self.what.cause.word}' ({self.what.cause.says})"
        return f"message '{tag_of(type(self.what.body))}' from {self.what.source}"


class Node(Protocol):
    """A pure state machine. Times never run backwards between two calls to one node.

    What it does not know it answers with `Unhandled`. Roles inherit this class for its defaults.
    """

    __slots__ = ()

    id: NodeId
    kind: NodeKind  # to whoever has to do with it by kind, as faults have

    @property
    def generated(self) -> int:
        """How many tasks it made; whoever takes its place numbers them from there."""
        return 0

    def start(self, now_s: float) -> list[Send]:
        """Is called once, before anything else."""

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        """Answers a wake-up that this node asked for with `Send(CLOCK, Wake(...))`."""

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        """Answers a message that arrived, from a peer or from a local address."""

    def tasks(self) -> Iterable[Task]:
        """Names the tasks this node holds now: what is in flight when a run ends."""

    def report(self, now_s: float) -> ServerReport | None:
        """Says, of a server, what is to be known of it at every sample; None: nothing."""
        return None

    def readings(self, now_s: float) -> dict[str, float]:
        """Returns numbers to be added up over all nodes and drawn over time."""
        return {}
