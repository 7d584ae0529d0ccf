"""The event queue against a list that is sorted anew for every event."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.sim.events import NORMAL, URGENT, EventQueue

Plan = list[tuple[int, int, int, int]]  # at, priority, follow-up so much later, how many at once
PLANS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from((URGENT, NORMAL)), st.integers(0, 3), st.integers(0, 2)
    ),
    max_size=12,
)


def played(plan: Plan, ends_s: list[float]) -> list[tuple[Any, float]]:
    """Plays a plan: every event has a follow-up, and some that take no time."""
    queue = EventQueue()
    seen: list[tuple[Any, float]] = []

    def note(payload: Any, now_s: float) -> None:
        seen.append((payload, now_s))

    def begin(number: int, now_s: float) -> None:
        note(number, now_s)
        _, _, later, at_once = plan[number]
        queue.at(now_s + later, note, (number, "later"))
        for each in range(at_once):
            queue.soon(note, (number, each))

    for number, (at, priority, _, _) in enumerate(plan):
        queue.at(float(at), begin, number, priority)
    for end_s in ends_s:
        queue.run_until(end_s)
    return seen


def naive(plan: Plan) -> list[tuple[Any, float]]:
    waiting: list[tuple[float, int, int, Any]] = [
        (float(at), priority, number, number) for number, (at, priority, _, _) in enumerate(plan)
    ]
    seen: list[tuple[Any, float]] = []
    while waiting:
        waiting.sort(key=lambda event: event[:3])
        now_s, _, _, payload = waiting.pop(0)
        seen.append((payload, now_s))
        if isinstance(payload, int):
            _, _, later, at_once = plan[payload]
            order = len(plan) + len(seen)
            waiting.append((now_s + later, NORMAL, order, (payload, "later")))
            seen += [((payload, each), now_s) for each in range(at_once)]
    return seen


@given(PLANS, st.lists(st.integers(0, 9).map(float), max_size=4))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_events_come_by_time_then_priority_then_sequence_however_far_it_goes_at_once(
    plan: Plan, stops_s: list[float]
) -> None:
    assert played(plan, [*sorted(stops_s), 99.0]) == naive(plan)


@given(PLANS, st.integers(0, 2))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_what_is_cancelled_does_not_come_and_the_rest_keeps_order(plan: Plan, third: int) -> None:
    queue, seen = EventQueue(), []
    for number, (at, priority, _, _) in enumerate(plan):
        queue.at(float(at), lambda payload, now_s: seen.append(payload), number, priority)

    gone = queue.cancel(lambda payload: payload % 3 == third)
    left = list(queue.payloads())
    queue.run_until(9.0)

    numbers = sorted(range(len(plan)), key=lambda number: (*plan[number][:2], number))
    assert sorted(gone) == [number for number in range(len(plan)) if number % 3 == third]
    assert seen == [number for number in numbers if number % 3 != third]
    assert sorted(left) == sorted(seen)
    assert queue.next_s is None
