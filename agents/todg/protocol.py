"""Joint channel allocation and task scheduling with hard delay guarantees: TODG-style.

Drift plus penalty from every node's own queues and what messages tell it, channels by a distributed
maximum-weight independent set. Re-derived from the abstract of arXiv 2101.02772; not the paper's
equations. `docs/todg.md` explains it; constants and bounds are in `agents/todg/rules.py`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from agents.policy import Protocol
from agents.queues import Job
from agents.tasks import Uniform
from agents.todg import rules
from agents.todg.allocation.allocator import EFFORTS, effort_default
from agents.todg.discipline import Bools, Discipline, Floats, ServersSeen, UsersSeen
from agents.todg.frame import Frame
from agents.todg.queues import Admission, Backlog

Positive = Annotated[float, Meta(gt=0.0)]


class TodgOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`V` trades utility for delay, in slots; auto: the largest that keeps every deadline.

    With `guarantee: analytic` a larger V is refused; with `watchdog` it is allowed, and what the
    bound does not keep is expired at its deadline. `effort` 0 to 5 trades messages for weight.
    `mode` is what the persistence queue Z is, see `rules.Mode`. `persistence` eps / u,
    `server_persistence` e_s, `server_share` psi, `inflow_slots` m: docs/todg.md, Symbols.
    """

    V: Positive | Literal["auto"] = "auto"
    guarantee: Literal["analytic", "watchdog"] = "analytic"
    effort: Annotated[int, Meta(ge=0, le=5)] | Literal["auto"] = "auto"
    mode: rules.Mode = "hol"
    admission: bool = True
    persistence: Positive = 4.0
    server_persistence: Positive = 0.3
    server_share: Positive = 0.3
    inflow_slots: Positive = 4.0


class Todg(Discipline):
    """Every decision minimises its own term of the drift bound."""

    options: TodgOptions

    def __init__(self, frame: Frame, options: TodgOptions, uniform: Uniform) -> None:
        super().__init__(frame, options, uniform)
        level = effort_default(frame.graph) if options.effort == "auto" else options.effort
        self.effort = EFFORTS[level]
        self.settings = settings_for(frame, self.mean_slots, options)
        longest = max(kind.deadline_slots for kind in frame.kinds)
        pairs = zip(frame.kinds, frame.rates, strict=True)
        self._users = [rules.user_rule(kind, rate, longest, self.settings) for kind, rate in pairs]
        self._servers = [
            [
                rules.server_rule(kind, slots, longest, self.settings)
                for kind, slots in zip(frame.kinds, row, strict=True)
            ]
            for row in self.mean_slots.tolist()
        ]
        self._urgency = np.array([rule.weight for rule in self._users])  # theta
        self._price = np.array([[rule.weight for rule in row] for row in self._servers])  # eta
        self._credits: dict[int, Floats] = {}  # station -> (server, kind)

    def user_rule(self, kind: int) -> rules.QueueRule:
        return self._users[kind]

    def server_rule(self, server: int, kind: int) -> rules.QueueRule:
        return self._servers[server][kind]

    def admission(self, kind: int) -> Admission | None:
        if not self.options.admission:
            return None
        return Admission(self._users[kind], self.frame.rates[kind])

    def computes(self, kind: int) -> bool:
        return rules.can_compute(self.frame.kinds[kind], self._users[kind])

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        price = self._cost(servers).min(axis=0, initial=np.inf)
        urgency = self._urgency[users.kind] * (users.backlog + users.persistence)
        gain = np.maximum(urgency - price[users.kind], 0.0)
        movable = np.minimum(users.bits / users.size_bits[:, None], users.backlog[:, None])
        weights: Floats = gain[:, None] * movable
        return weights

    def choose(self, kind: int, servers: ServersSeen) -> int | None:
        """Takes the least eta (H + sent) among servers with credit left, ties to the faster."""
        cost = self._cost(servers)[:, kind] + self._price[:, kind] * servers.sent[:, kind]
        open_ = servers.usable & self._has_credit(kind, servers)
        if not open_.any():
            return None
        cost[~open_] = np.inf
        return int(np.lexsort((self.mean_slots[:, kind], cost))[0])

    def next_kind(self, server: int, lines: Sequence[Backlog[Job]]) -> int:
        """Takes the largest eta (H + Y) / C."""
        work = self.mean_slots[server]
        index = {c: line.urgency / work[c] for c, line in enumerate(lines) if len(line)}
        return max(index, key=lambda c: (index[c], -c))

    def _has_credit(self, kind: int, servers: ServersSeen) -> Bools:
        credit = self._credits.get(servers.station)
        if credit is None:
            credit = self._credits[servers.station] = self._credit_of(servers.station)
        open_: Bools = servers.sent[:, kind] < credit[:, kind]
        return open_

    def _credit_of(self, station: int) -> Floats:
        stations = len(self.frame.stations)
        return np.array(
            [
                [
                    rules.credits(rule.inflow_max, stations, s + c)[station]
                    for c, rule in enumerate(row)
                ]
                for s, row in enumerate(self._servers)
            ],
            dtype=np.float64,
        )

    def _cost(self, servers: ServersSeen) -> Floats:
        """Returns eta H (server, kind), inf where a server is not usable.

        A server that measures itself slower than declared costs as much more: the weights of the
        Lyapunov function are free, and the bounds hold for any service.
        """
        cost = self._price * servers.backlog * servers.slowness[:, None]
        return np.where(servers.usable[:, None], cost, np.inf)


class MaxWeightOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`effort` as in `todg`."""

    effort: Annotated[int, Meta(ge=0, le=5)] = 2


class MaxWeight(Todg):
    """The honest rival: the same weights without Z, drops and admission; late tasks expire."""

    def __init__(self, frame: Frame, options: MaxWeightOptions, uniform: Uniform) -> None:
        longest = min(kind.deadline_slots for kind in frame.kinds)
        same = TodgOptions(V=float(longest), guarantee="watchdog", effort=options.effort)
        super().__init__(frame, same, uniform)

    def user_rule(self, kind: int) -> rules.QueueRule:
        return self._unbounded(self._users[kind].weight)

    def server_rule(self, server: int, kind: int) -> rules.QueueRule:
        return self._unbounded(self._servers[server][kind].weight)

    def admission(self, kind: int) -> Admission | None:
        return None

    def _has_credit(self, kind: int, servers: ServersSeen) -> Bools:
        return servers.usable


def settings_for(frame: Frame, mean_slots: Floats, options: TodgOptions) -> rules.Settings:
    """Returns the constants of the protocol. ValueError: V is above what the deadlines allow."""
    at = rules.Settings(
        v_slots=0.0,
        mode=options.mode,
        persistence=options.persistence,
        server_persistence=options.server_persistence,
        inflow_slots=options.inflow_slots,
        server_share=options.server_share,
        arrivals_max=frame.arrivals_max,
    )
    if options.guarantee == "watchdog" and options.V != "auto":
        return replace(at, v_slots=options.V)
    most = rules.v_max_slots(frame.kinds, frame.rates, mean_slots.tolist(), at)
    if options.V != "auto" and most < options.V:
        raise ValueError(f"V = {options.V:g} cannot keep every deadline; at most {most:.4g} can")
    return replace(at, v_slots=most if options.V == "auto" else options.V)


TODG = Protocol(
    "Hard delay bounds: drift plus penalty, distributed channel allocation.",
    discipline=Todg,
    options=TodgOptions,
    bounded=True,
)
MAX_WEIGHT = Protocol(
    "Backlog times rate, no drops and no admission; late tasks expire.",
    discipline=MaxWeight,
    options=MaxWeightOptions,
)
