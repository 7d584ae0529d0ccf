"""Orders of people when they take effect: some have become impossible since they were asked."""

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from test_steering import BLACKOUT, SPEC

from emulator.build.known_fault import Applied
from emulator.build.planning import plan
from emulator.checks.fault_words import TEXT_MAX, Refused
from emulator.faults.timeline import Order
from emulator.runtime.loop import _run_paced
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.sim.clock import Pace

SPARED = {"type": "blackout", "target": "bs-0", "probability": 1e-9}
LOSS = {"type": "loss", "target": "bs-1", "p": 0.5, "for_s": 4.0}


class Turns:
    """A run without hosts: what they would be sent, at instants that the test chooses."""

    def __init__(self, faults: Sequence[dict[str, Any]] = ()) -> None:
        chosen = Scenario.model_validate(SPEC | {"faults": list(faults)})
        self.steering = Steering(plan(chosen, stopwatch=False))
        self.steering.begin()
        self.sent: list[list[Order]] = []
        self._pace = Pace(1.0, 0.01, 20.0)
        self._pace.begin(0.0)  # long ago: it stands wherever it is held

    def at(self, now_s: float) -> None:
        self._pace.held_s = now_s
        self.steering.turn(self._pace, 0.0, 0.0, self._send)

    def _send(self, orders: list[Order]) -> tuple[int, int]:
        self.sent.append(orders)
        return 2, 2


def ops(orders: list[Order]) -> list[tuple[str, int]]:
    return [(order.op, order.number) for order in orders]


def test_where_nothing_has_to_be_obeyed_nothing_is_sent() -> None:
    turns = Turns()

    spared = turns.steering.inject(SPARED, "test")[1]
    healed, nothing = turns.steering.heal()
    turns.at(3.0)

    assert turns.sent == []
    assert spared.result() == nothing.result() == Applied(3.0, 0, 0)
    assert healed == []
    assert turns.steering.faults[0].state == "spared"


def test_a_spared_fault_among_others_was_obeyed_by_nobody() -> None:
    turns = Turns()

    spared = turns.steering.inject(SPARED, "test")[1]
    begun = turns.steering.inject(LOSS, "test")[1]
    turns.at(3.0)

    assert [ops(orders) for orders in turns.sent] == [[("begin", 1)]]
    assert (spared.result().of, begun.result().of) == (0, 2)
    assert turns.steering.faults[0].applied is None


def test_who_gave_up_waiting_has_it_done_and_the_run_goes_on() -> None:
    turns = Turns()
    waiting = turns.steering.inject(LOSS, "test")[1]
    assert waiting.cancel()

    turns.at(3.0)

    assert [ops(orders) for orders in turns.sent] == [[("begin", 0)]]
    assert turns.steering.faults[0].state == "active"


@pytest.mark.parametrize("deed", ["extend", "patch", "lasts", "heal"])
def test_nothing_is_changed_of_what_ran_out_since_it_was_asked(deed: str) -> None:
    turns = Turns()
    steering = turns.steering
    steering.inject(LOSS, "test")
    turns.at(3.0)  # until 7.0
    before = steering.faults[0].fault
    asked = {
        "extend": lambda: steering.inject(LOSS, "test")[1],
        "patch": lambda: steering.patch(0, {"p": 0.9})[1],
        "lasts": lambda: steering.patch(0, {"for_s": 9.0})[1],
        "heal": lambda: steering.heal([0])[1],
    }

    late = asked[deed]()
    everything, rest = steering.heal()  # skips what is over
    turns.at(7.0)

    refused = late.exception()
    assert isinstance(refused, Refused)
    assert (refused.status, str(refused)) == (409, "fault 0 is over")
    assert (everything, rest.result().of) == ([], 0)
    assert steering.faults[0].fault == before
    assert len(turns.sent) == 1


def test_what_was_healed_in_the_same_turn_stays_healed() -> None:
    turns = Turns()
    turns.steering.inject(LOSS, "test")
    turns.at(3.0)

    healed = turns.steering.heal([0])[1]
    patched = turns.steering.patch(0, {"p": 0.9})[1]
    turns.at(4.0)

    assert ops(turns.sent[-1]) == [("heal", 0)]
    assert healed.result().of == 2
    assert str(patched.exception()) == "fault 0 is over"
    assert turns.steering.faults[0].state == "healed"


def test_nothing_begins_after_the_stop_of_the_same_turn() -> None:
    turns = Turns()
    turns.steering.inject(LOSS, "test")
    turns.at(3.0)

    turns.steering.stop("enough")
    late = turns.steering.inject(BLACKOUT, "test")[1]
    turns.at(4.0)

    assert ops(turns.sent[-1]) == [("heal", 0), ("end", -1)]
    assert str(late.exception()) == "the run is stopping"


# These two import Ray, which reads its token then and never again: not before a run did.


@pytest.mark.ray
def test_a_host_takes_an_empty_list_of_orders() -> None:
    from emulator.runtime.host import Host

    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    host = Host("h", planned, [], {})
    host._kernel = SimpleNamespace(run_until=lambda now_s: None)  # type: ignore[assignment]
    host._pace.begin(0.0)
    in_effect = threading.Event()
    host._orders.append(([], in_effect))

    host._turn()

    assert in_effect.is_set()


@pytest.mark.ray
def test_a_host_that_fails_on_an_order_did_not_obey_it() -> None:
    from emulator.runtime.cluster import _Fleet

    class Lost(Exception):
        pass

    def get(call: str) -> None:
        if call == "lost":
            raise Lost

    class Ray:  # the part of it that sends orders
        exceptions = SimpleNamespace(RayError=Lost)

        @staticmethod
        def wait(calls: list[str], **_: Any) -> tuple[list[str], list[str]]:
            return calls[:2], calls[2:]  # what failed counts as done

    fleet = _Fleet.__new__(_Fleet)
    fleet._ray = Ray
    Ray.get = staticmethod(get)  # type: ignore[attr-defined]
    answers = {"a": "obeyed", "b": "lost", "c": "late"}
    fleet._lost = set()
    fleet._hosts = SimpleNamespace(  # type: ignore[assignment]
        actors={
            name: SimpleNamespace(
                steer=SimpleNamespace(remote=lambda orders, answer=answer: answer)
            )
            for name, answer in answers.items()
        }
    )

    assert fleet._send([Order(1.0, "heal", 0)]) == (1, 3)


def test_for_s_null_ends_no_fault() -> None:
    turns = Turns()
    turns.steering.inject(LOSS, "test")
    turns.at(3.0)

    with pytest.raises(Refused, match="for_s: say how many seconds") as refused:
        turns.steering.patch(0, {"for_s": None})

    assert refused.value.status == 422
    assert turns.steering.faults[0].fault.until_s == 7.0


def test_limits_of_what_is_asked_are_none_of_what_a_scenario_says() -> None:
    long = ",".join(f"user-{number % 4}" for number in range(40))
    assert len(long) > TEXT_MAX
    turns = Turns([{"type": "rate", "at_s": 1.0, "target": long, "rate_bps": 1e13}])
    turns.steering.faults[0].state = "active"

    turns.steering.patch(0, {"for_s": 5.0})
    turns.at(3.0)

    assert turns.steering.faults[0].fault.until_s == 8.0
    for changes in ({"target": long}, {"rate_bps": 1e13}):
        with pytest.raises(Refused, match=r"longer than 128|at most 1e"):
            turns.steering.patch(0, changes)


def test_a_run_that_is_late_at_every_step_still_obeys() -> None:
    steering = Steering(plan(Scenario.model_validate(SPEC), stopwatch=False))
    steering.begin()
    pace = Pace(1.0, 0.01, 1e6)
    pace.begin(time.time() - 100.0)
    kernel: Any = SimpleNamespace(run_until=lambda until_s: None, next_s=None)
    stopped = steering.stop("enough")

    _run_paced(kernel, pace, 5.0, steering)  # a step that should have ended long ago

    assert stopped.done()
    assert pace.end_s == stopped.result().at_s >= 100.0
