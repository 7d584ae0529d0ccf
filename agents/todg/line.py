"""A queue of a scheduled network as its node keeps it: settled each slot, its bounds watched."""

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from agents.todg.queues import Admission, Backlog
from agents.todg.readings import Tally
from agents.todg.rules import QueueRule

T = TypeVar("T")


class Line(Backlog[T], Generic[T]):
    """A backlog that counts every breach of what its rule promises (theorems 1 and 2)."""

    def __init__(self, rule: QueueRule, tally: Tally, due_s: Callable[[T], float]) -> None:
        super().__init__(rule)
        self._tally = tally
        self._due_s = due_s
        self._sojourn_max = rule.wait_max_slots if math.isfinite(rule.threshold) else math.inf

    def end_slot(self, slot: int, next_s: float) -> tuple[list[T], list[T]]:
        """Settles the slot; returns what the rule drops, and what would be late by `next_s`."""
        dropped = self.settle(slot)
        self._tally.wait_breaches += len(self) > 0 and slot - self.head_slot >= self._sojourn_max
        return dropped, self.remove(lambda task: self._due_s(task) < next_s)

    def watch(self, door: Admission | None = None) -> None:
        """Checks the bounds, after what arrived in the slot has joined."""
        self._tally.backlog_breaches += not self.is_within_bounds
        if door is not None:
            self._tally.admission_breaches += not door.is_within_bounds
