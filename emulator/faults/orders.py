"""Which faults are active on one host: orders, and the ends of faults, as they fall due."""

from collections.abc import Callable
from typing import Any, Protocol

from emulator.faults.fold import AnyFault
from emulator.faults.timeline import Order

Handler = Callable[[Any, float], None]
Apply = Callable[[list[AnyFault], float, float], None]
"""Puts the active faults into effect, now, and due at the second instant: a runtime may be late."""


class Agenda(Protocol):
    """What calls back at an instant, ahead of whatever else is due then."""

    def precede(self, at_s: float, handler: Handler, payload: object) -> None: ...

    def precedes(self, at_s: float) -> bool:
        """Says whether the next call at that instant is one more of these."""


class Orders:
    """Follows orders; calls `apply` once for all that changes at one instant, so that a fault that
    follows on another leaves no gap in which all is well."""

    def __init__(self, agenda: Agenda, apply: Apply) -> None:
        self._agenda = agenda
        self._apply = apply
        self._active: dict[int, AnyFault] = {}  # by number
        self._changed = False  # since it was felt

    def take(self, order: Order) -> None:
        self._agenda.precede(order.at_s, self._obey, order)

    def _obey(self, order: Order, now_s: float) -> None:
        fault = order.fault
        if fault is None:
            self._active.pop(order.number, None)
        else:
            self._active[order.number] = fault
            if fault.for_s is not None:
                self._agenda.precede(fault.until_s, self._expire, order)
        self._changed = True
        self._settle(now_s, order.at_s)

    def _expire(self, order: Order, now_s: float) -> None:
        """Heals a fault at the end of its time, unless it was changed or healed since."""
        fault = order.fault
        assert fault is not None, "only what began expires"
        if self._active.get(order.number) is fault:
            del self._active[order.number]
            self._changed = True
        self._settle(now_s, fault.until_s)

    def _settle(self, now_s: float, due_s: float) -> None:
        if self._changed and not self._agenda.precedes(due_s):
            self._changed = False
            self._apply(list(self._active.values()), now_s, due_s)
