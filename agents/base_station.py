"""A base station: chooses servers for the tasks that name none, and shares out its channels.

Mechanics only: which server and which user's channel is its policy's choice. The network
relays what is sent `via` it without calling it; it is told only when a task is lost beyond it.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from agents.api import CLOCK, JOURNAL, Message, Node, NodeKind, Send
from agents.blocks import begin_of, next_block
from agents.messages import (
    Beacon,
    Grant,
    Handover,
    NodeId,
    Offload,
    Request,
    Result,
    ServerReport,
    Undelivered,
    Vacate,
    Wake,
    ended,
)
from agents.policy import CellPolicy
from agents.reasons import CellCause
from agents.tasks import Task


class Channels(Struct, frozen=True):
    """The channels a base station grants, each for at most `grant_s`; 0: it grants none.

    `slotted`: every `grant_s` each is granted anew, and nobody asks.
    """

    count: int = 0
    grant_s: float = 0.1
    slotted: bool = False


class BaseStation(Node):
    """One cell. `beacon_s` 0: it sends no beacons."""

    kind: NodeKind = "base_station"

    def __init__(
        self,
        name: NodeId,
        users: Sequence[NodeId],
        policy: CellPolicy,
        channels: Channels,
        beacon_s: float = 0.0,
    ) -> None:
        self.id = name
        self._users = tuple(users)
        self.policy = policy
        self._channels = channels
        self._beacon_s = beacon_s
        self._beacon_seq = 0
        self._grants = channels.count > 0 and not channels.slotted
        self._requests: dict[NodeId, Request] = {}
        self._relayed: dict[NodeId, int] = {}  # user -> seq of the last task that came on a grant
        self._holders: dict[int, tuple[NodeId, float]] = {}  # channel -> (user, until_s)

    def start(self, now_s: float) -> list[Send]:
        sends = []
        if self._beacon_s > 0.0:
            self._beacon_seq = round(now_s / self._beacon_s)  # as if it had gone on all the time
            sends.append(Send(CLOCK, Wake(now_s, CellCause.BEACON)))
        if self._channels.slotted:
            slot = next_block(now_s, self._channels.grant_s)  # on a restart it may be any
            begin_s = max(now_s, begin_of(slot, self._channels.grant_s))
            sends.append(Send(CLOCK, Wake(begin_s, CellCause.SLOT, slot)))
        return sends + self.policy.start(now_s)

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        match wake.cause:
            case CellCause.SLOT:
                return self._begin_slot(wake.key, now_s)
            case CellCause.GRANT_OVER:
                return self._share_out(now_s)
            case CellCause.BEACON:
                return self._broadcast(now_s)
            case _:
                return self.policy.on_tick(wake, now_s)

    def _begin_slot(self, number: int, now_s: float) -> list[Send]:
        until_s = begin_of(number + 1, self._channels.grant_s)
        sends = [
            Send(user, Grant(channel, until_s))
            for channel, user in enumerate(self.policy.draw(now_s))
            if user is not None
        ]
        sends.append(Send(CLOCK, Wake(until_s, CellCause.SLOT, number + 1)))
        return sends

    def _broadcast(self, now_s: float) -> list[Send]:
        beacon = Beacon(self._beacon_seq, self._beacon_s)
        self._beacon_seq += 1
        sends = [Send(user, beacon) for user in self._users]
        sends.append(Send(CLOCK, Wake(now_s + self._beacon_s, CellCause.BEACON)))
        return sends

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Offload() as offload:
                return self._relay(offload, message, now_s)
            case Request() as request if self._grants:
                return self._hear(request, message.source, now_s)
            case Vacate(channel=channel, until_s=until_s):
                if self._holders.get(channel) != (message.source, until_s):
                    return []  # a copy, or it came too late
                del self._holders[channel]
                return self._share_out(now_s)
            case ServerReport() as report:
                self.policy.view.hear(report)
                return []
            case Handover():
                return []  # its users go to another, or come back; it is theirs to know
            case Undelivered(lost=Offload() | Result() as lost, reason=reason, attempts=attempts):
                end = ended(lost.task, now_s, "dropped", reason, lost.server or "", attempts)
                return [Send(JOURNAL, end)]
            case _:
                return self.policy.on_message(message, now_s)

    def tasks(self) -> Iterable[Task]:
        return ()  # relays at once, keeps nothing

    def readings(self, now_s: float) -> dict[str, float]:
        return self.policy.readings(now_s)

    def _relay(self, offload: Offload, message: Message, now_s: float) -> list[Send]:
        server = offload.server
        view = self.policy.view
        if server is None:
            server = self.policy.route(offload.task, now_s)
            view.sent_since[server] += 1
        sends = [Send(server, Offload(offload.task, server, message.attempts))]
        if self._grants:
            user, seq = message.source, offload.task.seq
            self._relayed[user] = seq
            if user in self._requests and self._requests[user].seq == seq:
                del self._requests[user]
            self._holders = {c: held for c, held in self._holders.items() if held[0] != user}
            sends += self._share_out(now_s)
        return sends

    def _hear(self, request: Request, user: NodeId, now_s: float) -> list[Send]:
        """Keeps a request, unless it is late: a repeat that was overtaken by what it asks for.

        Such a one would win a channel for nothing. An older one is no loss, as a grant is for
        whichever task the user has next.
        """
        kept = self._requests.get(user)
        if request.seq != self._relayed.get(user) and (kept is None or kept.seq <= request.seq):
            self._requests[user] = request
        return self._share_out(now_s)

    def _share_out(self, now_s: float) -> list[Send]:
        """Grants what is free. A user holds at most one channel: it has one radio."""
        self._holders = {c: held for c, held in self._holders.items() if held[1] > now_s}
        holding = {user for user, _ in self._holders.values()}
        asking = {user: r for user, r in self._requests.items() if user not in holding}
        free = [c for c in range(self._channels.count) if c not in self._holders]
        sends: list[Send] = []
        for user, channel in self.policy.grant(asking, free, now_s).items():
            until_s = now_s + self._channels.grant_s
            self._holders[channel] = (user, until_s)
            del self._requests[user]
            sends.append(Send(user, Grant(channel, until_s)))
            sends.append(Send(CLOCK, Wake(until_s, CellCause.GRANT_OVER)))
        return sends
