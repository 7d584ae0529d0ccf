"""The peers of one user in PoPeC: what it sends them, and who of them is silent.

Repeats what was lost and gives up who answers no more. Source: docs/popec.md, Asynchronous.
"""

import math
from collections.abc import Iterable, Mapping

from agents.api import NodeId, Send
from agents.messages import Ask, Join
from agents.popec.edge import Edge
from agents.popec.options import Options
from agents.popec.round_trips import RTO_MIN_S, RoundTrips

SEQS_PER_S = 10_000  # no edge uses up so many numbers
PROBE = 10.0  # a silent peer is asked at this many times the retransmission time-out


class Peers:
    """One edge for each base station and server; `paths` are (base station, server)."""

    def __init__(
        self,
        cells: Iterable[NodeId],
        services_s: Mapping[NodeId, float],
        paths: Iterable[tuple[NodeId, NodeId]],
        priority: int,
        options: Options,
    ) -> None:
        self.edges = {bs: Edge(bs, True) for bs in cells}
        self.edges |= {name: Edge(name, False, services_s[name]) for name in sorted(services_s)}
        self.messages = 0
        self.bits = 0.0
        self._paths: dict[NodeId, list[NodeId]] = {}  # server -> base stations that lead there
        for bs, server in paths:
            self._paths.setdefault(server, []).append(bs)
        self._priority = priority
        self._options = options
        self._round_trips = RoundTrips()

    def begin(self, now_s: float) -> None:
        """Numbers asks beyond all that an earlier life can have used: peers have not forgotten."""
        for edge in self.edges.values():
            edge.seq = math.ceil(now_s * SEQS_PER_S)

    def live(self) -> list[Edge]:
        return [edge for edge in self.edges.values() if edge.alive]

    def unhinted(self) -> list[Edge]:
        return [edge for edge in self.edges.values() if math.isnan(edge.hint_hz)]

    def ask(self, edge: Edge, urgency: float, now_s: float) -> Send:
        """Sends what is asked of an edge, for the first time or again."""
        edge.asked_s = now_s
        edge.tries += 1
        return self.to(edge, Ask(edge.seq, edge.asked_hz, edge.penalty, urgency, self._priority))

    def to(self, edge: Edge, body: Join | Ask) -> Send:
        """Sends past the nearest base station that answers and has the server behind it."""
        self.messages += 1
        self.bits += body.size_bits
        if edge.is_cell:
            return Send(edge.name, body)
        paths = self._paths[edge.name]
        live = [bs for bs in paths if self.edges[bs].alive] or paths
        via = live[edge.tries // 2 % len(live)]  # what was not answered may pass elsewhere
        return Send(edge.name, body, None, via)

    def answered(self, edge: Edge, now_s: float) -> None:
        """Is told that the open ask of an edge was answered."""
        self._round_trips.hear(now_s - edge.asked_s, edge.tries)
        edge.is_open = False

    def chase(self, urgency: float, now_s: float) -> tuple[list[Send], bool]:
        """Asks again where an answer is overdue, and gives up who is silent for too long.

        Says also whether the user itself has been silent for so long that it should say something.
        """
        sends: list[Send] = []
        is_quiet = False
        for edge in self.edges.values():
            if now_s < self._due_s(edge) - 1e-9:
                continue
            if edge.is_open:
                silent_s = now_s - edge.first_s
                if self._round_trips.is_dead(edge.tries, silent_s, self._options.dead_s):
                    edge.alive = False
                sends.append(self.ask(edge, urgency, now_s))
            else:
                is_quiet = True
        return sends, is_quiet

    def due_s(self, now_s: float) -> float:
        """Returns when to chase next. Never at once: an answer may be under way."""
        return max(min(map(self._due_s, self.edges.values())), now_s + RTO_MIN_S)

    def _due_s(self, edge: Edge) -> float:
        """Returns when something is to be done about an edge."""
        rto_s = self._round_trips.timeout_s
        if self._options.quorum >= 1.0:
            rto_s = self._options.keep_s  # the link layer resends; this only outlives blackouts
        if edge.is_open:
            return edge.asked_s + rto_s * (1.0 if edge.alive else PROBE)
        return edge.asked_s + self._options.keep_s
