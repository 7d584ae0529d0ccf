"""The user's part of PoPeC: asks for rates, adjusts, asks again.

One edge for each base station and server that it reaches, with one state t per edge. Everything
here is decided from the user's own numbers and from what came back to it. Source:
docs/popec.md, Who solves what.
"""

import math
from collections.abc import Iterable

from agents.api import CLOCK, Message, Send, Unhandled
from agents.messages import Hint, Join, NodeId, Share, Wake
from agents.policy import UserView
from agents.popec.allotment import AllottedUser
from agents.popec.edge import Edge
from agents.popec.fractional import penalty
from agents.popec.link_belief import SUCCESS_MIN, LinkBeliefs
from agents.popec.options import Options
from agents.popec.own_problem import OwnProblem
from agents.popec.peers import Peers
from agents.reasons import NegotiationCause
from agents.tasks import Uniform

THINK_S = 0.001  # a user's computing time; answers that come meanwhile are used together
JOIN_S = 0.03  # asks again for the hints that are missing after so long
JOINS_MAX = 7  # then it begins, and takes the missing ones to be like the others
REFINE_ROUND = 5  # by then a user's rate says better what its penalties should be than any hint
REFINE_SHARE = 1.25  # but only a rate that is off by this factor is worth a new start
REFINED_GAMMA = 0.5


class NegotiatingUser(AllottedUser):
    """Runs the user's side of the consensus; uses what it was granted all the while.

    Many attributes: those of `AllottedUser` are among them.
    """

    options: Options

    def __init__(self, view: UserView, uniform: Uniform, options: Options) -> None:
        super().__init__(view, uniform, options)
        self.rate_max_hz = options.rate_max_hz
        self._airtime_s = view.cells[0].airtime_s
        services_s = {name: self.sojourns_s[name] for name in self.splits_hz}
        self.peers = Peers(self.success, services_s, self.backhaul_s, view.priority, options)
        self._own = OwnProblem(view.weight, options.rate_max_hz, self.success, self.backhaul_s)
        self._has_begun = False
        self._joins = 0
        self._answers = 0  # to asks, on all edges
        self._penalty_rate_hz = math.inf  # the rate that the penalties are made for
        self._censor = options.censor
        self._answered = 0
        self._thinks = False
        self._wake_s = math.inf
        self._beliefs = LinkBeliefs(self.success if options.measure else {})
        self.success |= self._beliefs.success
        self._rounds = 0

    # Joining

    def start(self, now_s: float) -> list[Send]:
        self.peers.begin(now_s)
        sends = [self._join(edge) for edge in self.peers.edges.values()]
        return [*sends, *self._arm(now_s)]

    def _join(self, edge: Edge) -> Send:
        success = self.success[edge.name] if edge.is_cell else 1.0
        return self.peers.to(edge, Join(self.view.priority, self.view.weight, success))

    def _begin(self, now_s: float) -> list[Send]:
        """Sets penalties and the first copies from the hints; needs one of either side."""
        cells, servers = self._sides(self.peers.edges.values())
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
        cells, servers = self._sides(self.peers.live())
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
            sends.append(self.peers.ask(edge, self._own.omega, now_s))
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
        edge = self.peers.edges.get(message.source)
        if edge is None:
            raise Unhandled(message)
        match message.body:
            case Hint(rate_hz=rate_hz, mean_s=mean_s):
                return self._hear_hint(edge, rate_hz, mean_s, now_s)
            case Share() as share:
                return [*self._hear_share(edge, share, now_s), *self._arm(now_s)]
            case _:
                raise Unhandled(message)

    def _hear_hint(self, edge: Edge, rate_hz: float, mean_s: float, now_s: float) -> list[Send]:
        edge.hint_hz = rate_hz
        if not edge.is_cell:
            edge.service_s = mean_s
        if self._has_begun:
            return []  # it has begun without
        if self.peers.unhinted():
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
        self.peers.answered(edge, now_s)
        edge.base_hz = edge.target_hz
        edge.target_hz += step_hz
        self._answered += 1
        self._answers += 1
        live = self.peers.live()
        if self._answered >= math.ceil(self.options.quorum * len(live)) or not any(
            other.is_open for other in live
        ):
            return self._think(now_s)
        return []

    def _think(self, now_s: float) -> list[Send]:
        if self._thinks:
            return []
        self._thinks = True
        return [Send(CLOCK, Wake(now_s + THINK_S, NegotiationCause.ACT))]

    # Time

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause not in (NegotiationCause.ACT, NegotiationCause.WATCH):
            raise Unhandled(wake)
        learned = self._learn(now_s)
        if wake.cause is NegotiationCause.ACT:
            self._thinks = False
            return [*learned, *self._activate(now_s), *self._arm(now_s)]
        if wake.at_s != self._wake_s:
            return learned  # an earlier one took its place
        self._wake_s = math.inf
        return [*learned, *self._watch(now_s), *self._arm(now_s)]

    def _watch(self, now_s: float) -> list[Send]:
        """Repeats what was lost, gives up silent peers, shows that it lives itself."""
        if not self._has_begun:
            missing = self.peers.unhinted()
            self._joins += 1
            begun = self._begin(now_s) if self._joins >= JOINS_MAX else []
            return [*(self._join(edge) for edge in missing), *begun]
        was_live = len(self.peers.live())
        sends, is_quiet = self.peers.chase(self._own.omega, now_s)
        has_changed = len(self.peers.live()) != was_live
        if has_changed:
            self._censor = self.options.censor
            self._use_shares()
        if is_quiet or has_changed:
            sends += self._think(now_s)
        return sends

    def _arm(self, now_s: float) -> list[Send]:
        """Asks to be woken at the next due time, unless it will be anyway."""
        due_s = self.peers.due_s(now_s) if self._has_begun else now_s + JOIN_S
        if due_s >= self._wake_s - 1e-9:
            return []
        self._wake_s = due_s
        return [Send(CLOCK, Wake(due_s, NegotiationCause.WATCH))]

    # What radio links are worth

    def sent(self, bs: NodeId, seq: int, until_s: float, now_s: float) -> list[Send]:
        self._beliefs.sent(bs, seq, until_s)
        return self._learn(now_s)

    def lost(self, bs: NodeId, seq: int, now_s: float) -> list[Send]:
        self._beliefs.lost(bs, seq)
        return self._learn(now_s)

    def _learn(self, now_s: float) -> list[Send]:
        """Acts on what became known of its transmissions."""
        changed = self._beliefs.settle(self.grants_hz, now_s)
        if not changed:
            return []
        for bs, success in changed.items():
            edge = self.peers.edges[bs]
            # The penalty goes with p^2; the unscaled dual, rho (x - t), stays what it was.
            edge.rescale((success / self.success[bs]) ** 2, edge.copy_hz)
            self.success[bs] = success
        self._censor = self.options.censor
        self._use_shares()
        return self._think(now_s)

    # Small things

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
        for edge in self.peers.edges.values():
            rates_hz = self.grants_hz if edge.is_cell else self.splits_hz
            rates_hz[edge.name] = edge.share_hz if edge.alive else 0.0
            if not edge.is_cell:
                self.sojourns_s[edge.name] = edge.service_s + edge.wait_s
        self.settle()

    def readings(self, now_s: float) -> dict[str, float]:
        # Residuals are relative to the rate: before there is one, there is nothing to report.
        live = self.peers.live() if self.rate_hz else []
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
            "messages": self.peers.messages,
            "bytes": self.peers.bits / 8.0,
        }

    def paoi_s(self) -> float:
        """Predicts this user's peak age, equation 1; inf where it has no rate."""
        flow = self.flow
        return 1.0 / flow.rate_hz + self._airtime_s + flow.delay_s if flow.rate_hz else math.inf
