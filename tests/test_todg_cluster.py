"""TODG on Ray: the same decisions as in virtual time, and exact accounts after a kill -9."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import Spec, distribution, in_real_time, perform, server_group
from todg_network import kind, network

from agents.messages import TaskEnd
from agents.messages.slots import Allocated
from emulator.results import journal
from emulator.results.journal import HostLost
from emulator.runtime.muster import Carrier
from emulator.runtime.recorder import Progress
from emulator.runtime.session import EXIT_STATUS
from emulator.views import report

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
        servers=[server_group(distribution("gamma", 0.01, 0.5), name="rack", count=2)],
        channel={"kind": "adaptive", "snr_db": 20.0, "bandwidth_hz": 1.5e6, "coherence_s": SLOT_S},
        slots={"report_s": 0.02, "round_s": 0.008, "guard_s": 0.015},
        backhaul={"delay_s": 0.002},
        runtime=in_real_time("ray", hosts=3, time_scale=8.0, tick_s=0.008),
    )


def on_ray(spec: Spec, folder: Path, **hooks: Any) -> dict[str, Any]:
    return conftest.on_ray(spec, folder, **hooks)


def decided(records: list[Any], until_s: float) -> dict[Any, Any]:
    """What became of every task that ended, and who was given which channel in each slot, by
    `until_s`."""
    decisions: dict[Any, Any] = {}
    for record in records:
        match record:
            case TaskEnd(user=user, seq=seq) if record.ended_s < until_s:
                decisions[user, seq] = (record.outcome, record.reason, record.server)
            case Allocated(slot=slot, bs=bs) if (slot + 1) * SLOT_S < until_s:
                decisions[bs, slot] = (record.users, record.channel)
    return decisions


def recorded(folder: Path) -> list[Any]:
    return [record for frame in journal.read_frames(folder) for record in frame.records]


def test_on_ray_every_decision_is_that_of_virtual_time(tmp_path: Path) -> None:
    # What decides is the order of events at each node. On Ray a message that is due just before
    # something local, such as the end of a service, comes after it where it is later than the gap
    # between the two; and all that is decided from then on may differ. Gaps are random, a stall of
    # the machine is not ours: what parts two runs is their ratio, so a run that was parted is
    # repeated at half the speed, where every gap is twice as wide; so is one that says itself that
    # it was too late to be valid.
    spec = spread(duration_s=1.5)
    records, _, _ = perform(spec | {"runtime": {"kind": "loop"}})
    expected = decided(records, until_s=1.4)
    assert sum(node.startswith("bs") for node, _ in expected) == 2 * 13  # base stations, slots
    assert len(expected) >= 26 + 40
    parted: list[int] = []
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        spec["runtime"]["time_scale"] = 8.0 * 2.0**attempt

        summary = on_ray(spec, folder)

        assert all(cause.startswith("invalid") for cause in summary["causes"]), summary["causes"]
        assert summary["violations"] == 0
        assert summary["balance"]["lost"] == 0
        found = decided(recorded(folder), until_s=1.5)
        parted.append(sum(found.get(key) != decision for key, decision in expected.items()))
        if not parted[-1]:
            break
    assert parted[-1] == 0, f"{parted} of {len(expected)} decisions differ"


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
    assert EXIT_STATUS[summary["verdict"]] == 3
    (cause,) = summary["causes"]
    assert killed[0].name in cause
    records = recorded(tmp_path)
    (lost,) = [record for record in records if isinstance(record, HostLost)]
    assert lost.nodes == killed[0].nodes
    ends = [record for record in records if isinstance(record, TaskEnd)]
    assert len(ends) > 10
    late = [e for e in ends if (e.finished_s if e.outcome == "completed" else e.ended_s) > e.due_s]
    assert summary["violations"] == len(late) == 0
    # Nothing is counted twice, lost on the way to the disk, or missing from the numbers.
    assert len({(end.user, end.seq) for end in ends}) == len(ends)
    given_up = [(e.user.rpartition("-")[0], e.reason) for e in ends if e.outcome != "completed"]
    for group, reasons in summary["given_up"].items():
        assert reasons == Counter(reason for name, reason in given_up if name == group)
    for group, numbers in summary["metrics"].items():
        assert numbers["ended"] == sum(end.user.startswith(group) or group == "all" for end in ends)
    assert report.read(tmp_path).metrics.summary() == summary["metrics"]
    # The virtual run knows every task that can have ended by then.
    before, _, _ = perform(spec | {"runtime": {"kind": "loop"}})
    known = {(end.user, end.seq) for end in before if isinstance(end, TaskEnd)}
    assert {(e.user, e.seq) for e in ends} <= known
