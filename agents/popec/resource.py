"""The resources' part of PoPeC: base stations and servers share what they have.

Both collect asks until enough are fresh, solve their own problem, and answer. They differ in the
problem only. Source: docs/popec.md, Who solves what.
"""

import math
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from agents.api import CLOCK, Message, Send, Unhandled
from agents.freshness import Floats
from agents.messages import Ask, Hint, Join, Share, Wake
from agents.policy import CellView, ServerPolicy, ServerView
from agents.popec.allotment import AllottedCell
from agents.popec.fractional import cell_hints_hz, cell_step, server_hints_hz
from agents.popec.members import Members
from agents.popec.options import Options
from agents.popec.server_step import server_step
from agents.reasons import NegotiationCause
from agents.tasks import Uniform

THINK_S = 0.002  # a resource's computing time
HINT_S = 0.02  # collects the first joins for so long before it says what each may expect
PUSH = 0.02  # tells silent members when their share moved by this part of it, or of the mean
REPORTED_LOAD_MAX = 0.95  # no server has told its users more than this, but for lost messages
MISSED_MAX = 3  # keep-alives; a member that missed more is gone
CHANGE = 0.1  # service moments are acted on when the mean changed by this share


class Answer(Struct, frozen=True, eq=False):
    """What a resource's own problem gives: rates (n,), and for servers what waiting costs."""

    rates_hz: Floats
    waits_s: Floats  # (n,): of each member's class; zero at a base station
    mean_s: float = 0.0


class Negotiation:
    """The state machine of one resource; `solve` and `hint` are its problem.

    `via` says whether users are reached past a base station.
    """

    def __init__(
        self,
        options: Options,
        solve: Callable[[Members], Answer],
        hint: Callable[[Members], tuple[Floats, float]],
    ) -> None:
        self.members = Members()
        self.options = options
        self._solve = solve
        self._hint = hint
        self._mean_s = 0.0  # E[S] of the last answer
        self._unhinted: list[int] = []
        self._hint_s = math.inf  # when the first hints are due
        self._solve_s = math.inf  # when the next round is due
        self._messages = 0
        self._bits = 0.0

    def start(self, now_s: float) -> list[Send]:
        return [Send(CLOCK, Wake(now_s + self.options.keep_s, NegotiationCause.KEEP))]

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Join() as join:
                i = self.members.join(message.source, message.via, join)
                self.members.heard_s[i] = now_s
                if i in self._unhinted:
                    return []
                self._unhinted.append(i)
                if self._hint_s == math.inf:
                    self._hint_s = now_s + HINT_S
                    return [Send(CLOCK, Wake(self._hint_s, NegotiationCause.HINT))]
                return self._give_hints() if now_s > self._hint_s else []
            case Ask() as ask:
                return self._hear(message, ask, now_s)
            case _:
                raise Unhandled(message)

    def on_tick(self, wake: Wake, now_s: float) -> tuple[list[Send], bool]:
        """Returns what to send, and whether the shares changed."""
        match wake.cause:
            case NegotiationCause.HINT:
                return self._give_hints(), False
            case NegotiationCause.KEEP:
                again = Send(CLOCK, Wake(now_s + self.options.keep_s, NegotiationCause.KEEP))
                if not self._forget_the_dead(now_s):
                    return [again], False
                return [*self.round(now_s), again], True
            case NegotiationCause.SOLVE:
                if wake.at_s != self._solve_s or not self.members.is_fresh.any():
                    return [], False  # another one was set in its place
                return self.round(now_s), True
            case _:
                raise Unhandled(wake)

    def _give_hints(self) -> list[Send]:
        hints_hz, mean_s = self._hint(self.members)
        waiting, self._unhinted = self._unhinted, []
        return [self._to(i, Hint(float(hints_hz[i]), mean_s)) for i in waiting]

    def _hear(self, message: Message, ask: Ask, now_s: float) -> list[Send]:
        members = self.members
        i = members.index(message.source)
        if i is None:
            i = members.join(message.source, message.via, Join(ask.priority, 0.0))
        if ask.seq < members.seqs[i] and members.is_live[i]:
            return []  # overtaken; from one that was given up it is a new beginning
        members.heard_s[i] = now_s
        members.vias[i] = message.via
        members.is_live[i] = True
        if ask.seq == members.seqs[i]:
            # A repeated ask: its answer was lost, unless it is still to come.
            return [] if members.is_fresh[i] else [self._share(i)]
        members.seqs[i] = ask.seq
        members.asked_hz[i], members.penalties[i] = ask.rate_hz, ask.penalty
        members.urgencies[i] = ask.urgency
        members.rounds_old[i] = 0
        members.is_fresh[i] = True
        return self._plan_round(now_s)

    def _plan_round(self, now_s: float) -> list[Send]:
        """The partial barrier: enough fresh asks, and none of the others too old."""
        members, options = self.members, self.options
        live = members.is_live
        is_full = members.is_fresh.sum() >= math.ceil(options.quorum * live.sum() - 1e-9)
        if is_full and options.quorum < 1.0:
            stale = members.rounds_old[live & ~members.is_fresh]
            is_full = stale.size == 0 or bool(stale.max() < options.staleness_max)
        if is_full:
            at_s = now_s + THINK_S
        elif options.quorum < 1.0:
            at_s = now_s + options.hold_s
        else:
            return []
        if at_s >= self._solve_s:
            return []
        self._solve_s = at_s
        return [Send(CLOCK, Wake(at_s, NegotiationCause.SOLVE))]

    def round(self, now_s: float) -> list[Send]:
        """Solves with what is there; answers who asked, and tells whose share moved."""
        self._solve_s = math.inf
        members, options = self.members, self.options
        answer = self._solve(members)
        members.rates_hz, members.waits_s = answer.rates_hz, answer.waits_s
        self._mean_s = answer.mean_s
        fresh, live = members.is_fresh.copy(), members.is_live
        members.rounds_old += 1
        members.rounds_old[fresh] = 0
        members.is_fresh[:] = False
        tell = fresh
        if options.quorum < 1.0 and live.any():
            reference_hz = np.maximum(members.rates_hz, members.rates_hz[live].mean())
            moved = np.abs(members.rates_hz - members.reported_hz) > PUSH * reference_hz
            tell = fresh | (live & moved & (members.rounds_old >= 2))
        reported_hz = np.where(tell, members.rates_hz, members.reported_hz)
        if live @ reported_hz * self._mean_s >= REPORTED_LOAD_MAX:
            # What some have been given is to come from others: these must hear of it now.
            tell |= live & (members.reported_hz > members.rates_hz)
        return [self._share(int(i)) for i in np.flatnonzero(tell)]

    def _forget_the_dead(self, now_s: float) -> bool:
        members = self.members
        patience_s = MISSED_MAX * self.options.keep_s + 0.1
        gone = members.is_live & (now_s - members.heard_s > patience_s)
        members.is_live[gone] = members.is_fresh[gone] = False
        members.rates_hz[gone] = 0.0
        return bool(gone.any())

    def _share(self, i: int) -> Send:
        members = self.members
        rate_hz = float(members.rates_hz[i])
        members.reported_hz[i] = rate_hz
        return self._to(
            i, Share(int(members.seqs[i]), rate_hz, float(members.waits_s[i]), self._mean_s)
        )

    def _to(self, i: int, body: Hint | Share) -> Send:
        self._messages += 1
        self._bits += body.size_bits
        return Send(self.members.names[i], body, None, self.members.vias[i])

    def readings(self) -> dict[str, float]:
        members = self.members
        live = members.is_live
        return {
            "messages": self._messages,
            "bytes": self._bits / 8.0,
            "rounds_old": float(members.rounds_old[live].sum()),
            "asks": float(live.sum()),
        }


class NegotiatingCell(AllottedCell):
    """Grants slots by shares that its users negotiate: a projection onto its capacity."""

    options: Options

    def __init__(self, view: CellView, uniform: Uniform, options: Options) -> None:
        super().__init__(view, uniform, options)
        self.negotiation = Negotiation(options, self._solve, self._hint)

    def start(self, now_s: float) -> list[Send]:
        return self.negotiation.start(now_s)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        return self.negotiation.on_message(message, now_s)

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        sends, is_new = self.negotiation.on_tick(wake, now_s)
        if is_new:
            members = self.negotiation.members
            self.allot(dict(zip(members.names, members.rates_hz.tolist(), strict=True)))
        return sends

    def readings(self, now_s: float) -> dict[str, float]:
        return self.negotiation.readings()

    def _solve(self, members: Members) -> Answer:
        asked_hz = np.where(members.is_live, members.asked_hz, 0.0)
        rates_hz, _ = cell_step(asked_hz, members.penalties, self.capacity_hz)
        return Answer(np.where(members.is_live, rates_hz, 0.0), np.zeros(len(rates_hz)))

    def _hint(self, members: Members) -> tuple[Floats, float]:
        return cell_hints_hz(members.weights, members.success, self.capacity_hz), 0.0


class NegotiatingServer(ServerPolicy):
    """Admits tasks at rates that its users negotiate; what it measures of its service counts."""

    options: Options

    def __init__(self, view: ServerView, uniform: Uniform, options: Options) -> None:
        super().__init__(view, uniform, options)
        self.negotiation = Negotiation(options, self._solve, self._hint)
        self._mean_s, self._second_s2 = view.moments.mean, view.moments.second_moment

    def start(self, now_s: float) -> list[Send]:
        sends = self.negotiation.start(now_s)
        if self.options.measure:
            sends.append(Send(CLOCK, Wake(now_s + self.options.keep_s, NegotiationCause.MEASURE)))
        return sends

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        return self.negotiation.on_message(message, now_s)

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause is not NegotiationCause.MEASURE:
            return self.negotiation.on_tick(wake, now_s)[0]
        again = Send(CLOCK, Wake(now_s + 0.25 * self.options.keep_s, NegotiationCause.MEASURE))
        moments = self.view.moments
        if abs(moments.mean - self._mean_s) <= CHANGE * self._mean_s:
            return [again]
        self._mean_s, self._second_s2 = moments.mean, moments.second_moment
        return [*self.negotiation.round(now_s), again]

    def readings(self, now_s: float) -> dict[str, float]:
        return self.negotiation.readings()

    def _solve(self, members: Members) -> Answer:
        live = np.flatnonzero(members.is_live)
        classes = members.classes
        count = int(classes.max(initial=0)) + 1
        means, seconds = np.full(count, self._mean_s), np.full(count, self._second_s2)
        found_hz, info = server_step(
            members.asked_hz[live],
            members.penalties[live],
            members.urgencies[live],
            classes[live],
            means,
            seconds,
            members.rates_hz[live],
        )
        rates_hz = np.zeros(len(classes))
        rates_hz[live] = found_hz
        return Answer(rates_hz, info.wait_s[classes], self._mean_s)

    def _hint(self, members: Members) -> tuple[Floats, float]:
        means = np.full(len(members.names), self._mean_s)
        return server_hints_hz(members.weights, means), self._mean_s
