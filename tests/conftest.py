"""Scenarios as plain dicts, and ways to play them: what most tests begin with."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emulator.record.journal import Record
from emulator.record.metrics import Metrics
from emulator.runtime.loop import Step, play
from emulator.runtime.run import Recorder
from emulator.spec.scenario import Scenario
from emulator.world.planning import plan
from models import data

NEEDS_DATA = pytest.mark.skipif(
    data.ROOT_VARIABLE not in os.environ,
    reason=f"CIFAR-100 is not shipped; ${data.ROOT_VARIABLE} says where it lies",
)
SHIPPED = [
    pytest.param(path, marks=NEEDS_DATA if path.stem == "vision-cifar" else (), id=path.stem)
    for path in sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
]

WALL_CLOCK = {  # these files wait for real time, as whatever is marked `ray` does
    *("test_api", "test_attacks", "test_browser", "test_control", "test_live_cli"),
    *("test_prometheus", "test_steering"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what waits for the wall clock: it wants the machine for itself."""
    for item in items:
        if item.path.stem in WALL_CLOCK or item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.wall_clock)


Spec = dict[str, Any]
"""A scenario as YAML would give it."""


class Played(NamedTuple):
    """A finished run in virtual time."""

    records: list[Record]
    metrics: Metrics
    digest: str


def law(kind: str, mean_s: float, scv: float = 1.0) -> Spec:
    return {"law": kind, "mean_s": mean_s, "scv": scv}


def user_group(**changes: Any) -> Spec:
    """One user that generates one task per second."""
    arrival = {"kind": "poisson", "rate_hz": 1.0}
    return {"name": "user", "arrival": arrival, "input_bits": 1000.0} | changes


def server_group(service: Spec, **changes: Any) -> Spec:
    return {"name": "edge", "accelerator": {"kind": "fitted", "service": service}} | changes


def scenario(**changes: Any) -> Spec:
    """One user, one cell, one exponential server; nothing on the way is lost or takes time."""
    return {
        "name": "test",
        "seed": 1,
        "duration_s": 10.0,
        "protocol": {"kind": "nearest"},
        "users": [user_group()],
        "base_stations": [{"name": "bs"}],
        "servers": [server_group(law("exponential", 0.01))],
        "channel": {"kind": "ideal"},
        "backhaul": {"delay_s": 0.0},
    } | changes


def unfold(spec: Spec) -> Iterator[tuple[Step, Metrics]]:
    """Plays a scenario in virtual time; yields every step with the metrics so far."""
    chosen = plan(Scenario.model_validate(spec), stopwatch=False)
    recorder = Recorder(chosen, None)
    for step in play(chosen):
        recorder.take(step)
        yield step, recorder.metrics


def perform(spec: Spec) -> Played:
    """Plays a scenario in virtual time to its end."""
    chosen = plan(Scenario.model_validate(spec), stopwatch=False)
    recorder = Recorder(chosen, None)
    records: list[Record] = []
    for step in play(chosen):
        recorder.take(step)
        records += step.records
    return Played(records, recorder.metrics, recorder.writer.digest)


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
