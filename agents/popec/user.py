"""The user's part of the freshness protocol: asks for rates, adjusts, asks again.

One edge for each base station and server that it reaches, with one state t per edge. Everything
here is decided from the user's own numbers and from what came back to it. Source:
docs/popec.md, Who solves what.
"""

import math
from collections.abc import Iterable

from agents.api import CLOCK, Message, Send
from agents.messages import Ask, Hint, Join, NodeId, Share, Wake
from agents.policy import UserView
from agents.popec.allotment import AllottedUser
from agents.popec.edge import Edge
from agents.popec.fractional import penalty
from agents.popec.link_belief import SUCCESS_MIN, LinkBelief
from agents.popec.options import Options
from agents.popec.own_problem import OwnProblem
from agents.popec.round_trips import RTO_MIN_S, RoundTrips
from agents.tasks import Uniform

THINK_S = 0.001  # a user's computing time; answers that come meanwhile are used together
SEQS_PER_S = 10_000  # no edge uses up so many numbers
JOIN_S = 0.03  # asks again for the hints that are missing after so long
JOINS_MAX = 7  # then it begins, and takes the missing ones to be like the others
REFINE_ROUND = 5  # by then a user's rate says better what its penalties should be than any hint
REFINE_SHARE = 1.25  # but only a rate that is off by this factor is worth a new start
REFINED_GAMMA = 0.5
PROBE = 10.0  # a silent peer is asked at this many times the retransmission time-out


class NegotiatingUser(AllottedUser):
    """Runs the user's side of the consensus; uses what it was granted all the while."""

    options: Options

    def __init__(self, view: UserView, uniform: Uniform, options: Options) -> None:
        super().__init__(view, uniform, options)
        self.rate_max_hz = options.rate_max_hz
        self._airtime_s = view.cells[0].airtime_s
        self._edges = {cell.bs: Edge(cell.bs, True) for cell in view.cells}
        self._edges |= {name: Edge(name, False, self.sojourns_s[name]) for name in self.splits_hz}
        self._own = OwnProblem(view.weight, options.rate_max_hz, self.success, self.backhaul_s)
        self._has_begun = False
        self._joins = 0
        self._answers = 0  # to asks, on all edges
        self._penalty_rate_hz = math.inf  # the rate that the penalties are made for
        self._censor = options.censor
        self._answered = 0
        self._thinks = False
        self._wake_s = math.inf
        self._round_trips = RoundTrips()
        links = self.success.items() if options.measure else ()
        self._beliefs = {bs: LinkBelief(p) for bs, p in links}
        self.success.update((bs, belief.success) for bs, belief in self._beliefs.items())
        self._rounds = self._messages = 0
        self._bits = 0.0

    # Joining

    def start(self, now_s: float) -> list[Send]:
        # Whoever starts anew has forgotten its numbers, but peers have not: they begin beyond all
        # that an earlier life can have used.
        for edge in self._edges.values():
            edge.seq = math.ceil(now_s * SEQS_PER_S)
        sends = [self._join(edge) for edge in self._edges.values()]
        return [*sends, *self._arm(now_s)]

    def _join(self, edge: Edge) -> Send:
        success = self.success[edge.name] if edge.is_cell else 1.0
        return self._to(edge, Join(self.view.priority, self.view.weight, success))

    def _begin(self, now_s: float) -> list[Send]:
        """Sets penalties and the first copies from the hints; needs one of either side."""
        cells, servers = self._sides(self._edges.values())
        self._has_begun = self._own.begin(cells, servers, self.options.gamma)
        if not self._has_begun:
            return []
        self._penalty_rate_hz = self._own.rate_hz
        return self._activate(now_s)

    # Activation

    def _activate(self, now_s: float) -> list[Send]:
        """Solves the user's own problem and asks where the answer moved."""
        if not self._has_begun:
            return []
        cells, servers = self._sides(self._live())
        self._answered = 0
        copies = self._own.solve(cells, servers)
        if not copies:
            return []
        self._rounds += 1
        off = self._own.rate_hz / self._penalty_rate_hz
        if self._answers >= REFINE_ROUND * len(copies) and max(off, 1.0 / off) > REFINE_SHARE:
            self._refine([*cells, *servers], copies)
        sends: list[Send] = []
        for edge, copy_hz in zip([*cells, *servers], copies, strict=True):
            if edge.is_open:
                continue  # one unanswered ask per edge
            wish_hz = 2.0 * copy_hz - edge.target_hz
            if self._is_old_news(edge, wish_hz, now_s):
                continue
            edge.open(copy_hz, wish_hz, now_s)
            sends.append(self._ask(edge, now_s))
        if sends:
            options = self.options
            self._censor = max(options.censor_min, self._censor * options.censor_decay)
        return sends

    def _refine(self, edges: list[Edge], copies_hz: list[float]) -> None:
        """Sets the penalties by the rate reached; the unscaled duals stay what they were."""
        self._answers = 0
        self._penalty_rate_hz = self._own.rate_hz
        rho = penalty(self.view.weight, self._own.rate_hz, REFINED_GAMMA)
        for edge, copy_hz in zip(edges, copies_hz, strict=True):
            p = self.success[edge.name] if edge.is_cell else 1.0
            edge.rescale(p * p * rho / edge.penalty, copy_hz)

    def _is_old_news(self, edge: Edge, wish_hz: float, now_s: float) -> bool:
        """Says whether an ask may be left out: it moved little, and the peer heard lately."""
        if not self._censor or now_s - edge.asked_s >= self.options.keep_s:
            return False
        moved_hz = abs(wish_hz - edge.asked_hz)
        if edge.is_cell:
            moved_hz *= self.success[edge.name]
        return moved_hz < self._censor * self._own.rate_hz

    # What comes back

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        edge = self._edges.get(message.source)
        if edge is None:
            return []
        match message.body:
            case Hint(rate_hz=rate_hz, mean_s=mean_s):
                return self._hear_hint(edge, rate_hz, mean_s, now_s)
            case Share() as share:
                return [*self._hear_share(edge, share, now_s), *self._arm(now_s)]
            case _:
                return []

    def _hear_hint(self, edge: Edge, rate_hz: float, mean_s: float, now_s: float) -> list[Send]:
        edge.hint_hz = rate_hz
        if not edge.is_cell:
            edge.service_s = mean_s
        if self._has_begun:
            return []  # it has begun without
        if any(math.isnan(other.hint_hz) for other in self._edges.values()):
            return []
        return [*self._begin(now_s), *self._arm(now_s)]

    def _hear_share(self, edge: Edge, share: Share, now_s: float) -> list[Send]:
        if share.seq != edge.seq:
            return []  # of an ask that another has overtaken
        edge.hear(share)
        self._use_shares()
        step_hz = self.options.relaxation * (share.rate_hz - edge.copy_hz)
        if not edge.is_open:
            # The peer changed its answer to an ask that was answered before: replace the step.
            target_hz = edge.base_hz + step_hz
            if abs(target_hz - edge.target_hz) <= 1e-9 * (abs(target_hz) + edge.copy_hz):
                return []
            edge.target_hz = target_hz
            return self._think(now_s)
        self._round_trips.hear(now_s - edge.asked_s, edge.tries)
        edge.is_open = False
        edge.base_hz = edge.target_hz
        edge.target_hz += step_hz
        self._answered += 1
        self._answers += 1
        live = self._live()
        if self._answered >= math.ceil(self.options.quorum * len(live)) or not any(
            other.is_open for other in live
        ):
            return self._think(now_s)
        return []

    def _think(self, now_s: float) -> list[Send]:
        if self._thinks:
            return []
        self._thinks = True
        return [Send(CLOCK, Wake(now_s + THINK_S, "act"))]

    # Time

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        learned = self._learn(now_s)
        if wake.cause == "act":
            self._thinks = False
            return [*learned, *self._activate(now_s), *self._arm(now_s)]
        if wake.at_s != self._wake_s:
            return learned  # an earlier one took its place
        self._wake_s = math.inf
        return [*learned, *self._watch(now_s), *self._arm(now_s)]

    def _watch(self, now_s: float) -> list[Send]:
        """Repeats what was lost, gives up silent peers, shows that it lives itself."""
        if not self._has_begun:
            missing = [edge for edge in self._edges.values() if math.isnan(edge.hint_hz)]
            self._joins += 1
            begun = self._begin(now_s) if self._joins >= JOINS_MAX else []
            return [*(self._join(edge) for edge in missing), *begun]
        sends: list[Send] = []
        was_live = len(self._live())
        is_quiet = False
        for edge in self._edges.values():
            if now_s < self._due_s(edge) - 1e-9:
                continue
            if edge.is_open:
                silent_s = now_s - edge.first_s
                if self._round_trips.is_dead(edge.tries, silent_s, self.options.dead_s):
                    edge.alive = False
                sends.append(self._ask(edge, now_s))
            else:
                is_quiet = True
        if len(self._live()) != was_live:
            self._censor = self.options.censor
            self._use_shares()
        if is_quiet or len(self._live()) != was_live:
            sends += self._think(now_s)
        return sends

    def _due_s(self, edge: Edge) -> float:
        """Returns when something is to be done about an edge."""
        rto_s = self._round_trips.timeout_s
        if self.options.quorum >= 1.0:
            rto_s = self.options.keep_s  # the link layer resends; this only outlives blackouts
        if edge.is_open:
            return edge.asked_s + rto_s * (1.0 if edge.alive else PROBE)
        return edge.asked_s + self.options.keep_s

    def _arm(self, now_s: float) -> list[Send]:
        """Asks to be woken at the next due time, unless it will be anyway."""
        if not self._has_begun:
            due_s = now_s + JOIN_S
        else:
            # Never at once: what is due may have to wait for an answer that is under way.
            due_s = max(min(map(self._due_s, self._edges.values())), now_s + RTO_MIN_S)
        if due_s >= self._wake_s - 1e-9:
            return []
        self._wake_s = due_s
        return [Send(CLOCK, Wake(due_s, "watch"))]

    # What radio links are worth

    def sent(self, bs: NodeId, seq: int, until_s: float, now_s: float) -> list[Send]:
        if bs in self._beliefs:
            self._beliefs[bs].sent(seq, until_s)
        return self._learn(now_s)

    def lost(self, bs: NodeId, seq: int, now_s: float) -> list[Send]:
        if bs in self._beliefs:
            self._beliefs[bs].lost(seq)
        return self._learn(now_s)

    def _learn(self, now_s: float) -> list[Send]:
        """Acts on what became known of its transmissions."""
        is_news = False
        for bs, belief in self._beliefs.items():
            if not belief.settle(self.grants_hz[bs], now_s):
                continue
            is_news = True
            edge = self._edges[bs]
            # The penalty goes with p^2; the unscaled dual, rho (x - t), stays what it was.
            scale = (belief.success / self.success[bs]) ** 2
            self.success[bs] = belief.success
            edge.rescale(scale, edge.copy_hz)
        if not is_news:
            return []
        self._censor = self.options.censor
        self._use_shares()
        return self._think(now_s)

    # Small things

    def _live(self) -> list[Edge]:
        return [edge for edge in self._edges.values() if edge.alive]

    def _sides(self, edges: Iterable[Edge]) -> tuple[list[Edge], list[Edge]]:
        cells: list[Edge] = []
        servers: list[Edge] = []
        for edge in edges:
            if not edge.is_cell:
                servers.append(edge)
            elif self.success[edge.name] > SUCCESS_MIN:
                cells.append(edge)
        return cells, servers

    def _use_shares(self) -> None:
        for edge in self._edges.values():
            rates_hz = self.grants_hz if edge.is_cell else self.splits_hz
            rates_hz[edge.name] = edge.share_hz if edge.alive else 0.0
            if not edge.is_cell:
                self.sojourns_s[edge.name] = edge.service_s + edge.wait_s
        self.settle()

    def _ask(self, edge: Edge, now_s: float) -> Send:
        edge.asked_s = now_s
        edge.tries += 1
        return self._to(
            edge,
            Ask(
                edge.seq,
                edge.asked_hz,
                edge.penalty,
                self._own.omega,
                self.view.priority,
            ),
        )

    def _to(self, edge: Edge, body: Join | Ask) -> Send:
        """Sends past the nearest base station that answers and has the server behind it."""
        self._messages += 1
        self._bits += body.size_bits
        if edge.is_cell:
            return Send(edge.name, body)
        paths = [bs for bs, server in self.backhaul_s if server == edge.name]
        live = [bs for bs in paths if self._edges[bs].alive] or paths
        via = live[edge.tries // 2 % len(live)]  # what was not answered may pass elsewhere
        return Send(edge.name, body, None, via)

    def readings(self, now_s: float) -> dict[str, float]:
        # Residuals are relative to the rate: before there is one, there is nothing to report.
        live = self._live() if self.rate_hz else []
        primal = dual = 0.0
        for edge in live:
            scale = (self.success[edge.name] if edge.is_cell else 1.0) / self.rate_hz
            primal += ((edge.share_hz - edge.copy_hz) * scale) ** 2
            dual += ((edge.share_hz - edge.share_was_hz) * scale) ** 2
        weight = self.view.weight if self.rate_hz else 0.0
        return {
            "objective": weight * self.paoi_s() if weight else 0.0,
            "weights": weight,
            "edges": len(live),
            "primal": primal,
            "dual": dual,
            "users": 1.0,
            "rounds": self._rounds,
            "messages": self._messages,
            "bytes": self._bits / 8.0,
        }

    def paoi_s(self) -> float:
        """Predicts this user's peak age, equation 1; inf where it has no rate."""
        flow = self.flow
        return 1.0 / flow.rate_hz + self._airtime_s + flow.delay_s if flow.rate_hz else math.inf
