"""Blocks of time at their borders: everything that is constant over a block must see the same one.

The exact answer is that of rational arithmetic, where border k of blocks of length b is k b.
"""

import math
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import distribution, perform, scenario, server_group, user_group
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.blocks import begin_of, block_of, next_block
from agents.messages import TaskEnd
from agents.todg.frame import Slotting
from emulator.scenario.occurrences import begins_s
from emulator.scenario.schema import Scenario
from emulator.sim.channel import Adaptive, BurstChain, Rayleigh, TraceChannel
from emulator.streams import Streams

LENGTHS_S = st.one_of(
    st.integers(1, 10**6).map(lambda n: n / 10**6),  # whole microseconds
    st.integers(1, 1000).map(lambda n: n / 1000.0),
    st.integers(1, 1000).map(lambda n: 1.0 / n),
)
NUMBERS = st.one_of(st.integers(0, 5000), st.integers(0, 10**9))


def borders(number: int, block_s: float) -> list[float]:
    """Returns border `number` as a run may compute it: each is a few roundings from the truth."""
    product = number * block_s
    return [
        product,
        math.nextafter(product, 0.0),
        math.nextafter(product, math.inf),
        (number - 1) * block_s + block_s,
        number / (1.0 / block_s),
        0.1 * product + 0.9 * product,
        begin_of(number, block_s),
    ]


@settings(derandomize=True, deadline=None, max_examples=500)
@given(number=NUMBERS, block_s=LENGTHS_S)
def test_a_border_belongs_to_the_block_that_begins(number: int, block_s: float) -> None:
    for at_s in borders(number, block_s):
        if begin_of(number, block_s) == at_s and block_s < 1e-3:
            continue  # a tenth of a nanosecond is more than a millionth of such a block
        assert block_of(at_s, block_s) == number
        assert next_block(at_s, block_s) == number
    inside_s = float((number + Fraction(1, 2)) * Fraction(block_s))
    assert block_of(inside_s, block_s) == number
    assert next_block(inside_s, block_s) == number + 1


@settings(derandomize=True, deadline=None, max_examples=200)
@given(number=st.integers(1, 3000), block_s=LENGTHS_S.filter(lambda s: s >= 1e-4))
def test_all_block_functions_take_the_same_block_at_a_border(number: int, block_s: float) -> None:
    streams = Streams(3)
    chain = BurstChain(0.4, 0.6, block_s, streams.uniform("burst"))
    gain = streams.field("fading")
    rayleigh = Rayleigh(3.0, 3.0, block_s, 1e6, gain)
    adaptive = Adaptive(10.0, 2, block_s, 1e6, 6.0, gain)
    slotting = Slotting(block_s, 0.0, 0.0, 0.0)
    middle_s = (number + 0.5) * block_s

    for at_s in borders(number, block_s)[:-1]:
        assert chain.bad(at_s) == chain.bad(middle_s)
        assert rayleigh.success(at_s, 0.0) == rayleigh.success(middle_s, 0.0)
        assert adaptive.rate_bps(1, at_s, 0.0) == adaptive.rate_bps(1, middle_s, 0.0)
        assert slotting.slot(at_s) == slotting.slot(middle_s)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    unit_s=st.sampled_from([0.1, 0.01, 0.3, 1.0 / 7.0]),
    loop=st.integers(0, 10_000),
)
def test_a_row_of_a_trace_begins_at_its_border(
    lengths: list[int], unit_s: float, loop: int
) -> None:
    begins = [sum(lengths[:row]) for row in range(len(lengths) + 1)]
    success = [row / len(lengths) for row in range(len(lengths) + 1)]
    channel = TraceChannel([n * unit_s for n in begins], success, [1.0] * len(begins))

    for row, begin in enumerate(begins[:-1]):
        for at_s in borders(loop * begins[-1] + begin, unit_s)[:-1]:
            assert channel.success(at_s, 0.0) == success[row]


def test_channel_states_that_change_with_every_slot_hit_every_second_task() -> None:
    slots = 600  # floats alone put 25 of them into another slot
    spec = scenario(
        duration_s=slots * 0.1,
        protocol={"kind": "nearest"},
        users=[user_group(arrival={"kind": "on-grant"}, input_bits=5000.0)],
        base_stations=[{"name": "bs", "access": "slotted", "channels": 1, "grant_s": 0.1}],
        servers=[server_group(distribution("deterministic", 0.001))],
        channel={"kind": "gilbert-elliott", "p": 1, "r": 1, "slot_s": 0.1, "rate_bps": 1.0e6},
        downlink={"kind": "ideal"},
        control={"channel": {"kind": "ideal"}},
        resend={"attempts_max": 1},
        topology={"kind": "generated", "cells_per_user": 1},
    )

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    states = {(round(end.born_s / 0.1) % 2, end.outcome) for end in ends}
    assert len(ends) > 0.9 * slots
    assert len(states) == 2  # even slots have one outcome, odd ones the other


@pytest.mark.parametrize("slot_s", [0.1, 0.3, 0.02, 0.7])
def test_a_fault_at_the_begin_of_a_slot_hits_that_slot_and_not_the_one_where_it_ends(
    slot_s: float,
) -> None:
    first, last = 3, 21  # 3 * 0.3 is below 0.9, 21 * 0.1 above 2.1
    fault = {
        "at_s": float(f"{first * slot_s:.6f}"),
        "for_s": float(f"{(last - first) * slot_s:.6f}"),
        "type": "blackout",
        "target": "user-0",
        "direction": "up",  # grants still come
    }
    spec = scenario(
        duration_s=30 * slot_s,
        protocol={"kind": "nearest"},
        users=[user_group(arrival={"kind": "on-grant"}, input_bits=100.0)],
        base_stations=[{"name": "bs", "access": "slotted", "channels": 1, "grant_s": slot_s}],
        servers=[server_group(distribution("deterministic", 0.0001))],
        channel={"kind": "bernoulli", "rate_bps": 1.0e6},
        control={"channel": {"kind": "ideal"}},
        resend={"attempts_max": 1},
        topology={"kind": "generated", "cells_per_user": 1},
        faults=[fault],
    )

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    lost = {round(end.born_s / slot_s) for end in ends if end.outcome == "dropped"}
    passed = {round(end.born_s / slot_s) for end in ends if end.outcome == "completed"}
    assert lost == set(range(first, last))
    assert passed == set(range(30)) - lost


def test_a_repeated_fault_begins_at_the_decimals_that_it_means() -> None:
    fault = {"at_s": 0.3, "for_s": 0.1, "every_s": 0.3, "type": "blackout", "target": "user-0"}
    chosen = Scenario.model_validate(scenario(faults=[fault]))

    begins = begins_s(chosen.faults[0], 3.0)

    assert begins == [0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7]


# Attempts that cross rows of a trace


def crossed_s(
    rows: list[tuple[int, int]], size_bits: int, into_s: Fraction, loop_s: int
) -> Fraction:
    """A naive twin: goes from row to row in rational arithmetic."""
    left_bits, now_s = Fraction(size_bits), into_s
    while True:
        turn_s = now_s // loop_s * loop_s
        row = max(n for n, (at_s, _) in enumerate(rows) if at_s <= now_s - turn_s)
        next_s = turn_s + (rows[row + 1][0] if row + 1 < len(rows) else loop_s)
        rate_bps = rows[row][1]
        if rate_bps and left_bits <= rate_bps * (next_s - now_s):
            return now_s + left_bits / rate_bps - into_s
        left_bits -= rate_bps * (next_s - now_s)
        now_s = next_s


@settings(derandomize=True, deadline=None, max_examples=500)
@given(
    held_s=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    rates_bps=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    size_bits=st.integers(1, 200),
    quarter=st.integers(0, 400),
)
def test_an_attempt_crosses_rows_at_the_rate_of_each(
    held_s: list[int], rates_bps: list[int], size_bits: int, quarter: int
) -> None:
    rates_bps = rates_bps[: len(held_s)]
    if not any(rates_bps):
        rates_bps[0] = 1
    begins_s = [sum(held_s[:row]) for row in range(len(held_s) + 1)]
    channel = TraceChannel(
        [float(at_s) for at_s in begins_s], [1.0] * len(begins_s), [*map(float, rates_bps), 1.0]
    )
    rows = list(zip(begins_s, rates_bps, strict=False))
    at_s = Fraction(quarter, 4)

    found_s = channel.airtime_s(float(size_bits), float(at_s), 0.5)

    exact_s = crossed_s(rows, size_bits, at_s, begins_s[-1])
    assert found_s == pytest.approx(float(exact_s), abs=1e-9)
    row = max(n for n, begin_s in enumerate(begins_s[:-1]) if begin_s <= at_s % begins_s[-1])
    assert channel.success(float(at_s), 0.0) == (1.0 if rates_bps[row] else 0.0)


@pytest.mark.parametrize("row", ["1,0,1", "1,1,0", "1,0,0"])
def test_a_channel_dead_for_half_the_time_loses_half_and_ends_what_it_loses(
    row: str, tmp_path: Path
) -> None:
    (tmp_path / "dead.csv").write_text(f"t_s,success,rate_bps\n0,1,1e6\n{row}\n2,1,1e6\n")
    spec = scenario(
        duration_s=61.0,
        users=[user_group(count=3, arrival={"kind": "periodic", "period_s": 0.05})],
        channel={"kind": "trace", "file": str(tmp_path / "dead.csv")},
        downlink={"kind": "ideal"},
        resend={"attempts_max": 1},
        servers=[server_group(distribution("deterministic", 1e-5))],
    )

    ends = [record for record in perform(spec).records if isinstance(record, TaskEnd)]

    # 20 tasks a second and user: in 61 s, 30 of them dead, none is under way at the end but those
    # of the last few milliseconds, and what is lost has ended when the channel is back.
    assert len(ends) > 3 * 1218
    for end in ends:
        assert (end.outcome == "dropped") == (end.born_s % 2.0 >= 1.0)
        if end.outcome == "dropped":
            back_s = 2.0 * math.ceil(end.born_s / 2.0)
            assert end.ended_s == pytest.approx(back_s, abs=0.01)
