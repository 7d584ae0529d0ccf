"""How messages cross the network: attempts on links, shared channels, packets, what is given back.

What a node sends is handed to `send`; what gets through is handed to `deliver`, or mailed to the
host where it is due.
"""

import math
from collections.abc import Callable, Container, Sequence
from typing import get_args

import msgspec

from agents.api import RADIO, Message, Send
from agents.messages import Body, Control, NodeId, Offload, Result, Undelivered
from agents.messages.slots import Burst
from agents.reasons import Reason
from agents.tasks import HEADER_BITS
from emulator.faults.fold import AnyFault
from emulator.faults.link_types import Duplicate
from emulator.sim.air import ROUNDING_S, Flight
from emulator.sim.events import EventQueue, Handler
from emulator.sim.network import Again, Deliver, Link, Network

TOKENS = frozenset({Offload, Result, Burst})  # what carries tasks; all else is a protocol's message
CARRIERS = frozenset({Offload, Burst})  # what takes a shared channel to carry tasks
CONTROL = frozenset(get_args(Control))

Remote = Callable[[Message | Flight, float, NodeId], None]
"""Takes what is due at an instant on the host that carries a node."""


class Delivery:
    """What is on its way from and to the nodes of one host, which are those in `here`.

    `control` holds the links of what protocols negotiate with; absent: the same as the tasks'.
    `remote` takes what is for other hosts.
    """

    def __init__(
        self,
        events: EventQueue,
        network: Network,
        control: Network | None,
        here: Container[NodeId],
        deliver: Handler,
        remote: Remote | None,
    ) -> None:
        self.copying = False  # whether some link makes copies
        self._network = network
        self._control = control
        self._here = here
        self._remote = remote
        # Bound once: a method is bound anew each time it is named, five times a task otherwise.
        self._at = events.at
        self._soon = events.soon
        self._deliver = deliver
        self._pass_later: Handler = self._pass_on
        self._try_later: Handler = self._try

    def apply(self, active: Sequence[AnyFault]) -> None:
        """Puts the active faults into effect on every link."""
        self._network.apply(active)
        if self._control is not None:
            self._control.apply(active)
        self.copying = any(isinstance(fault, Duplicate) for fault in active)

    def send(self, source: NodeId, send: Send, now_s: float) -> None:
        """Begins to carry what a node sends to a peer."""
        target, body, via = send.target, send.body, send.via
        link = self._link(source, via or target, body)
        if link.shared_channels and type(body) in CARRIERS:
            self._fly(Flight(source, target, now_s, body, send.grant), now_s)  # type: ignore[arg-type]
        else:
            self._cross(link, Message(source, target, now_s, body, 1, via), now_s)

    def rates_bps(self, source: NodeId, bs: NodeId, now_s: float) -> tuple[float, ...]:
        """Says what each channel of a base station carries now for one node."""
        return self._network.link(source, bs).rates_bps(now_s)

    def accept(self, arrival: Message | Flight, at_s: float) -> None:
        """Takes in what another host handed to its `remote`."""
        if isinstance(arrival, Message):
            # What passes a base station of this host and ends on it never left it.
            passes = arrival.via in self._here
            self._at(at_s, self._pass_later if passes else self._deliver, arrival)
        elif arrival.target in self._here:
            self._enter(arrival)
        else:
            self._missed(arrival, at_s)

    def is_copied(self, message: Message, now_s: float) -> bool:
        """Says whether the last link of what just arrived has it arrive once more."""
        last = message.via or message.source
        return self._is_copied(last, message.target, message.body, now_s)

    def _link(self, source: NodeId, target: NodeId, body: Body) -> Link:
        network = self._network
        if self._control is not None and type(body) in CONTROL:
            network = self._control
        return network.links[source].get(target) or network.link(source, target)

    # Links that nobody else uses

    def _cross(self, link: Link, message: Message, now_s: float) -> None:
        """Sends a message over a link: its only one, or one of two."""
        while link.sure_s is not None:
            # A check that the body is airborne would cost as much as all else here.
            link.count(message.body.size_bits)  # type: ignore[union-attr]
            if link.sure_s or link.target not in self._here:
                self._arrive(link, message, now_s + link.sure_s)
                return
            if link.target != message.via:
                self._soon(self._deliver, message)
                return
            if self.copying:
                self._pass_on(message, now_s)
                return
            link = self._link(message.via, message.target, message.body)
        hold_s = 0.0 if type(message.body) in TOKENS else link.hold_s(message.body, now_s)
        if hold_s == 0.0:
            self._load((link, message, 1), now_s)
        elif hold_s < math.inf:
            self._at(now_s + hold_s, self._load, (link, message, 1))

    def _arrive(self, link: Link, message: Message, at_s: float) -> None:
        """Has a message arrive at the end of a link, where it may go on over its second one."""
        if link.target not in self._here:
            self._mail(message, at_s, link.target)
        else:
            passes = link.target == message.via
            self._at(at_s, self._pass_later if passes else self._deliver, message)

    def _load(self, trial: tuple[Link, Message, int], now_s: float) -> None:
        """Gives a message to a link, which may wait for more to make up a packet."""
        link, message, _ = trial
        if link.gather_s is None:
            self._try(trial, now_s)
        elif link.gather(message):
            self._at(now_s + link.gather_s, self._pack_up, link)

    def _pack_up(self, link: Link, now_s: float) -> None:
        """Sends what was gathered for a link as one packet with one header."""
        self._try_packet((link, link.take_gathered(), 1), now_s)

    def _try_packet(self, trial: tuple[Link, list[Message], int], now_s: float) -> None:
        """Makes one attempt with a packet of control messages: all arrive, or none."""
        link, messages, attempt = trial
        sizes_bits = (message.body.size_bits for message in messages)  # type: ignore[union-attr]
        size_bits = sum(sizes_bits) - HEADER_BITS * (len(messages) - 1)
        verdict = link.judge(size_bits, attempt, now_s)
        if isinstance(verdict, Again):
            self._at(verdict.at_s, self._try_packet, (link, messages, attempt + 1))
        elif isinstance(verdict, Deliver):
            for message in messages:
                self._arrive(link, message, verdict.at_s)

    def _pass_on(self, message: Message, now_s: float) -> None:
        """Takes a message over its second link, past the base station between."""
        via, body = message.via, message.body
        link = self._link(via, message.target, body)
        self._cross(link, message, now_s)
        if self.copying and self._is_copied(message.source, via, body, now_s):
            self._cross(link, message, now_s)

    def _is_copied(self, source: NodeId, target: NodeId, body: Body, now_s: float) -> bool:
        """Says whether what arrived over a link is taken twice.

        A copy of a task is recognised, since a task is a token: it only costs the link an attempt.
        """
        if source[0] == "@":
            return False
        size_bits: float = body.size_bits  # type: ignore[union-attr]
        is_copied = self._link(source, target, body).copies(size_bits, now_s)
        return is_copied and type(body) not in TOKENS

    def _mail(self, parcel: Message | Flight, at_s: float, to: NodeId) -> None:
        assert self._remote is not None, f"{to} is on no host"
        self._remote(parcel, at_s, to)

    def _try(self, trial: tuple[Link, Message, int], now_s: float) -> None:
        """Makes one attempt on a link that nobody else uses."""
        link, message, attempt = trial
        verdict = link.judge(message.body.size_bits, attempt, now_s)  # type: ignore[union-attr]
        if type(verdict) is Deliver:
            if attempt > 1 and link.source == message.source:
                message = msgspec.structs.replace(message, attempts=attempt)
            self._arrive(link, message, verdict.at_s)
        elif type(verdict) is Again:
            self._at(verdict.at_s, self._try_later, (link, message, attempt + 1))
        else:
            reason, at_s = verdict.reason, verdict.at_s  # type: ignore[union-attr]
            self._give_back(link, message.body, reason, attempt, at_s)

    # Shared channels

    def _fly(self, flight: Flight, now_s: float) -> None:
        """Makes one attempt on a shared channel: how it ends shows when it lands."""
        link = self._network.link(flight.source, flight.target)
        grant = flight.grant
        channel = link.pick() if grant is None else grant.channel
        verdict = link.judge(flight.body.size_bits, flight.attempt, now_s, channel)
        if grant is not None and verdict.at_s > grant.until_s + ROUNDING_S:
            self._give_back(link, flight.body, Reason.GRANT_OVER, flight.attempt, now_s)
            return
        lost_by = Reason.NONE if isinstance(verdict, Deliver) else verdict.reason
        flight.take_off(channel, now_s, verdict.at_s, lost_by)
        if flight.target in self._here:
            self._enter(flight)
        else:
            self._mail(flight, now_s, flight.target)

    def _enter(self, flight: Flight) -> None:
        self._network.airs[flight.target].enter(flight)
        self._at(flight.until_s, self._land, flight)

    def _land(self, flight: Flight, now_s: float) -> None:
        self._network.airs[flight.target].leave(flight)
        if not flight.lost_by:
            body, attempt = flight.body, flight.attempt
            message = Message(flight.source, flight.target, flight.sent_s, body, attempt)
            self._deliver(message, now_s)
        elif flight.source in self._here:
            self._missed(flight, now_s)
        else:
            self._mail(flight, now_s, flight.source)

    def _missed(self, flight: Flight, now_s: float) -> None:
        """Tells the sender's link layer, which tries again or gives up."""
        link = self._network.link(flight.source, flight.target)
        retry_s = link.retry_s(flight.lost_by, flight.attempt, now_s)
        if retry_s is None:
            self._give_back(link, flight.body, flight.lost_by, flight.attempt, now_s)
        else:
            flight.resend()
            self._at(retry_s, self._fly, flight)

    def _give_back(self, link: Link, body: Body, reason: Reason, attempt: int, at_s: float) -> None:
        """Returns a lost task to its sender; other messages are simply gone."""
        if isinstance(body, Offload | Result | Burst):
            lost = Undelivered(body, link.target, reason, attempt)
            self._at(at_s, self._deliver, Message(RADIO, link.source, at_s, lost))
