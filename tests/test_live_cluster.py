"""Faults on Ray: all hosts obey, nodes fail as in virtual time, which plays the run again."""

from pathlib import Path

import pytest
from conftest import perform
from test_cluster import workload

from agents.messages import TaskEnd
from emulator.live import replay
from emulator.results import journal
from emulator.results.journal import Record
from emulator.runtime.recorder import Progress
from emulator.runtime.session import EXIT_STATUS, Session
from emulator.scenario.schema import Scenario

pytestmark = pytest.mark.ray


def test_a_ray_run_with_injected_faults_replays_in_virtual_time(tmp_path: Path) -> None:
    chosen = Scenario.model_validate(workload(users=20, duration_s=8.0))
    session = Session(chosen, tmp_path)
    steering = session.steering
    loss = {"type": "loss", "target": "user-*", "p": 0.7, "for_s": 3.0}

    def show(progress: Progress) -> None:
        if progress.step.now_s > 1.0 and not steering.faults:
            steering.inject(loss, "test")

    summary = session.run(show)

    applied = steering.faults[0].applied
    assert applied is not None
    assert applied.hosts == applied.of > 1
    again = perform(replay.export(tmp_path).model_dump()).metrics.summary()["all"]
    # The same draws; lateness alone parts them: 5 % is the project's goal, 1 % is usual.
    expected_s = again["paoi_mean_s"]
    assert expected_s is not None
    assert summary["metrics"]["all"]["paoi_mean_s"] == pytest.approx(expected_s, rel=0.05)


def test_nodes_fail_on_ray_as_in_virtual_time_and_a_killed_actor_ends_the_run(
    tmp_path: Path,
) -> None:
    crash = {"type": "server_crash", "target": "a-0", "at_s": 1.0, "for_s": 2.0}
    churn = {"type": "user_churn", "target": "user-0,user-1", "at_s": 1.5, "for_s": 2.0}
    kill = {"type": "actor_kill", "target": "d-0", "at_s": 6.0}
    # 21 nodes on four hosts: a host that dies takes others with it.
    spec = workload(users=16, duration_s=30.0, faults=[crash, churn, kill])
    spec["runtime"]["hosts"] = 4
    chosen = Scenario.model_validate(spec)

    summary = Session(chosen, tmp_path).run()

    assert EXIT_STATUS[summary["verdict"]] == 3
    assert 5.5 < summary["emulated_s"] < 12.0
    (cause,) = summary["causes"]
    assert "d-0" in cause
    assert "ended unexpectedly" in cause
    reported = [record for frame in journal.read_frames(tmp_path) for record in frame.records]
    virtual = perform(spec | {"faults": [crash, churn], "duration_s": 6.0}).records

    def dropped(records: list[Record]) -> set[tuple[str, int, str]]:
        ends = (r for r in records if isinstance(r, TaskEnd) and r.ended_s < 5.0)
        return {(e.user, e.seq, e.reason) for e in ends if e.reason in ("crash", "away")}

    expected, seen = dropped(virtual), dropped(reported)
    # The same draws; who is late by more than a tick may fall on the other side of an instant.
    assert len(expected) > 8
    assert len(expected ^ seen) <= 0.2 * len(expected)
