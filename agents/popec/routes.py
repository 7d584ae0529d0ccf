"""Which base stations lead one user to which servers, and what rates fit through them.

Source: docs/popec.md, Routes. Shares are granted by resources one by one; what a user can do with
them is a flow from its base stations to the servers behind them.
"""

import math
from collections.abc import Mapping, Sequence

from agents.messages import NodeId
from agents.popec.fractional import Edges

SAME_DELAY_S = 1e-12  # a way that is shorter by less is not: sums of delays are rounded


class Routes:
    """The paths of one user; its base stations and servers are numbered from zero."""

    def __init__(
        self,
        cells: Sequence[NodeId],
        servers: Sequence[NodeId],
        delays_s: Mapping[tuple[NodeId, NodeId], float],
    ) -> None:
        """`delays_s`: the backhaul from a base station to each server behind it."""
        self.paths = [
            (b, m)
            for b, bs in enumerate(cells)
            for m, server in enumerate(servers)
            if (bs, server) in delays_s
        ]
        self.delays_s = [delays_s[cells[b], servers[m]] for b, m in self.paths]
        # All lead everywhere, equally fast: then only the sums of either side count.
        self.is_free = len(self.paths) == len(cells) * len(servers) and all(
            delay_s == self.delays_s[m]
            for (_, m), delay_s in zip(self.paths, self.delays_s, strict=True)
        )
        self._sizes = len(cells), len(servers)

    def fit(
        self, supplies_hz: Sequence[float], demands_hz: Sequence[float], delays_s: Sequence[float]
    ) -> list[float]:
        """Returns the rates of the paths that bring the most, and of these the least delay.

        No base station delivers more than its supply, no server gets more than its demand;
        `delays_s` is by path. Where all lead everywhere both sides are used in proportion.
        """
        if not self.is_free:
            return self._fill(list(supplies_hz), list(demands_hz), delays_s)
        most_hz = max(sum(supplies_hz), sum(demands_hz))
        if not most_hz:
            return [0.0] * len(self.paths)
        return [
            supply_hz * (demand_hz / most_hz)
            for supply_hz in supplies_hz
            for demand_hz in demands_hz
        ]

    def sums(self, rates_hz: Sequence[float]) -> Edges:
        """Returns what path rates sum up to at every base station and server."""
        cells, servers = [0.0] * self._sizes[0], [0.0] * self._sizes[1]
        for rate_hz, (b, m) in zip(rates_hz, self.paths, strict=True):
            cells[b] += rate_hz
            servers[m] += rate_hz
        return Edges(cells, servers)

    def _fill(
        self, left_hz: list[float], wanted_hz: list[float], delays_s: Sequence[float]
    ) -> list[float]:
        """Sends along the shortest way that is left, which may take back, until none is left."""
        rates_hz = [0.0] * len(self.paths)
        while True:
            to_cells = [0.0 if hz > 0.0 else math.inf for hz in left_hz]
            to_servers = [math.inf] * len(wanted_hz)
            back: list[int | None] = [None] * len(left_hz)  # the path whose rate is taken back
            ahead: list[int] = [0] * len(wanted_hz)
            for _ in range(sum(self._sizes)):
                is_done = True
                for path, (b, m) in enumerate(self.paths):
                    if to_cells[b] + delays_s[path] < to_servers[m] - SAME_DELAY_S:
                        to_servers[m], ahead[m] = to_cells[b] + delays_s[path], path
                        is_done = False
                    elif rates_hz[path] and (
                        to_servers[m] - delays_s[path] < to_cells[b] - SAME_DELAY_S
                    ):
                        to_cells[b], back[b] = to_servers[m] - delays_s[path], path
                        is_done = False
                if is_done:
                    break
            open_to = [m for m, hz in enumerate(wanted_hz) if hz > 0.0 and to_servers[m] < math.inf]
            if not open_to:
                return rates_hz
            end = min(open_to, key=to_servers.__getitem__)
            way = [ahead[end]]  # path ahead, path back, path ahead, ...
            while (taken := back[self.paths[way[-1]][0]]) is not None:
                way += [taken, ahead[self.paths[taken][1]]]
            start = self.paths[way[-1]][0]
            moved_hz = min(left_hz[start], wanted_hz[end], *(rates_hz[path] for path in way[1::2]))
            for path in way[::2]:
                rates_hz[path] += moved_hz
            for path in way[1::2]:
                rates_hz[path] -= moved_hz
            left_hz[start] -= moved_hz
            wanted_hz[end] -= moved_hz
