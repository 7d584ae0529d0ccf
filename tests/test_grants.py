"""Channels on request: none is granted for nothing, and what is not used goes back at once.

The twin of a cell with one channel is Lindley's recursion: a task comes to the cell one request
after its birth, waits until the channel is free, and holds it for its airtime. It holds exactly
only while no channel stands idle for anybody who waits.
"""

import math

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from test_nodes import bodies, generate, message, new_cell, new_user

from agents.api import RADIO, Send
from agents.messages import Grant, Offload, Request, TaskEnd, Undelivered, Vacate, Wake
from agents.reasons import CellCause, Reason
from agents.tasks import Task

RATE_BPS = 1.0e5
REQUEST_S, AIRTIME_S, BACKHAUL_S = 320.0 / RATE_BPS, 1000.0 / RATE_BPS, 0.002
ROUNDING_S = 1e-9


def cell(duration_s: float, *faults: Spec) -> list[TaskEnd]:
    """Four users load a channel to 0.8; waits beyond 0.1 s, where they ask again, are common."""
    spec = scenario(
        seed=3,
        duration_s=duration_s,
        users=[
            user_group(
                count=4,
                arrival={"kind": "poisson", "rate_hz": 20.0},
                input_bits=1000.0 - 192.0,
                queue_len_max=5000,
            )
        ],
        base_stations=[{"name": "bs", "access": "granted", "channels": 1, "grant_s": 0.4}],
        servers=[server_group(distribution("deterministic", 1e-6))],
        channel={"kind": "bernoulli", "rate_bps": RATE_BPS},
        downlink={"kind": "ideal"},
        backhaul={"delay_s": BACKHAUL_S},
        resend={"attempts_max": 1},
        faults=list(faults),
    )
    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]
    return sorted(ends, key=lambda end: end.born_s)


def assert_lindley(ends: list[TaskEnd]) -> None:
    free_s = 0.0
    for end in ends:
        free_s = max(free_s, end.born_s + REQUEST_S) + AIRTIME_S
        assert end.arrived_s == pytest.approx(free_s + BACKHAUL_S, abs=ROUNDING_S)


def test_a_granted_channel_is_a_queue_with_one_server() -> None:
    ends = cell(100.0)

    waits_s = [end.arrived_s - end.born_s - REQUEST_S - AIRTIME_S - BACKHAUL_S for end in ends]
    assert sum(wait_s > 0.1 for wait_s in waits_s) > 50, "else nobody would have asked again"
    assert_lindley(ends)
    # M/D/1: half of rho / (1 - rho) airtimes. Waits at load 0.8 correlate over some 1 / (1 - rho)^2
    # tasks, and their standard deviation is about their mean, 0.02 s.
    rho = 4 * 20.0 * AIRTIME_S
    expected_s = rho / (1.0 - rho) * AIRTIME_S / 2.0
    error_s = expected_s * math.sqrt(2.0 * 25 / len(ends))
    assert sum(waits_s) / len(waits_s) == pytest.approx(expected_s, abs=3.0 * error_s)


@pytest.mark.parametrize(
    "fault",
    [
        {"type": "message_drop", "message": "request", "p": 0.3},
        {"type": "message_drop", "message": "grant", "p": 0.1},
        {"type": "message_drop", "message": "vacate"},
        {"type": "message_delay", "message": "request", "delay_s": 0.15},
        {"type": "message_delay", "message": "vacate,grant", "delay_s": 0.05},
        {"type": "duplicate", "p": 0.5},
        {"type": "reorder", "p": 0.3, "delay_s": 0.15},
        {"type": "loss", "p": 0.3},
        {"type": "bs_outage"},
    ],
    ids=lambda fault: f"{fault['type']}-{fault.get('message', 'all')}",
)
def test_nothing_of_a_fault_stays_in_a_cell(fault: Spec) -> None:
    heal_s = 4.0
    target = "bs-0" if fault["type"] == "bs_outage" else "user-*"

    ends = cell(40.0, {"at_s": 2.0, "for_s": heal_s - 2.0, "target": target, **fault})

    # From the first instant on at which the cell has nothing to do and no grant is left
    done_s, idle_s = heal_s + 0.4, math.inf
    for end in ends:
        if end.born_s > done_s:
            idle_s = end.born_s
            break
        done_s = max(done_s, end.ended_s)
    after = [end for end in ends if end.born_s >= idle_s]
    assert len(after) > 800, "the queue that the fault left was worked off"
    assert_lindley(after)


# The cell


def granted_to(sends: list[Send]) -> list[str]:
    return [send.target for send in sends if isinstance(send.body, Grant)]


def offload(user: str, seq: int) -> Offload:
    return Offload(Task(user, seq, 0.0, 0, 1000.0, 7), "edge-0")


def test_a_request_that_what_it_asks_for_overtook_is_void() -> None:
    for is_early in (True, False):  # while the task is on its way, or after it
        bs = new_cell(channels=1)
        ask = message("user-0", Request(0, 1.0, 5), "bs-0")
        assert granted_to(bs.on_message(ask, 1.0)) == ["user-0"]
        sends = bs.on_message(ask, 1.01) if is_early else []
        sends += bs.on_message(message("user-0", offload("user-0", 5), "bs-0"), 1.02)
        sends += bs.on_message(ask, 1.03)

        assert granted_to(sends) == []
        assert granted_to(bs.on_message(message("user-0", Request(0, 1.01, 6), "bs-0"), 1.04)) == [
            "user-0"
        ]


def test_a_late_repeat_does_not_take_the_place_of_a_newer_request() -> None:
    bs = new_cell(channels=1)
    for seq in (5, 6, 5):  # granted; for the next task; a copy of the first
        bs.on_message(message("user-0", Request(0, float(seq), seq), "bs-0"), 1.0)

    sends = bs.on_message(message("user-0", offload("user-0", 5), "bs-0"), 1.02)

    assert granted_to(sends) == ["user-0"]


def test_a_lost_grant_is_granted_again_to_the_same_request() -> None:
    bs = new_cell(channels=1)
    ask = message("user-0", Request(0, 1.0, 5), "bs-0")
    bs.on_message(ask, 1.0)
    bs.on_message(ask, 1.09)

    assert granted_to(bs.on_tick(Wake(1.1, CellCause.GRANT_OVER), 1.1)) == ["user-0"]


def test_a_channel_handed_back_goes_to_who_waits_and_a_copy_takes_it_from_nobody() -> None:
    bs = new_cell(channels=1)
    (first,) = bodies(bs.on_message(message("user-0", Request(0, 1.0, 5), "bs-0"), 1.0), Grant)
    bs.on_message(message("user-1", Request(0, 1.0, 5), "bs-0"), 1.01)
    back = message("user-0", Vacate(first.channel, first.until_s), "bs-0")

    sends = bs.on_message(back, 1.05)

    assert granted_to(sends) == ["user-1"]
    assert bs.on_message(back, 1.06) == []
    # The same user may have the channel again by then: that grant is another.
    bs.on_message(message("user-1", offload("user-1", 5), "bs-0"), 1.07)
    again = bs.on_message(message("user-0", Request(0, 1.0, 6), "bs-0"), 1.08)
    assert granted_to(again) == ["user-0"]
    bs.on_message(message("user-1", Request(0, 1.0, 6), "bs-0"), 1.085)
    assert bs.on_message(back, 1.09) == []


# The user


def test_a_user_with_nothing_to_send_hands_a_grant_back() -> None:
    user = new_user(access="granted", expires=True, deadline_s=0.5)

    assert user.on_message(message("bs-0", Grant(3, 1.2)), 1.1) == [Send("bs-0", Vacate(3, 1.2))]
    generate(user, 2.0)
    late = user.on_message(message("bs-0", Grant(2, 2.8)), 2.6)
    assert bodies(late, Vacate, "bs-0") == [Vacate(2, 2.8)], "what it asked for has expired"


def test_a_user_hands_back_no_grant_that_it_uses_used_or_has_no_more() -> None:
    user = new_user(access="granted")
    generate(user, 1.0)

    for now_s in (1.1, 1.15, 1.2):  # used, a copy, over
        assert not bodies(user.on_message(message("bs-0", Grant(3, 1.2)), now_s), Vacate)


def test_a_user_hands_back_the_rest_of_a_grant_when_the_link_gave_up() -> None:
    user = new_user(access="granted")
    generate(user, 1.0)
    (sent,) = bodies(user.on_message(message("bs-0", Grant(3, 1.2)), 1.1), Offload)

    lost = user.on_message(message(RADIO, Undelivered(sent, "bs-0", Reason.LOSS, 1)), 1.15)

    assert bodies(lost, Vacate, "bs-0") == [Vacate(3, 1.2)]


def test_slots_that_come_unasked_are_not_handed_back() -> None:
    user = new_user(access="slotted")

    assert user.on_message(message("bs-0", Grant(3, 1.2)), 1.1) == []
