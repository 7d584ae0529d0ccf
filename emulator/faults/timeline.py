"""Which fault is active when: the scenario's faults and those that people add while a run goes on.

An `Order` is one change as kernels get it. `Timeline` is the driver's own copy of what kernels do
with orders, so that the journal names every change at the instant it took effect.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from emulator.faults.fold import AnyFault
from emulator.results.journal import FaultChange

Op = Literal["begin", "patch", "extend", "heal", "hold", "release", "end"]


class Order(Struct, frozen=True):
    """From `at_s` on, fault `number` is `fault`; None heals it.

    Three operations are for the clock instead: `hold` stops it at `at_s`, `release` lets it go on
    at the wall time `wall_s`, `end` makes `at_s` the end of the run.
    """

    at_s: float
    op: Op
    number: int = -1
    fault: AnyFault | None = None
    wall_s: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.op in ("begin", "patch", "extend", "heal")


class Timeline:
    """Follows orders through time; the end of each fault's `for_s` heals it."""

    def __init__(self, orders: Sequence[Order], duration_s: float) -> None:
        self.active: dict[int, AnyFault] = {}
        self._ahead = list(orders)
        self._duration_s = duration_s

    def add(self, order: Order) -> None:
        self._ahead.append(order)

    def advance(self, now_s: float) -> list[FaultChange]:
        """Returns the changes up to `now_s` that were not returned before, in order of time."""
        changes: list[FaultChange] = []
        while due := self._due(min(now_s, self._duration_s)):
            order = min(due, key=lambda order: (order.at_s, order.number))
            fault = order.fault
            self._ahead = [other for other in self._ahead if other is not order]
            if order.op == "heal":
                fault = self.active.pop(order.number, None)
            elif fault is not None:
                self.active[order.number] = fault
            if fault is not None and order.op in ("begin", "patch", "extend", "heal"):
                changes.append(FaultChange(order.at_s, order.op, order.number, fault.described()))
        return changes

    def _due(self, now_s: float) -> list[Order]:
        expiring = (
            Order(fault.until_s, "heal", number, None)
            for number, fault in self.active.items()
            if fault.until_s <= now_s
        )
        return [*(order for order in self._ahead if order.at_s <= now_s), *expiring]
