"""Acting on an allotment: users use slots and split their tasks, base stations draw lots, by rates.

Source: docs/popec.md, What is decided. Acting on what resources have granted, and never on what
users wish, keeps every instant feasible. A slot's task goes to a server behind that base station.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from msgspec import Struct

from agents.messages import NodeId
from agents.policy import CellPolicy, CellView, Placement, UserPolicy, UserView
from agents.popec.routes import Routes
from agents.tasks import Task, Uniform


class AllottedUser(UserPolicy):
    """Uses slots and splits tasks by its rates, along paths; `settle` after changing them.

    `success` is what it believes of its radio links, `sojourns_s` of the time at servers.
    """

    def __init__(self, view: UserView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        reaches = {(cell.bs, reach.server): reach for cell in view.cells for reach in cell.servers}
        servers = sorted({server for _, server in reaches})
        self.success = {cell.bs: cell.success for cell in view.cells}
        self.grants_hz = {bs: view.allotment.get(bs, 0.0) for bs in self.success}
        self.splits_hz = {name: view.allotment.get(name, 0.0) for name in servers}
        self.rate_max_hz = float("inf")
        self.backhaul_s = {path: reach.delay_s for path, reach in reaches.items()}
        self.sojourns_s = {server: reach.mean_s for (_, server), reach in reaches.items()}
        self._routes = Routes(list(self.success), servers, self.backhaul_s)
        self._paths = [(list(self.success)[b], servers[m]) for b, m in self._routes.paths]
        self._anywhere = Placement(view.cells[0].bs, None)
        self._flow: _Flow | None = None

    def settle(self) -> None:
        """Takes on new rates: what they allow is found when it is asked for."""
        self._flow = None

    @property
    def flow(self) -> "_Flow":
        """What this user does with its rates: the most that fits along its paths."""
        if self._flow is None:
            radio_hz = {bs: self.success[bs] * rate_hz for bs, rate_hz in self.grants_hz.items()}
            delays_s = [
                delay_s + self.sojourns_s[server]
                for delay_s, (_, server) in zip(self._routes.delays_s, self._paths, strict=True)
            ]
            tasks_hz = list(self.splits_hz.values())
            rates_hz = self._routes.fit(list(radio_hz.values()), tasks_hz, delays_s)
            self._flow = _Flow(self._paths, rates_hz, delays_s, radio_hz, self.rate_max_hz)
        return self._flow

    @property
    def rate_hz(self) -> float:
        """Delivered tasks per second, L."""
        return self.flow.rate_hz

    def wants(self, bs: NodeId, now_s: float) -> bool:
        return self.uniform() < self.flow.uses[bs]

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement:
        lot = self.flow.lots.get(bs)
        if lot is None:  # tasks that come without asking, before any rate
            return self._anywhere
        cumulative_hz, placements = lot
        return placements[bisect_right(cumulative_hz, self.uniform() * cumulative_hz[-1])]


class _Flow:
    """Path rates in use: how often a slot is used, and the lots that are drawn for servers."""

    def __init__(
        self,
        ends: Sequence[tuple[NodeId, NodeId]],
        rates_hz: Sequence[float],
        delays_s: Sequence[float],
        radio_hz: Mapping[NodeId, float],
        rate_max_hz: float,
    ) -> None:
        fits_hz = sum(rates_hz)
        self.rate_hz = min(fits_hz, rate_max_hz)
        carried = sum(hz * delay_s for hz, delay_s in zip(rates_hz, delays_s, strict=True))
        self.delay_s = carried / fits_hz if fits_hz else math.inf  # mean, past the radio
        share = self.rate_hz / fits_hz if fits_hz else 0.0
        self.uses = dict.fromkeys(radio_hz, 0.0)  # share of the slots of each base station
        self.lots: dict[NodeId | None, tuple[list[float], list[Placement]]] = {}
        for bs, supply_hz in radio_hz.items():
            mine = [(hz, *end) for hz, end in zip(rates_hz, ends, strict=True) if end[0] == bs]
            if used_hz := sum(hz for hz, _, _ in mine):
                self.uses[bs] = share * used_hz / supply_hz
                self.lots[bs] = _lot(mine)
        if fits_hz:  # for tasks that do not come with a slot of some base station
            self.lots[None] = _lot([(hz, *end) for hz, end in zip(rates_hz, ends, strict=True)])


def _lot(paths: list[tuple[float, NodeId, NodeId]]) -> tuple[list[float], list[Placement]]:
    return list(accumulate(hz for hz, _, _ in paths)), [Placement(bs, m) for _, bs, m in paths]


class AllottedCell(CellPolicy):
    """Grants each slot to a user with the probability of its share of the capacity."""

    def __init__(self, view: CellView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        self.capacity_hz = view.channels / view.slot_s if view.slot_s else 0.0
        self.allot(view.allotment)

    def allot(self, shares_hz: Mapping[NodeId, float]) -> None:
        """Takes on new shares; what they leave of the capacity stays idle."""
        self._names: list[NodeId | None] = [*shares_hz, None]
        self.cumulative_hz = list(accumulate(shares_hz.values()))

    def draw(self, now_s: float) -> list[NodeId | None]:
        cumulative_hz, names, uniform = self.cumulative_hz, self._names, self.uniform
        return [
            names[bisect_right(cumulative_hz, uniform() * self.capacity_hz)]
            for _ in range(self.view.channels)
        ]
