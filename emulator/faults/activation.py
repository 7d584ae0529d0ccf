"""Which faults are active when: those of the scenario, and those that people add meanwhile.

`after` is the rule, and whoever has to know applies it: hosts and the driver to orders as they fall
due (`Activation`), steering to what people ask, metrics, page and replay to what the journal says.
"""

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Literal, TypeVar

from msgspec import Struct

from emulator.faults.fold import AnyFault

Op = Literal["begin", "patch", "extend", "heal"]
F = TypeVar("F")


def after(active: Mapping[int, F], op: Op, number: int, fault: F) -> dict[int, F]:
    """Returns the faults that are active, by number, after one of them changed.

    `fault` is what it is from then on; healed, it is none.
    """
    if op == "heal":
        return {other: each for other, each in active.items() if other != number}
    return {**active, number: fault}


class FaultOrder(Struct, frozen=True):
    """From `at_s` on, fault `number` is `fault`. `heal` ends it; given a fault, only that one."""

    at_s: float
    op: Op
    number: int
    fault: AnyFault | None = None


class Change(Struct, frozen=True):
    """What took effect: `fault` is what it is from then on, or what was healed."""

    at_s: float
    op: Op
    number: int
    fault: AnyFault


class Activation:
    """Follows orders through time; the end of each fault's `for_s` heals it."""

    def __init__(self, orders: Iterable[FaultOrder] = ()) -> None:
        self.active: Mapping[int, AnyFault] = {}
        # By instant and number; what is ordered for an instant precedes what ends then.
        self._ahead: list[tuple[float, int, bool, int, FaultOrder]] = []
        self._count = 0
        for order in orders:
            self.add(order)

    def add(self, order: FaultOrder, is_end: bool = False) -> None:
        self._count += 1
        heappush(self._ahead, (order.at_s, order.number, is_end, self._count, order))

    def advance(self, now_s: float) -> list[Change]:
        """Returns what changed up to `now_s` and was not returned before, in order of time."""
        changes = []
        while self._ahead and self._ahead[0][0] <= now_s:
            order = heappop(self._ahead)[-1]
            number, fault = order.number, order.fault
            if order.op == "heal":
                before = self.active.get(number)
                if before is None or fault not in (None, before):
                    continue  # it ended, or was changed, meanwhile
                fault = before
            assert fault is not None, "only healing needs none"
            if order.op != "heal" and fault.for_s is not None:
                self.add(FaultOrder(fault.until_s, "heal", number, fault), is_end=True)
            self.active = after(self.active, order.op, number, fault)
            changes.append(Change(order.at_s, order.op, number, fault))
        return changes
