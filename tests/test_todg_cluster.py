"""TODG on Ray: the same decisions as in virtual time, and exact accounts after a kill -9."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Spec, law, perform, server_group
from todg_network import kind, network

from agents.bodies import TaskEnd
from emulator import cluster, journal
from emulator.cluster import Carrier
from emulator.journal import HostLost
from emulator.plan import plan
from emulator.run import Progress, run
from emulator.scenario import Scenario

pytestmark = pytest.mark.ray
SLOT_S = 0.1


def spread(duration_s: float) -> Spec:
    """Three hosts, eight times slower than emulated: a mini-round and a tick take 64 ms."""
    return network(
        duration_s=duration_s,
        users=[
            kind("alarm", deadline_s=4.0, input_bits=2.0e4),
            kind("survey", priority=1, deadline_s=6.0, input_bits=1.5e5),
        ],
        base_stations=[
            {"name": "bs", "count": 2, "access": "scheduled", "channels": 2, "grant_s": SLOT_S}
        ],
        servers=[server_group(law("gamma", 0.01, 0.5), name="rack", count=2)],
        channel={"kind": "adaptive", "snr_db": 20.0, "bandwidth_hz": 1.5e6, "coherence_s": SLOT_S},
        slots={"report_s": 0.02, "round_s": 0.008, "guard_s": 0.015},
        backhaul={"delay_s": 0.002},
        runtime={"kind": "ray", "hosts": 3, "time_scale": 8.0, "tick_s": 0.008},
    )


def on_ray(spec: Spec, folder: Path, **hooks: Any) -> dict[str, Any]:
    planned = plan(Scenario.model_validate(spec), stopwatch=True)
    show = hooks.get("show", lambda progress: None)
    started = hooks.get("started", lambda carriers: None)
    return run(planned, cluster.play(planned, None, lambda n, of: None, started), folder, show)


def fates(ends: list[TaskEnd], until_s: float) -> dict[tuple[str, int], tuple[str, str, str]]:
    """What became of every task that ended well before the end of the run."""
    return {
        (end.user, end.seq): (end.outcome, end.reason, end.server)
        for end in ends
        if end.ended_s < until_s
    }


def recorded(folder: Path) -> list[Any]:
    return [record for frame in journal.read_frames(folder) for record in frame.records]


def test_on_ray_every_task_meets_the_fate_it_meets_in_virtual_time(tmp_path: Path) -> None:
    # All decisions agree as long as no message is later than that, 64 ms of wall time here.
    # A stall of the whole machine may part the two, so one run of three must agree to the task.
    spec = spread(duration_s=2.0)
    records, _, _ = perform(spec | {"runtime": {"kind": "loop"}})
    expected = fates([r for r in records if isinstance(r, TaskEnd)], until_s=1.9)
    assert len(expected) >= 50
    shares = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()

        summary = on_ray(spec, folder)

        assert summary["causes"] == []
        assert summary["violations"] == 0
        assert summary["balance"]["lost"] == 0
        found = fates([r for r in recorded(folder) if isinstance(r, TaskEnd)], until_s=2.0)
        shares.append(sum(found.get(t) == fate for t, fate in expected.items()) / len(expected))
        if shares[-1] == 1.0:
            break
    assert max(shares) == 1.0, shares


def test_after_a_kill_the_account_of_the_bound_is_exact(tmp_path: Path) -> None:
    spec = spread(duration_s=4.0)
    carriers: list[Carrier] = []
    killed: list[Carrier] = []

    def kill_one(progress: Progress) -> None:
        if progress.step.now_s > 0.8 and not killed:
            killed.append(carriers[1])
            os.kill(carriers[1].pid, signal.SIGKILL)

    summary = on_ray(spec, tmp_path, show=kill_one, started=carriers.extend)

    assert summary["verdict"] == "broken"
    (cause,) = summary["causes"]
    assert killed[0].name in cause
    records = recorded(tmp_path)
    (lost,) = [record for record in records if isinstance(record, HostLost)]
    assert lost.nodes == killed[0].nodes
    ends = [record for record in records if isinstance(record, TaskEnd)]
    assert len(ends) > 10
    late = [e for e in ends if (e.finished_s if e.outcome == "completed" else e.ended_s) > e.due_s]
    assert summary["violations"] == len(late) == 0
