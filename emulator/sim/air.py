"""Attempts on the shared channels of one cell, and which of them collide."""

from msgspec import Struct

from agents.messages import Airborne, Grant, NodeId
from agents.reasons import Reason

ROUNDING_S = 1e-9  # sums of slots and airtimes may miss each other by rounding


class Flight(Struct, gc=False, array_like=True):
    """One attempt of one message on the radio or backhaul; `channel` -1: a link of its own.

    Mutable: on a shared channel it can be hit until it lands.
    """

    source: NodeId
    target: NodeId
    sent_s: float
    body: Airborne
    grant: Grant | None
    attempt: int = 1
    channel: int = -1
    begin_s: float = 0.0  # of this attempt
    until_s: float = 0.0
    lost_by: Reason = Reason.NONE  # as long as nothing went wrong

    def take_off(self, channel: int, begin_s: float, until_s: float, lost_by: Reason) -> None:
        """Begins the attempt; `lost_by` is what the channel does to it, whoever else is there."""
        self.channel, self.begin_s, self.until_s = channel, begin_s, until_s
        self.lost_by = lost_by

    def resend(self) -> None:
        """Makes it the next attempt."""
        self.attempt += 1


class Air:
    """The shared channels of one cell: who overlaps whom.

    Two attempts on one channel at one time hit each other, unless the base station granted that
    channel to both. Those that only touch, as in neighbouring slots, do not.
    """

    def __init__(self, channel_count: int) -> None:
        self._aloft: list[list[Flight]] = [[] for _ in range(channel_count)]

    def enter(self, flight: Flight) -> None:
        aloft = self._aloft[flight.channel]
        for other in aloft:
            # Hosts tell of attempts a little late, and so not always in the order of their begins.
            begin_s = max(other.begin_s, flight.begin_s)
            if min(other.until_s, flight.until_s) <= begin_s + ROUNDING_S:
                continue
            if other.grant is None or flight.grant is None:
                # What the channel lost already is lost once.
                other.lost_by = other.lost_by or Reason.COLLISION
                flight.lost_by = flight.lost_by or Reason.COLLISION
        aloft.append(flight)

    def leave(self, flight: Flight) -> None:
        self._aloft[flight.channel] = [f for f in self._aloft[flight.channel] if f is not flight]
