"""Paired comparison against an independent computation of the same intervals."""

import numpy as np
import pytest
from conftest import law, perform, scenario, server_group, user_group
from scipy import stats

from emulator import compare
from emulator.scenario import Scenario

SPEC = scenario(
    duration_s=20.0,
    users=[user_group(count=4, arrival={"kind": "poisson", "rate_hz": 4.0})],
    servers=[
        server_group(law("exponential", 0.05), name="fast"),
        server_group(law("exponential", 0.05), name="slow", speed=0.5),
    ],
)
SEEDS = [1, 2, 3, 4]


def test_the_paired_interval_is_that_of_scipy() -> None:
    a, b = np.array([1.0, 2.5, 3.0, 4.5]), np.array([0.5, 2.4, 2.0, 4.4])

    found = compare.estimate((a - b).tolist())

    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.half_width == pytest.approx((interval.high - interval.low) / 2)


def test_the_pool_finds_what_runs_in_this_process_find() -> None:
    done: list[int] = []

    comparison = compare.run(
        Scenario.model_validate(SPEC),
        ["random", "shortest-wait"],
        SEEDS,
        lambda n, of: done.append(n),
    )

    assert done == list(range(1, 9))
    delays = {r.protocol: r.values for r in comparison.rows if r.metric == "delay_mean_s"}
    for protocol, values in delays.items():
        expected = [
            perform(SPEC | {"seed": seed, "protocol": {"kind": protocol}}).metrics.summary()
            for seed in SEEDS
        ]
        assert values == [summary["all"]["delay_mean_s"] for summary in expected]
    (gap,) = [r for r in comparison.rows if r.metric == "delay_mean_s" and r.difference]
    # Knowing the backlog beats not knowing it at every seed, at this load of 0.53.
    assert gap.wins == 4
    assert gap.difference is not None
    assert gap.difference.mean + gap.difference.half_width < 0.0
