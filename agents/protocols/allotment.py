"""Acting on an allotment: users use slots and split their tasks, base stations draw lots, by rates.

Source: docs/popec.md, What is decided. Acting on what
resources have granted, and never on what users wish, keeps every instant feasible.
"""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from msgspec import Struct

from agents.bodies import NodeId
from agents.policy import CellPolicy, CellView, Placement, UserPolicy, UserView
from agents.tasks import Task, Uniform


class AllottedUser(UserPolicy):
    """Uses slots and splits tasks in proportion to its rates; `settle` after changing them.

    `success` is what it believes of its radio links.
    """

    def __init__(self, view: UserView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        servers = {reach.server for cell in view.cells for reach in cell.servers}
        self.success = {cell.bs: cell.success for cell in view.cells}
        self.grants_hz = {bs: view.allotment.get(bs, 0.0) for bs in self.success}
        self.splits_hz = {name: view.allotment.get(name, 0.0) for name in sorted(servers)}
        self.rate_max_hz = float("inf")
        self._anywhere = Placement(view.cells[0].bs, None)
        self.rate_hz = 0.0  # delivered tasks per second, L
        self.settle()

    def settle(self) -> None:
        """Takes on new rates: delivers what radio and servers both have room for."""
        radio_hz = sum(self.success[bs] * rate_hz for bs, rate_hz in self.grants_hz.items())
        self._cumulative_hz = list(accumulate(self.splits_hz.values()))
        tasks_hz = self._cumulative_hz[-1]
        self.rate_hz = min(radio_hz, tasks_hz, self.rate_max_hz)
        self._use = self.rate_hz / radio_hz if radio_hz else 0.0
        bs = self.view.cells[0].bs
        self._placements = [Placement(bs, server) for server in self.splits_hz]

    def wants(self, bs: NodeId, now_s: float) -> bool:
        return self.uniform() < self._use

    def place(self, task: Task, now_s: float) -> Placement:
        if not self._cumulative_hz[-1]:  # tasks that come without asking, before any rate
            return self._anywhere
        drawn = self.uniform() * self._cumulative_hz[-1]
        return self._placements[bisect_right(self._cumulative_hz, drawn)]


class AllottedCell(CellPolicy):
    """Grants each slot to a user with the probability of its share of the capacity."""

    def __init__(self, view: CellView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        self.capacity_hz = view.channels / view.slot_s if view.slot_s else 0.0
        self.allot(view.allotment)

    def allot(self, shares_hz: Mapping[NodeId, float]) -> None:
        """Takes on new shares; what they leave of the capacity stays idle."""
        self._names: list[NodeId | None] = [*shares_hz, None]
        self._cumulative_hz = list(accumulate(shares_hz.values()))

    def draw(self, now_s: float) -> list[NodeId | None]:
        cumulative_hz, names, uniform = self._cumulative_hz, self._names, self.uniform
        return [
            names[bisect_right(cumulative_hz, uniform() * self.capacity_hz)]
            for _ in range(self.view.channels)
        ]
