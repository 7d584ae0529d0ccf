"""Servers with measured networks: which student a batch gets, and what replaying them is worth."""

import os
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest
from conftest import Spec, distribution, perform, scenario, server_group, unfold, user_group

from agents.messages import Execute, TaskEnd
from agents.tasks import Task
from emulator.sim.accelerator import Replay, Students
from emulator.streams import Streams
from models import latency, zoo

NAMES = ("digits-l", "digits-s", "digits-xs")
SPEED = 0.0025


def batch(size: int, left_s: float, waiting: int) -> Execute:
    tasks = [Task("user-0", n, 0.0, 0, 1.0, n, 5.0 + left_s + n) for n in range(size)]
    return Execute(tuple(tasks), waiting)


def test_a_batch_gets_the_best_student_that_its_share_of_the_time_allows() -> None:
    students = Students(NAMES, 4, SPEED)
    means_s = {name: latency.moments(name, 2)[0] / SPEED for name in NAMES}
    assert means_s["digits-l"] > means_s["digits-s"]

    for left_s in np.geomspace(1e-3, 10.0, 40):
        for waiting in (0, 1, 8):
            share_s = 0.5 * left_s / (1 + waiting / 2)
            fits = [name for name in NAMES if means_s[name] <= share_s]
            expected = fits[0] if fits else NAMES[-1]
            chosen = students.choose(batch(2, float(left_s), waiting), 5.0)
            assert students.names[chosen] == expected


def test_without_a_deadline_it_is_the_best() -> None:
    tasks = (Task("user-0", 0, 0.0, 0, 1.0, 0),)
    assert Students(NAMES, 1, SPEED).choose(Execute(tasks, 1000), 5.0) == 0


def cameras(accelerator: Spec, **changes: object) -> Spec:
    users = [user_group(count=12, arrival={"kind": "poisson", "rate_hz": 2.0}, deadline_s=0.4)]
    servers = [{"name": "edge", "count": 2, "speed": SPEED, "accelerator": accelerator}]
    return scenario(
        duration_s=120.0,
        protocol={"kind": "shortest-wait"},
        users=users,
        servers=servers,
        channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 1.0e6},
    ) | dict(changes)


def numbers(spec: Spec) -> dict[str, float | int | None]:
    return perform(spec).metrics.summary()["all"]


def test_a_server_with_several_students_is_right_more_often_than_its_smallest_one() -> None:
    users = [user_group(count=24, arrival={"kind": "poisson", "rate_hz": 2.4}, deadline_s=0.15)]
    several = numbers(
        cameras({"kind": "live", "model": "digits-l", "students": ["digits-xs"]}, users=users)
    )
    alone = {
        name: numbers(cameras({"kind": "live", "model": name}, users=users))
        for name in ("digits-l", "digits-xs")
    }

    def rate(found: dict[str, float | int | None]) -> float:
        return float(found["fresh_correct_hz"] or 0.0)

    assert float(several["accuracy"] or 0) > float(alone["digits-xs"]["accuracy"] or 0) + 0.005
    assert rate(several) > rate(alone["digits-l"]) * 1.05  # which is too slow for this load


def test_live_replayed_and_fitted_service_give_the_same_age() -> None:
    # In virtual time live inference draws from the trace too, so those two are equal to the bit;
    # a gamma distribution with the trace's first two moments has another shape, and other draws.
    trace = latency.trace("digits-m", 1) / SPEED
    mean_s = float(trace.mean())
    fitted = {
        "kind": "fitted",
        "service": distribution("gamma", mean_s * SPEED, trace.var() / mean_s**2),
    }

    live = numbers(cameras({"kind": "live", "model": "digits-m"}))
    replayed = numbers(cameras({"kind": "replay", "model": "digits-m"}))
    drawn = numbers(cameras(fitted))

    assert live["paoi_mean_s"] == replayed["paoi_mean_s"]
    assert drawn["paoi_mean_s"] == pytest.approx(replayed["paoi_mean_s"], rel=0.03)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_ten_thousand_live_inferences_grow_nothing_and_never_let_a_task_wait_idly() -> None:
    users = [user_group(count=10, arrival={"kind": "poisson", "rate_hz": 5.0})]
    servers = [server_group({}, speed=0.004, accelerator={"kind": "live", "model": "digits-s"})]
    spec = scenario(duration_s=205.0, users=users, servers=servers)
    times_s = array("d")  # arrived, started, finished, by end of service

    begun: tuple[int, int, int] | None = None
    for step, metrics in unfold(spec):
        for end in step.records:
            if isinstance(end, TaskEnd) and end.outcome == "completed":
                times_s.extend((end.arrived_s, end.started_s, end.finished_s))
        if begun is None and metrics.outcomes["completed"] > 1_000:
            begun = resident_bytes(), threading.active_count(), len(os.listdir("/proc/self/task"))

    assert begun is not None
    # An image and its answer are 1 KB, what this test keeps 24 B a task: a leak would be 9 MB.
    assert resident_bytes() - begun[0] < 6 * 2**20
    # Neither Python's threads nor those of torch: two cores, one thread each.
    assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == begun[1:]
    served = np.frombuffer(times_s).reshape(-1, 3)
    assert len(served) >= 10_000
    assert metrics.outcomes["completed"] == len(served)
    # One server, first come first served: the next begins when it is there and the last is done.
    arrived_s, started_s, finished_s = served.T
    np.testing.assert_allclose(
        started_s[1:], np.maximum(arrived_s[1:], finished_s[:-1]), rtol=0.0, atol=1e-9
    )
    assert 0.5 < float((finished_s - started_s).sum()) / 205.0 < 1.0  # it had a queue at times


def test_a_replayed_batch_takes_a_time_that_was_measured() -> None:
    device = Replay(Students(("digits-s",), 4, SPEED), Streams(2).uniform("service"))
    measured = set((latency.trace("digits-s", 3) / SPEED).tolist())

    times_s = {device.execute(batch(3, 1.0, 0), 0.0).service_s for _ in range(50)}

    assert times_s <= measured
    assert len(times_s) > 20
    assert zoo.manifest("digits-s").dataset == "digits"
