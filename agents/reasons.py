"""Why tasks and attempts come to nothing, in one place, each with the sentence that people read.

The word of a `Reason` is what journals, tables and metrics call it, and stays as it is.
"""

from enum import StrEnum
from typing import Self


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
