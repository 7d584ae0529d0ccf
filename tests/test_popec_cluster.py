"""The freshness protocol on Ray: the same fixed point as in virtual time, and an honest end."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import Spec, distribution, in_real_time, scenario, server_group, unfold, user_group

from emulator.results import journal
from emulator.results.journal import HostLost, Readings
from emulator.runtime.muster import Carrier
from emulator.runtime.recorder import Progress

pytestmark = pytest.mark.ray


def negotiation(duration_s: float) -> Spec:
    """Eight users of two classes, two cells, two servers; a control channel that loses a tenth."""
    slot = {"access": "slotted", "channels": 1, "grant_s": 0.02}

    def users(name: str, count: int, priority: int, weight: float) -> Spec:
        arrival = {"kind": "on-grant"}
        return user_group(name=name, count=count, priority=priority, weight=weight, arrival=arrival)

    return scenario(
        duration_s=duration_s,
        protocol={"kind": "popec-async", "measure": False},
        users=[users("urgent", 3, 0, 4.0), users("patient", 5, 1, 1.0)],
        base_stations=[{"name": "bs", "count": 2, **slot}],
        servers=[
            server_group(distribution("gamma", 0.02, 0.25), name="gpu"),
            server_group(distribution("exponential", 0.06), name="cpu"),
        ],
        channel={"kind": "bernoulli", "loss": 0.3, "rate_bps": 1.0e6},
        downlink={"kind": "ideal"},
        resend={"attempts_max": 1},
        backhaul={"delay_s": 0.002},
        control={
            "channel": {
                "kind": "bernoulli",
                "loss": 0.1,
                "airtime": distribution("exponential", 0.005),
            }
        },
        runtime=in_real_time("ray", hosts=3),
    )


def on_ray(spec: Spec, folder: Path, **hooks: Any) -> tuple[dict[str, Any], list[float]]:
    """Runs a scenario on an embedded cluster; returns its summary and the predicted ages."""
    predicted_s: list[float] = []

    def show(progress: Progress) -> None:
        column = progress.metrics.series.columns.get("protocol/objective", [])
        predicted_s[:] = [value for value in column if value is not None]
        hooks.get("show", lambda progress: None)(progress)

    return conftest.on_ray(spec, folder, **hooks | {"show": show}), predicted_s


def test_on_ray_the_users_agree_on_what_they_agree_on_in_virtual_time(tmp_path: Path) -> None:
    # Both stop where censoring silences them, less than 0.5 % above the optimum; messages take
    # other times here, so they stop at other points of that range.
    spec = negotiation(duration_s=5.0)
    *_, (_, metrics) = unfold(spec | {"runtime": {"kind": "loop"}})
    reference_s = metrics.series.columns["protocol/objective"][-1]
    assert reference_s is not None

    summary, predicted_s = on_ray(spec, tmp_path)

    assert summary["causes"] == []
    assert predicted_s[-1] == pytest.approx(reference_s, rel=0.01)
    assert summary["balance"]["lost"] == 0
    assert summary["metrics"]["all"]["completed"] > 100
    # It was negotiated, by messages between hosts: each of the three reports some of its own.
    reported = [
        r for f in journal.read_frames(tmp_path) for r in f.records if isinstance(r, Readings)
    ]
    messages = {record.host: record.values["messages"] for record in reported}
    assert len(messages) == 3
    assert min(messages.values()) > 50


def test_a_killed_host_of_negotiating_nodes_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    spec = negotiation(duration_s=25.0)
    carriers: list[Carrier] = []
    killed: list[Carrier] = []

    def kill_one(progress: Progress) -> None:
        if progress.step.now_s > 2.5 and not killed:
            killed.append(carriers[1])
            os.kill(carriers[1].pid, signal.SIGKILL)

    summary, predicted_s = on_ray(spec, tmp_path, show=kill_one, started=carriers.extend)

    assert summary["verdict"] == "broken"
    assert 2.5 < summary["emulated_s"] < 20.0
    (cause,) = summary["causes"]
    assert killed[0].name in cause
    assert "ended unexpectedly" in cause
    records = [record for frame in journal.read_frames(tmp_path) for record in frame.records]
    (lost,) = [record for record in records if isinstance(record, HostLost)]
    assert lost.nodes == killed[0].nodes
    assert math.isfinite(predicted_s[-1])
    assert summary["metrics"]["all"]["completed"] > 20
