"""What one user of PoPeC solves by itself, along the paths that it has.

Its edges are one per base station and server, but only some base stations lead to some servers:
rates count only along paths that exist. Source: docs/popec.md, Who solves what.
"""

import math
from collections.abc import Mapping, Sequence

from agents.messages import NodeId
from agents.popec.edge import Edge, mean_hints
from agents.popec.fractional import Edges, penalty, transform, user_step
from agents.popec.path_step import path_step
from agents.popec.routes import Routes


class OwnProblem:
    """The user's copies and the parameters of its transform; `begin` comes before `solve`.

    `success` is what the user believes of its radio links, and may change. Both are given the edges
    to base stations and to servers that are alive.
    """

    __slots__ = (
        "_backhaul_s",
        "_ends",
        "_rate_max_hz",
        "_rates_hz",
        "_routes",
        "_success",
        "_weight",
        "delay_s",
        "omega",
        "rate_hz",
    )

    def __init__(
        self,
        weight: float,
        rate_max_hz: float,
        success: Mapping[NodeId, float],
        backhaul_s: Mapping[tuple[NodeId, NodeId], float],
    ) -> None:
        self._weight = weight
        self._rate_max_hz = rate_max_hz
        self._success = success
        self._backhaul_s = backhaul_s
        self._ends: tuple[list[NodeId], list[NodeId]] = ([], [])
        self._routes = Routes([], [], {})
        self._rates_hz: list[float] = []  # by path, the last answer
        self.rate_hz = 0.0  # L
        self.omega = self.delay_s = 0.0  # w / L and c, equation 3

    def begin(self, cells: Sequence[Edge], servers: Sequence[Edge], gamma: float) -> bool:
        """Sets copies, states and penalties by the hints; False where there are too few.

        What hints allow along paths is the first guess of L, whose curvature penalties follow. A
        hint that is missing is taken to be like the others of its side.
        """
        known_hz = mean_hints(cells, servers)
        routes = self._find_routes(cells, servers)
        if known_hz is None:
            return False
        hints_hz = Edges(
            [known_hz.cells[0] if math.isnan(e.hint_hz) else e.hint_hz for e in cells],
            [known_hz.servers[0] if math.isnan(e.hint_hz) else e.hint_hz for e in servers],
        )
        success = [self._success[e.name] for e in cells]
        supplies_hz = [p * hint for p, hint in zip(success, hints_hz.cells, strict=True)]
        fit_hz = routes.fit(supplies_hz, hints_hz.servers, routes.delays_s)
        if not any(fit_hz):
            return False
        share = min(1.0, self._rate_max_hz / sum(fit_hz))
        self._rates_hz = [share * rate_hz for rate_hz in fit_hz]
        copies_hz = routes.sums(self._rates_hz)
        rho = penalty(self._weight, sum(self._rates_hz), gamma)
        for edge, p, sum_hz in zip(cells, success, copies_hz.cells, strict=True):
            edge.target_hz = edge.copy_hz = sum_hz / p
            edge.penalty = rho * p * p
        for edge, sum_hz in zip(servers, copies_hz.servers, strict=True):
            edge.target_hz = edge.copy_hz = sum_hz
            edge.penalty = rho
        self._parametrise(servers)
        return True

    def solve(self, cells: Sequence[Edge], servers: Sequence[Edge]) -> list[float]:
        """Returns the copies of these edges, base stations first; none where no path is left."""
        routes = self._find_routes(cells, servers)
        if not routes.paths:
            return []
        success = [self._success[e.name] for e in cells]
        targets_hz = Edges([e.target_hz for e in cells], [e.target_hz for e in servers])
        penalties = Edges([e.penalty for e in cells], [e.penalty for e in servers])
        beyond_s = [e.service_s - self.delay_s for e in servers]
        costs = [
            self.omega * (delay_s + beyond_s[m])
            for delay_s, (_, m) in zip(routes.delays_s, routes.paths, strict=True)
        ]
        given = self._weight, self._rate_max_hz, success, targets_hz, penalties
        if routes.is_free:
            by_edge = Edges([0.0] * len(cells), costs[: len(servers)])
            copies_hz, found = user_step(*given, by_edge)
            self._rates_hz = [
                p * x_hz * (l_hz / found.rate_hz)
                for p, x_hz in zip(success, copies_hz.cells, strict=True)
                for l_hz in copies_hz.servers
            ]
        else:
            self._rates_hz, found = path_step(*given, costs, routes, self._rates_hz)
            sums_hz = routes.sums(self._rates_hz)
            radio_hz = [sum_hz / p for sum_hz, p in zip(sums_hz.cells, success, strict=True)]
            copies_hz = Edges(radio_hz, sums_hz.servers)
        self._parametrise(servers)
        return [*copies_hz.cells, *copies_hz.servers]

    def _find_routes(self, cells: Sequence[Edge], servers: Sequence[Edge]) -> Routes:
        ends = [e.name for e in cells], [e.name for e in servers]
        if ends != self._ends:
            self._ends, self._routes = ends, Routes(*ends, self._backhaul_s)
            self._rates_hz = [0.0] * len(self._routes.paths)
        return self._routes

    def _parametrise(self, servers: Sequence[Edge]) -> None:
        """Refreshes omega and the mean delay at the new rates."""
        sojourns_s = [e.service_s + e.wait_s for e in servers]
        delays_s = [
            delay_s + sojourns_s[m]
            for delay_s, (_, m) in zip(self._routes.delays_s, self._routes.paths, strict=True)
        ]
        self.rate_hz = sum(self._rates_hz)
        found = transform(self._weight, self._rates_hz, delays_s)
        self.omega, self.delay_s = found.omega, found.delay_s
