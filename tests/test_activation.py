"""Which faults are active when, against a look at each instant; hosts and driver must agree."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.faults.activation import Activation, FaultOrder, Op, after
from emulator.faults.link_types import Loss

INSTANTS = st.integers(0, 12).map(float)


@st.composite
def orders(draw: st.DrawFn) -> list[FaultOrder]:
    """Orders of three faults, each changed at most once at an instant, some with an end."""
    whens = draw(st.lists(st.tuples(INSTANTS, st.integers(0, 2)), max_size=12, unique=True))
    made = []
    for at_s, number in whens:
        op: Op = draw(st.sampled_from(("begin", "patch", "extend", "heal")))
        for_s = draw(st.none() | st.integers(1, 8).map(float))
        fault = Loss(type="loss", target=f"n-{number}", p=at_s / 100.0, at_s=at_s, for_s=for_s)
        made.append(FaultOrder(at_s, op, number, None if op == "heal" else fault))
    return made


def active_at(made: list[FaultOrder], now_s: float) -> dict[int, Loss]:
    """Looks at each fault by itself: its last order by then, if its time is not over."""
    found = {}
    for number in range(3):
        past = [order for order in made if order.number == number and order.at_s <= now_s]
        fault = max(past, key=lambda order: order.at_s).fault if past else None
        if isinstance(fault, Loss) and fault.until_s > now_s:
            found[number] = fault
    return found


@given(orders(), st.lists(INSTANTS, max_size=6))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_what_is_active_is_what_was_ordered_last_and_is_not_over(
    made: list[FaultOrder], steps_s: list[float]
) -> None:
    # Hosts and the driver look at different instants, and must come to the same.
    host, driver, reported = Activation(made), Activation(made), []
    for tenth in range(200):
        reported += host.advance(tenth / 10.0)
        assert host.active == active_at(made, tenth / 10.0)
    found = [change for at_s in [*sorted(steps_s), math.inf] for change in driver.advance(at_s)]

    assert found == reported + host.advance(math.inf)
    assert [change.at_s for change in found] == sorted(change.at_s for change in found)


@given(orders())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_whoever_reads_the_changes_knows_what_is_active(made: list[FaultOrder]) -> None:
    activation = Activation(made)
    known: dict[int, Loss] = {}

    for change in activation.advance(9.5):
        assert isinstance(change.fault, Loss)
        known = after(known, change.op, change.number, change.fault)

    assert known == activation.active


def test_a_change_leaves_what_was_known_before_as_it_was() -> None:
    before = {0: "a", 1: "b"}

    assert after(before, "heal", 0, "a") == {1: "b"}
    assert after(before, "patch", 1, "c") == {0: "a", 1: "c"}
    assert before == {0: "a", 1: "b"}
