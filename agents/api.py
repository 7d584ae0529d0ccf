"""The contract between a node and whatever performs it.

A node owns no clock, network, disk or accelerator. It is told what happened and returns what it
wants; whoever runs it (`emulator/sim/kernel.py`) owns time, radio, faults, inference and
recording. Wishes to the node's own surroundings are sends to an address that begins with `@`; they
are performed at once and never cross the network.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from agents.messages import Body, Grant, Wake
from agents.tasks import Task

NodeId = str

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


class Node(Protocol):
    """A pure state machine. Times never run backwards between two calls to one node."""

    id: NodeId

    def start(self, now_s: float) -> list[Send]:
        """Is called once, before anything else."""

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        """Answers a wake-up that this node asked for with `Send(CLOCK, Wake(...))`."""

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        """Answers a message that arrived, from a peer or from a local address."""

    def tasks(self) -> Iterable[Task]:
        """Names the tasks this node holds now: what is in flight when a run ends."""
