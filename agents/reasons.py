"""Why things happen, in one place: why tasks and attempts come to nothing, and why nodes wake.

Each stands with the sentence that people read about it. The word of a `Reason` is what journals,
tables and metrics call it, and stays as it is.
"""

from enum import StrEnum
from typing import Self

from msgspec import Struct


class Reason(StrEnum):
    """Why a task ended without a result, or an attempt to transmit came to nothing."""

    says: str

    def __new__(cls, word: str, says: str = "") -> Self:
        self = str.__new__(cls, word)
        self._value_ = word
        self.says = says
        return self

    NONE = "", "it brought a result"

    # Given up by the node that held it
    DEADLINE = "deadline", "waiting, and would have been late"
    OVERRUN = "overrun", "in service at its deadline"
    BOUND = "bound", "dropped at the head of a queue, so that the bound holds"
    REJECTED = "rejected", "not admitted: what waits already is enough"
    QUEUE_FULL = "queue-full", "no room: the queue was full of tasks at least as urgent"
    UNHANDLED = "unhandled", "sent to a node that does not know such messages"

    # Lost with the node that held it, or that it was for
    CRASH = "crash", "its server had crashed"
    BS_OUTAGE = "bs-outage", "its base station was out"
    AWAY = "away", "its user had left"

    # Lost on the way by the channel
    LOSS = "loss", "lost on the radio, each attempt by itself"
    BURST = "burst", "lost on the radio, in a burst of losses"
    FADING = "fading", "the radio signal had faded"
    TRACE = "trace", "lost on the radio, as in the recorded trace"
    COLLISION = "collision", "others were sending on the same channel at the same time"
    GRANT_OVER = "grant-over", "the granted channel was not held long enough to send it"

    # Lost on the way by a fault of links
    BLACKOUT = "blackout", "a blackout: nothing gets through"
    PARTITION = "partition", "a partition separates sender and receiver"
    RATE = "rate", "a fault leaves the link no rate at all"
    CHANNEL_LOSS = "channel-loss", "a fault, or the radio itself, closed the channel"
    LOSS_FAULT = "loss-fault", "lost by a loss fault"
    BURST_FAULT = "burst-fault", "lost by a fault, in a burst of losses"
    CORRUPT_FAULT = "corrupt-fault", "corrupted by a fault"
    MESSAGE_DROP = "message-drop", "a protocol message that a fault drops"
    COPY = "copy", "a copy made by a fault: it brought nothing new"


class Cause(Struct, frozen=True, eq=False):
    """Why a node asked to be woken.

    Equal to itself only: what a role and what its policy call the same are two causes, so neither
    can take a wake-up of the other for its own. A protocol makes its own beside its policies.
    """

    word: str
    says: str


class UserCause:
    GENERATE = Cause("generate", "the next task is due")
    ASK = Cause("ask", "a request for a channel may have been lost")
    SLOT = Cause("slot", "a slot begins")
    OVERDUE = Cause("overdue", "the task on the own CPU is due now")


class CellCause:
    """Of base stations."""

    SLOT = Cause("slot", "a slot begins, whose channels are granted anew")
    GRANT_OVER = Cause("grant-over", "a granted channel is free again")
    BEACON = Cause("beacon", "the next beacon is due")
    ALLOCATE = Cause("allocate", "reports are in: the allocation of this slot begins")
    ROUND = Cause("round", "the next mini-round of the allocation begins")


class ServerCause:
    REPORT = Cause("report", "the next report to the base stations is due")
    SLOT = Cause("slot", "a slot begins")
    OVERDUE = Cause("overdue", "a task in service is due now")


class NegotiationCause:
    """Of the policies that negotiate rates."""

    ACT = Cause("act", "a user has made up its mind")
    WATCH = Cause("watch", "an answer to a user is overdue, or it was quiet for too long")
    HINT = Cause("hint", "the first joins are in, and their hints are due")
    KEEP = Cause("keep", "a resource looks which of its users are still there")
    SOLVE = Cause("solve", "a resource has collected enough asks")
    MEASURE = Cause("measure", "a server looks whether its service time has changed")
