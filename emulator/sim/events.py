"""What is due when: events in order of time, priority and sequence, as SimPy has them."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

Handler = Callable[[Any, float], None]
"""Is called with the event's payload and the time."""

URGENT, NORMAL = 0, 1  # what is urgent precedes all else that is due at its instant


class EventQueue:
    """Knows no clock: whoever runs it says how far."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Handler, Any]] = []
        self._sequence = 0
        self._soon: deque[tuple[Handler, Any]] = deque()

    def at(self, at_s: float, handler: Handler, payload: Any, priority: int = NORMAL) -> None:
        """Schedules a call of `handler(payload, at_s)`."""
        self._sequence += 1
        heappush(self._heap, (at_s, priority, self._sequence, handler, payload))

    def soon(self, handler: Handler, payload: Any) -> None:
        """Has `handler` called once the event that is under way is over: what takes no time."""
        self._soon.append((handler, payload))

    def run_until(self, end_s: float, stamp: Callable[[float], float] | None = None) -> None:
        """Performs every event due at or before `end_s`.

        `stamp` says what time it is at an event that was due at its argument; by default that.
        """
        heap, soon, pop, next_soon = self._heap, self._soon, heappop, self._soon.popleft
        while heap and heap[0][0] <= end_s:
            now_s, _, _, handler, payload = pop(heap)
            if stamp is not None:
                now_s = stamp(now_s)
            handler(payload, now_s)
            while soon:
                handler, payload = next_soon()
                handler(payload, now_s)

    @property
    def next_s(self) -> float | None:
        """When the next event is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def payloads(self) -> Iterator[Any]:
        """Yields what is to come, in no order."""
        yield from (event[4] for event in self._heap)
        yield from (payload for _, payload in self._soon)

    def cancel(self, is_meant: Callable[[Any], bool]) -> list[Any]:
        """Takes out the events whose payloads are meant; returns these."""
        meant = [event[4] for event in self._heap if is_meant(event[4])]
        if meant:
            # In place: `run_until` is at it.
            self._heap[:] = [event for event in self._heap if not is_meant(event[4])]
            heapify(self._heap)
        return meant
