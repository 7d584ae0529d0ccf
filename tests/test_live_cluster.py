"""Faults injected on Ray: all hosts obey, and virtual time plays the run again."""

from pathlib import Path

import pytest
from conftest import perform
from test_cluster import workload

from emulator import cluster, replay, source
from emulator.plan import plan
from emulator.run import Progress, run
from emulator.scenario import Scenario
from emulator.steering import Steering

pytestmark = pytest.mark.ray


def test_a_ray_run_with_injected_faults_replays_in_virtual_time(tmp_path: Path) -> None:
    chosen = Scenario.model_validate(workload(users=20, duration_s=8.0))
    (tmp_path / "scenario.yaml").write_text(source.dump(chosen))
    planned = plan(chosen, stopwatch=False)
    steering = Steering(planned)
    loss = {"type": "loss", "target": "user-*", "p": 0.7, "for_s": 3.0}

    def show(progress: Progress) -> None:
        if progress.step.now_s > 1.0 and not steering.faults:
            steering.inject(loss, "test")

    steps = cluster.play(planned, None, lambda hosts, of: None, lambda carriers: None, steering)
    summary = run(planned, steps, tmp_path, show, steering)

    applied = steering.faults[0].applied
    assert applied is not None
    assert applied.hosts == applied.of > 1
    again = perform(replay.export(tmp_path).model_dump()).metrics.summary()["all"]
    # The same draws; lateness alone parts them: 5 % is the project's goal, 1 % is usual.
    expected_s = again["paoi_mean_s"]
    assert expected_s is not None
    assert summary["metrics"]["all"]["paoi_mean_s"] == pytest.approx(expected_s, rel=0.05)
