"""Measured service times: a change is seen soon, rare stalls are not taken for one."""

import math
from random import Random

import pytest

from agents.moments import Moments
from models import latency

TRACES = [
    ("digits-s", "torch"),
    ("digits-l", "torch"),
    ("noisy-m", "torch"),
    ("noisy-m", "onnx"),
    ("noisy-s", "onnx-int8"),
    ("noisy-l", "onnx"),
]
SEEDS = range(8)


@pytest.mark.parametrize(("name", "engine"), TRACES)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_twice_or_half_the_speed_is_seen_within_30_services(
    name: str, engine: str, factor: float
) -> None:
    trace_s = latency.trace(name, 1, engine).tolist()
    mean_s, second_s2 = latency.moments(name, 1, engine)
    deviation_s = math.sqrt(second_s2 - mean_s**2)

    for seed in SEEDS:
        draw = Random(seed)
        moments = Moments(mean_s, second_s2)
        for sample_s in draw.choices(trace_s, k=2_400):
            moments.observe(sample_s)
        # Not one false alarm in 2,400. The estimate: four standard errors.
        assert moments.changes == 0
        assert abs(moments.mean - mean_s) < 4.0 * deviation_s / math.sqrt(2_400)

        seen = near = None
        for number, sample_s in enumerate(draw.choices(trace_s, k=300), start=1):
            moments.observe(factor * sample_s)
            if seen is None and moments.changes:
                seen = number
            if near is None and abs(moments.mean / (factor * mean_s) - 1.0) < 0.1:
                near = number

        assert seen is not None
        assert seen <= 30
        assert near is not None
        assert near <= 200  # half of the runs: 15; the longest had a stall in the first few
        # Five standard errors of the services since: few of them, and with heavy tails.
        assert abs(moments.mean - factor * mean_s) < 5.0 * factor * deviation_s / math.sqrt(250)


def test_one_stall_is_no_change() -> None:
    moments = Moments(0.01, 1.01e-4)
    for _ in range(100):
        moments.observe(0.01)
    moments.observe(0.3)  # thirty times as long: it counts in the mean, as it should
    for _ in range(100):
        moments.observe(0.01)

    assert moments.changes == 0
    assert moments.mean == pytest.approx((205 * 0.01 + 0.3) / 206)


def test_what_begins_anew_is_what_came_since_the_change() -> None:
    # Without noise the short memory is a mix of before and after, which can be taken apart: up to
    # what the ten or so new samples have added to the mean of the 500 old ones, 2 % of the step.
    moments = Moments(0.01, 1e-4)
    for _ in range(500):
        moments.observe(0.01)
    for _ in range(30):
        moments.observe(0.03)
        if moments.changes:
            break

    assert moments.changes == 1
    assert moments.mean == pytest.approx(0.03, rel=0.02)
    assert moments.second_moment == pytest.approx(9e-4, rel=0.02)
