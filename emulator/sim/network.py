"""The network's verdict on every transmission attempt: channel, faults and resends in one place.

Nothing else in the emulator delays or loses a message. `Link.judge` speaks for the sender's side;
`Air.enter` adds what only the receiving base station can know: who else was on that channel.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from agents.api import Message, NodeId
from agents.messages import Body
from agents.reasons import Reason
from agents.tasks import Uniform
from emulator.faults.base import LinkKind
from emulator.faults.effects import HEALTHY
from emulator.faults.fold import AnyFault
from emulator.results.journal import LinkCount
from emulator.sim.air import Air
from emulator.sim.channel import Adaptive, Channel, Ideal
from emulator.sim.disturbance import Disturbance
from emulator.streams import Streams


class Deliver(Struct, frozen=True, gc=False):
    """The attempt succeeds and ends at `at_s`."""

    at_s: float


class Again(Struct, frozen=True, gc=False):
    """The attempt fails and ends at `at_s`; the link layer is to resend."""

    at_s: float
    reason: Reason


class Drop(Struct, frozen=True, gc=False):
    """The last attempt fails and ends at `at_s`; the message is lost."""

    at_s: float
    reason: Reason


Verdict = Deliver | Again | Drop


BACKOFF_DOUBLINGS = 6


class Resend(Struct, frozen=True):
    """Automatic repeat request: at most `attempts_max` attempts, `ack_s` after each failed one.

    `backoff_s` bounds the random wait before a resend on a contention channel; it doubles with
    every attempt, `BACKOFF_DOUBLINGS` times at most.
    """

    attempts_max: int = 1
    ack_s: float = 0.0
    backoff_s: float = 0.0


class Tally:
    """Attempts on all links of one cell and kind, since they were last taken."""

    __slots__ = ("attempts", "bits", "losses")

    def __init__(self) -> None:
        self.attempts, self.bits = 0, 0.0
        self.losses: dict[Reason, int] = {}

    def lose(self, reason: Reason) -> None:
        self.losses[reason] = self.losses.get(reason, 0) + 1


class Link:
    """One directed link. It counts its attempts in `tally`.

    Every attempt draws two uniforms whatever comes of it; a shared channel draws a third for the
    channel and a fourth for the back-off. While `sure_s` is given there is nothing to decide, and
    whoever carries the message says so to `count` without asking `judge`.
    """

    __slots__ = (
        "_channel",
        "_disturbance",
        "_ever",
        "_gathered",
        "_resend",
        "_streams",
        "_uniform",
        "gather_s",
        "kind",
        "shared_channels",
        "source",
        "sure_s",
        "tally",
        "target",
    )

    def __init__(
        self,
        source: NodeId,
        target: NodeId,
        kind: LinkKind,
        channel: Channel,
        resend: Resend,
        streams: Streams,
        shared_channels: int = 0,
        gather_s: float | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.kind = kind
        self.shared_channels = shared_channels
        self.tally = Tally()  # one for all links of a cell and kind
        self.sure_s: float | None = None  # the delay, while nothing can go wrong
        self.gather_s = gather_s  # None: every message is a packet of its own
        self._gathered: list[Message] = []  # waiting for the packet to leave
        self._channel = channel
        self._resend = resend
        self._streams = streams
        self._uniform: Uniform | None = None  # made when first drawn from
        self._disturbance: Disturbance | None = None  # what active faults do; None: healthy
        self._ever: Disturbance | None = None  # the same one, also while it is healthy

    def apply(self, active: Iterable[AnyFault]) -> None:
        """Takes on the effect of the active faults, from the next attempt on."""
        ends = (self.source, self.target, self.kind)
        touching = [fault for fault in active if fault.touches(*ends)]
        self.sure_s = None
        if touching:
            if self._ever is None:
                self._ever = Disturbance(*ends, self._streams)
            self._ever.apply(touching)
            self._disturbance = self._ever
            return
        self._disturbance = None
        alone = not self.shared_channels and self.gather_s is None
        if isinstance(self._channel, Ideal) and alone:
            self.sure_s = self._channel.delay_s

    def rates_bps(self, now_s: float) -> tuple[float, ...]:
        """Returns what each shared channel of the link carries now; its channel is adaptive."""
        return tuple(self._rate_bps(channel, now_s) for channel in range(self.shared_channels))

    def _rate_bps(self, channel: int, now_s: float) -> float:
        assert isinstance(self._channel, Adaptive)
        disturbance = self._disturbance
        if disturbance is None:
            return self._channel.rate_bps(channel, now_s, 0.0)
        effect = disturbance.effect(now_s)
        if effect.blocked_by or channel in effect.dead_channels:
            return 0.0
        fade_db = disturbance.fade_db(effect)
        return min(self._channel.rate_bps(channel, now_s, fade_db), effect.rate_bps)

    def count(self, size_bits: float) -> None:
        tally = self.tally
        tally.attempts += 1
        tally.bits += size_bits

    def gather(self, message: Message) -> bool:
        """Keeps a message for the next packet; says whether it is the first in it."""
        self._gathered.append(message)
        return len(self._gathered) == 1

    def take_gathered(self) -> list[Message]:
        """Hands over what makes up the packet."""
        messages, self._gathered = self._gathered, []
        return messages

    def judge(self, size_bits: float, attempt: int, now_s: float, channel_no: int = -1) -> Verdict:
        """Decides attempt number `attempt` (from 1), which begins at `now_s`.

        `channel_no` is the shared channel it is on; -1: a link of its own.
        """
        tally = self.tally
        tally.attempts += 1
        tally.bits += size_bits
        disturbance, channel = self._disturbance, self._channel
        effect = HEALTHY if disturbance is None else disturbance.effect(now_s)
        uniform = self._uniform or self._draws()
        lucky = uniform()
        airtime_s = channel.airtime_s(size_bits, now_s, uniform())
        if channel_no >= 0 and isinstance(channel, Adaptive):
            rate_bps = self._rate_bps(channel_no, now_s)
            if rate_bps <= 0.0:  # who was granted it did not look
                return self._failed(effect.blocked_by or Reason.CHANNEL_LOSS, attempt, now_s)
            airtime_s = size_bits / rate_bps
        at_s = now_s + airtime_s
        if disturbance is None:
            if lucky < channel.success(now_s, 0.0):
                return Deliver(at_s)
            return self._failed(channel.reason, attempt, at_s)
        at_s = max(at_s, now_s + size_bits / effect.rate_bps) + disturbance.delay_s(
            effect, size_bits
        )
        struck_by = disturbance.strikes(effect, size_bits)
        if effect.blocked_by:
            return self._failed(effect.blocked_by, attempt, at_s)
        if channel_no in effect.dead_channels:
            return self._failed(Reason.CHANNEL_LOSS, attempt, at_s)
        success = channel.success(now_s, disturbance.fade_db(effect))
        if lucky >= success:
            return self._failed(channel.reason, attempt, at_s)
        if struck_by or lucky >= success * effect.pass_p:
            return self._failed(struck_by or Reason.LOSS_FAULT, attempt, at_s)
        if disturbance.in_burst(now_s):
            return self._failed(Reason.BURST_FAULT, attempt, at_s)
        if lucky >= success * effect.pass_p * effect.clean_p:
            return self._failed(Reason.CORRUPT_FAULT, attempt, at_s)
        return Deliver(at_s + disturbance.late_s(effect, size_bits))

    def hold_s(self, body: Body, now_s: float) -> float:
        """Says how long faults keep a protocol message from the link; infinity: it vanishes."""
        if self._disturbance is None:
            return 0.0
        hold_s = self._disturbance.hold_s(body, now_s)
        if hold_s == math.inf:
            self.count(0.0)
            self.tally.lose(Reason.MESSAGE_DROP)
        return hold_s

    def copies(self, size_bits: float, now_s: float) -> bool:
        """Says whether faults make what just arrived over this link arrive once more."""
        if self._disturbance is None or not self._disturbance.copies(now_s):
            return False
        self.count(size_bits)
        self.tally.lose(Reason.COPY)  # it brings nothing new
        return True

    def retry_s(self, reason: Reason, attempt: int, now_s: float) -> float | None:
        """Says when the link layer resends after a failed attempt on a shared channel.

        None: it gives up. A collision backs off at random, doubling with every attempt.
        """
        if reason is Reason.COLLISION:
            self.tally.lose(reason)
        if attempt >= self._resend.attempts_max:
            return None
        doubled = 2.0 ** min(attempt - 1, BACKOFF_DOUBLINGS)
        return now_s + self._resend.ack_s + self._resend.backoff_s * doubled * self._draws()()

    def pick(self) -> int:
        """Draws one of the shared channels, for a sender to whom none was granted."""
        return int(self._draws()() * self.shared_channels)

    @property
    def bs(self) -> NodeId:
        """The base station at one end."""
        up = self.kind in ("uplink", "control-up", "from-server")
        return self.target if up else self.source

    def _draws(self) -> Uniform:
        if self._uniform is None:
            what = "control" if self.kind.startswith("control") else "attempt"
            self._uniform = self._streams.uniform(what, self.source, self.target)
        return self._uniform

    def _failed(self, reason: Reason, attempt: int, at_s: float) -> Again | Drop:
        self.tally.lose(reason)
        if attempt >= self._resend.attempts_max:
            return Drop(at_s, reason)
        return Again(at_s + self._resend.ack_s, reason)


class Network:
    """All links of one host's nodes, made when first used, each feeling the active faults."""

    def __init__(self, make: Callable[[NodeId, NodeId], Link], airs: dict[NodeId, Air]) -> None:
        self._make = make
        # By source, then target.
        self.links: defaultdict[NodeId, dict[NodeId, Link]] = defaultdict(dict)
        self._tallies: dict[tuple[NodeId, LinkKind], Tally] = {}
        self._active: tuple[AnyFault, ...] = ()
        self.airs = airs

    def link(self, source: NodeId, target: NodeId) -> Link:
        targets = self.links[source]
        link = targets.get(target)
        if link is None:
            link = self._make(source, target)
            link.apply(self._active)
            link.tally = self._tallies.setdefault((link.bs, link.kind), link.tally)
            targets[target] = link
        return link

    def apply(self, active: Iterable[AnyFault]) -> None:
        self._active = tuple(active)
        for targets in self.links.values():
            for link in targets.values():
                link.apply(self._active)

    def take_counts(self, now_s: float) -> Iterator[LinkCount]:
        """Yields the attempts and losses of every cell since the last call."""
        for (bs, kind), tally in self._tallies.items():
            if tally.attempts:
                yield LinkCount(now_s, bs, kind, tally.attempts, tally.bits, tally.losses)
                tally.attempts, tally.bits, tally.losses = 0, 0.0, {}
