"""How messages cross the network: attempts on links, shared channels, packets, what is given back.

The part of a kernel that knows links. What a node sends is handed to `cross` or `fly`; what gets
through is delivered by the kernel, or mailed to the host where it is due.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from agents.api import RADIO, Message
from agents.messages import Body, Control, NodeId, Offload, Result, Undelivered
from agents.messages.slots import Burst
from agents.tasks import HEADER_BITS
from emulator.faults.orders import Handler
from emulator.sim.network import ROUNDING_S, Again, Deliver, Flight, Link, Network

if TYPE_CHECKING:
    from emulator.sim.kernel import Kernel

TOKENS = (Offload, Result, Burst)  # what carries tasks; all else is a protocol's message

Remote = Callable[[Message | Flight, float, NodeId], None]
"""Takes what is due at an instant on the host that carries a node."""


class Crossing:
    """What is on its way from and to the nodes of one kernel; see there for the arguments."""

    def __init__(
        self, kernel: "Kernel", network: Network, control: Network | None, remote: Remote | None
    ) -> None:
        self.copying = False  # whether some link makes copies
        self._network = network
        self._links = network.links
        self._control = control
        self._remote = remote
        self._nodes = kernel.nodes
        self._arrived = kernel.arrived
        # Bound once: a method is bound anew each time it is named, five times a task otherwise.
        self._at = kernel.at
        self._deliver = kernel.deliver
        self.deliver_later: Handler = kernel.deliver
        self.pass_later: Handler = self.pass_on
        self._try_later: Handler = self._try

    def cross(self, link: Link, message: Message, now_s: float) -> None:
        """Sends a message over a link that nobody else uses: its only one, or one of two."""
        if link.sure_s is None:
            hold_s = 0.0 if isinstance(message.body, TOKENS) else link.hold_s(message.body, now_s)
            if hold_s == 0.0:
                self._load((link, message, 1), now_s)
            elif hold_s < math.inf:
                self._at(now_s + hold_s, self._load, (link, message, 1))
            return
        tally = link.tally
        tally.attempts += 1
        # A check that the body is airborne would cost as much as all else here.
        tally.bits += message.body.size_bits  # type: ignore[union-attr]
        passes = link.target == message.via
        if link.target not in self._nodes:
            self._mail(message, now_s + link.sure_s, link.target)
        elif link.sure_s:
            handler = self.pass_later if passes else self.deliver_later
            self._at(now_s + link.sure_s, handler, message)
        elif passes:
            self.pass_on(message, now_s)
        else:
            self._arrived.append(message)

    def _load(self, trial: tuple[Link, Message, int], now_s: float) -> None:
        """Gives a message to a link, which may wait for more to make up a packet."""
        link, message, _ = trial
        if link.gather_s is None:
            self._try(trial, now_s)
            return
        link.gathered.append(message)
        if len(link.gathered) == 1:
            self._at(now_s + link.gather_s, self._pack_up, link)

    def _pack_up(self, link: Link, now_s: float) -> None:
        """Sends what was gathered for a link as one packet with one header."""
        messages, link.gathered = link.gathered, []
        self._try_packet((link, messages, 1), now_s)

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
                if link.target in self._nodes:
                    passes = link.target == message.via
                    self._at(
                        verdict.at_s,
                        self.pass_later if passes else self.deliver_later,
                        message,
                    )
                else:
                    self._mail(message, verdict.at_s, link.target)

    def pass_on(self, message: Message, now_s: float) -> None:
        """Takes a message over its second link, past the base station between."""
        via, target = message.via, message.target
        if self._control is not None and isinstance(message.body, Control):
            link = self._control.link(via, target)
        else:
            link = self._links[via].get(target) or self._network.link(via, target)
        self.cross(link, message, now_s)
        if self.copying and self.is_copied(message.source, via, message.body, now_s):
            self.cross(link, message, now_s)

    def is_copied(self, source: NodeId, target: NodeId, body: Body, now_s: float) -> bool:
        """Says whether what arrived over a link is taken twice.

        A copy of a task is recognised, since a task is a token: it only costs the link an attempt.
        """
        if source[0] == "@":
            return False
        size_bits: float = body.size_bits  # type: ignore[union-attr]
        network = self._network
        if self._control is not None and isinstance(body, Control):
            network = self._control
        is_copied = network.link(source, target).copies(size_bits, now_s)
        return is_copied and not isinstance(body, TOKENS)

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
            if link.target not in self._nodes:
                self._mail(message, verdict.at_s, link.target)
            else:
                passes = link.target == message.via
                handler = self.pass_later if passes else self.deliver_later
                self._at(verdict.at_s, handler, message)
        elif type(verdict) is Again:
            self._at(verdict.at_s, self._try_later, (link, message, attempt + 1))
        else:
            reason, at_s = verdict.reason, verdict.at_s  # type: ignore[union-attr]
            self._give_back(link, message.body, reason, attempt, at_s)

    def fly(self, flight: Flight, now_s: float) -> None:
        """Makes one attempt on a shared channel: how it ends shows when it lands."""
        link = self._network.link(flight.source, flight.target)
        grant = flight.grant
        flight.channel = link.pick() if grant is None else grant.channel
        verdict = link.judge(flight.body.size_bits, flight.attempt, now_s, flight.channel)
        if grant is not None and verdict.at_s > grant.until_s + ROUNDING_S:
            self._give_back(link, flight.body, "grant-over", flight.attempt, now_s)
            return
        flight.begin_s, flight.until_s = now_s, verdict.at_s
        flight.lost_by = "" if isinstance(verdict, Deliver) else verdict.reason
        if flight.target in self._nodes:
            self.enter(flight)
        else:
            self._mail(flight, now_s, flight.target)

    def enter(self, flight: Flight) -> None:
        self._network.airs[flight.target].enter(flight)
        self._at(flight.until_s, self._land, flight)

    def _land(self, flight: Flight, now_s: float) -> None:
        self._network.airs[flight.target].leave(flight)
        if not flight.lost_by:
            body, attempt = flight.body, flight.attempt
            message = Message(flight.source, flight.target, flight.sent_s, body, attempt)
            self._deliver(message, now_s)
        elif flight.source in self._nodes:
            self.missed(flight, now_s)
        else:
            self._mail(flight, now_s, flight.source)

    def missed(self, flight: Flight, now_s: float) -> None:
        """Tells the sender's link layer, which tries again or gives up."""
        link = self._network.link(flight.source, flight.target)
        retry_s = link.retry_s(flight.lost_by, flight.attempt, now_s)
        if retry_s is None:
            self._give_back(link, flight.body, flight.lost_by, flight.attempt, now_s)
        else:
            flight.attempt += 1
            self._at(retry_s, self.fly, flight)

    def _give_back(self, link: Link, body: Body, reason: str, attempt: int, at_s: float) -> None:
        """Returns a lost task to its sender; other messages are simply gone."""
        if isinstance(body, Offload | Result | Burst):
            lost = Undelivered(body, link.target, reason, attempt)
            message = Message(RADIO, link.source, at_s, lost)
            self._at(at_s, self.deliver_later, message)
