"""Live inference in real time is said in the traces' seconds: the machine cancels.

No test reads a real clock: a core is one that takes, for each batch, what the test says it takes.
"""

import time
from collections.abc import Callable
from math import exp, sqrt
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
import pytest
from conftest import scenario, server_group, user_group
from numpy.typing import NDArray
from rich.console import Console

from agents.messages import Execute
from agents.tasks import Task
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.sim.accelerator import Live, Students
from emulator.sim.stopwatch import RECENT, Stopwatch
from emulator.streams import Streams
from emulator.views import report
from emulator.views.terminal import closing
from models import engine, latency

NAME, SPEED, BATCH_MAX = "digits-xs", 0.05, 4


class Core:
    """A core whose thread clock runs only while a network computes: `cost_s` says how far."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slowness = 1.0
        self.noise: Callable[[], float] = lambda: 1.0

    def cost_s(self, batch: int) -> float:
        # Not in proportion to the trace: a core may be faster at large batches than ours.
        return 40e-6 * (2.0 + batch) * self.slowness * self.noise()

    def load(self, name: str, *how: object) -> engine.Logits:
        def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.now_s += self.cost_s(len(images))
            return np.zeros((len(images), 10), dtype=np.float32)

        return logits


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    made = Core()
    monkeypatch.setattr(engine, "_logits", made.load)
    monkeypatch.setattr(time, "thread_time", lambda: made.now_s)
    return made


def batch(size: int) -> Execute:
    return Execute(tuple(Task("user-0", n, 0.0, 0, 1.0, n) for n in range(size)), 0)


def live() -> Live:
    students = Students((NAME,), BATCH_MAX, SPEED)
    return Live(students, BATCH_MAX, 1, Streams(1).uniform("service"), Stopwatch())


def device_s(size: int) -> float:
    return latency.moments(NAME, size)[0] / SPEED


# A core


@pytest.mark.parametrize("slowness", [0.5, 1.0, 7.0])
def test_a_service_is_the_traces_however_slow_the_core_is(core: Core, slowness: float) -> None:
    core.slowness = slowness
    device = live()

    for size in (1, 3, 4, 1, 2, 4):
        # Exact but for rounding: a core without noise.
        assert device.execute(batch(size), 0.0).service_s == pytest.approx(device_s(size), rel=1e-9)


def test_a_core_that_slows_down_while_it_serves_is_followed(core: Core) -> None:
    device = live()
    for _ in range(2 * RECENT):
        device.execute(batch(1), 0.0)

    core.slowness = 4.0
    found_s = [device.execute(batch(1), 0.0).service_s for _ in range(RECENT + 4)]

    # By the definition: k slow readings among RECENT have the mean (RECENT + 3 k) / RECENT.
    expected = [4.0 / (1.0 + 3.0 * min(k, RECENT) / RECENT) for k in range(1, RECENT + 5)]
    assert [s / device_s(1) for s in found_s] == pytest.approx(expected, rel=1e-9)
    assert expected[RECENT - 1 :] == pytest.approx([1.0] * 5)


def test_noise_stays_and_is_fair(core: Core) -> None:
    # A skewed noise: lognormal. Of a short batch the lesser of two counts. Seed 4.
    draw, sigma = Random(4), 0.5
    core.noise = lambda: draw.lognormvariate(0.0, sigma)
    device = live()
    device.warm_up()

    shares = [device.execute(batch(1), 0.0).service_s / device_s(1) for _ in range(20_000)]

    # Exchangeable readings have mean share 1. A share's deviation is below 0.5; neighbours in a
    # window correlate negatively, so that 4 x 0.5 / sqrt(20,000) = 0.014 is generous.
    assert fmean(shares) == pytest.approx(1.0, abs=0.014)
    # Of the lesser of two normals E exp(t min) = 2 exp(t^2 / 2) Phi(-t / sqrt 2). A window of n
    # that holds the reading itself keeps sqrt(1 - 1 / n) of a deviation, to first order: 5 %.
    m1, m2 = (2.0 * exp(t**2 / 2.0) * NormalDist().cdf(-t / sqrt(2.0)) for t in (sigma, 2 * sigma))
    kept = sqrt((m2 / m1**2 - 1.0) * (1.0 - 1.0 / RECENT))
    assert np.std(shares) == pytest.approx(kept, rel=0.05)


def test_each_batch_size_is_calibrated_on_its_own(core: Core) -> None:
    # One outlier in a calibration is no calibration: the median of the rounds does not see it.
    draw = Random(2)
    core.noise = lambda: 30.0 if draw.random() < 0.05 else 1.0
    device = live()
    device.warm_up()
    core.noise = lambda: 1.0

    for size in (4, 1, 2, 3):
        assert device.execute(batch(size), 0.0).service_s == pytest.approx(device_s(size), rel=1e-9)


def test_without_a_stopwatch_nothing_is_calibrated(core: Core) -> None:
    students = Students((NAME,), BATCH_MAX, SPEED)
    device = Live(students, BATCH_MAX, 1, Streams(1).uniform("service"), None)
    device.warm_up()
    spent_s = core.now_s

    service_s = device.execute(batch(2), 0.0).service_s

    assert service_s in set(latency.trace(NAME, 2) / SPEED)
    assert core.now_s - spent_s == pytest.approx(core.cost_s(2))


# A run


def summary(folder: Path | None = None, stopwatch: bool = True, **changes: Any) -> dict[str, Any]:
    servers = [
        server_group({}, speed=SPEED, accelerator={"kind": "live", "model": NAME}, name=name)
        for name in ("left", "right")
    ]
    users = [user_group(arrival={"kind": "periodic", "period_s": 0.1})]
    chosen = Scenario.model_validate(
        scenario(duration_s=20.0, protocol={"kind": "round-robin"}, servers=servers, users=users)
        | changes
    )
    return Session(chosen, folder, stopwatch=stopwatch).run()


@pytest.mark.parametrize("slowness", [1.0, 2.0])
def test_the_machine_against_the_trace_is_in_the_summary_as_it_was_read(
    core: Core, slowness: float, tmp_path: Path
) -> None:
    trace_s = latency.moments(NAME, 1)[0]
    core.slowness = slowness * trace_s / core.cost_s(1)  # takes `slowness` times the trace

    found = summary(tmp_path)

    assert found["live_to_trace"] == pytest.approx(slowness)
    assert list(found["live_to_trace_by_host"].values()) == [pytest.approx(slowness)]
    assert found["metrics"]["all"]["compute_mean_s"] == pytest.approx(device_s(1))
    warned = [text for text in found["warnings"] if "live inference took 2 times" in text]
    assert (found["warnings"], len(warned)) == (warned, slowness > 1.5)
    console = Console(record=True, width=200)
    closing(found, report.read(tmp_path).scenario, console)
    printed = console.export_text()
    page = report.write(tmp_path, report.read(tmp_path)).read_text()
    for shown in (printed, page):
        assert f"live inference took {slowness:g} of its trace" in shown
        assert ("as long on this machine as in the traces" in shown) == bool(warned)


def test_a_run_that_times_nothing_says_nothing_of_the_machine(core: Core) -> None:
    found = summary(stopwatch=False)

    assert (found["live_to_trace"], found["live_to_trace_by_host"]) == (None, {})
    assert found["warnings"] == []


def test_a_slower_device_shows_while_a_slower_machine_does_not(core: Core) -> None:
    fault = {"type": "server_slowdown", "target": "*", "factor": 3.0, "at_s": 0.0}

    found = summary(faults=[fault])

    assert found["metrics"]["all"]["compute_mean_s"] == pytest.approx(3.0 * device_s(1))
