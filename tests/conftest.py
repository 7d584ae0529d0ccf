"""Scenarios as plain dicts, and ways to play them: what most tests begin with."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from emulator.results.journal import Record
from emulator.results.metrics import Metrics
from emulator.runtime.loop import Step
from emulator.runtime.muster import StartWatch
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from models import data

# Ray reads these once, when it is first imported: some files do that while tests are collected.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))

NEEDS_DATA = pytest.mark.skipif(
    data.ROOT_VARIABLE not in os.environ,
    reason=f"CIFAR-100 is not shipped; ${data.ROOT_VARIABLE} says where it lies",
)
SHIPPED = [
    pytest.param(path, marks=NEEDS_DATA if path.stem == "vision-cifar" else (), id=path.stem)
    for path in sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
]

WALL_CLOCK = {  # these files wait for real time, as whatever is marked `ray` does
    *("test_api", "test_attacks", "test_browser", "test_control", "test_interrupts"),
    *("test_live_cli", "test_prometheus", "test_results", "test_steering"),
}
LATENESS_MAX_S = 1000.0  # of runs in real time whose subject is not lateness: never invalid
LIMITS = {"lateness_max_s": LATENESS_MAX_S, "connect_max_s": 120.0, "start_max_s": 300.0}
UNHURRIED = tuple(word for key, s in LIMITS.items() for word in ("-s", f"runtime.{key}={s:g}"))
PATIENCE_S = 300.0  # wall; tests wait for a condition, so long at most on a machine that is busy
ROOT = Path(__file__).parent.parent
FRESCO = (sys.executable, "-m", "emulator")
ENV = os.environ | {"PYTHONPATH": str(ROOT)}


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


def distribution(kind: str, mean_s: float, scv: float = 1.0) -> Spec:
    return {"distribution": kind, "mean_s": mean_s, "scv": scv}


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
        "servers": [server_group(distribution("exponential", 0.01))],
        "channel": {"kind": "ideal"},
        "backhaul": {"delay_s": 0.0},
        "runtime": in_real_time("loop"),
    } | changes


def in_real_time(kind: str, **changes: Any) -> Spec:
    """`runtime` of a run whose subject is not lateness or a start."""
    return {"kind": kind} | LIMITS | changes


def unfold(spec: Spec) -> Iterator[tuple[Step, Metrics]]:
    """Plays a scenario in virtual time; yields every step with the metrics so far."""
    for progress in _in_virtual_time(spec):
        yield progress.step, progress.metrics


def perform(spec: Spec) -> Played:
    """Plays a scenario in virtual time to its end."""
    session = _in_virtual_time(spec)
    records = [record for progress in session for record in progress.step.records]
    return Played(records, session.metrics, session.summary["digest"])


def _in_virtual_time(spec: Spec) -> Session:
    return Session(Scenario.model_validate(spec | {"runtime": {}}))


def on_ray(spec: Spec, folder: Path | None = None, **hooks: Any) -> dict[str, Any]:
    """Runs a scenario on an embedded cluster; `show` and `started` see it go."""
    watch = StartWatch()
    watch.started = hooks.get("started", watch.started)  # type: ignore[method-assign]
    session = Session(Scenario.model_validate(spec), folder, watch=watch)
    return session.run(hooks.get("show", lambda progress: None))


class Started:
    """A process of the command line, read while it goes on; killed in the end, come what may."""

    def __init__(self, folder: Path, *words: str, **how: Any) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = how.pop("command", FRESCO)
        self.process = subprocess.Popen([*command, *words], cwd=folder, env=ENV, **pipes, **how)
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, *wanted: str) -> None:
        wait_until(lambda: all(each in self.said for each in wanted) or self._ended(), self._say)
        assert all(each in self.said for each in wanted), self.said

    def status(self) -> int:
        """Waits for its end, and returns how it ended."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    def _ended(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()

    def _say(self) -> str:
        return self.said

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line


def wait_until(holds: Callable[[], bool], said: Callable[[], str] = lambda: "") -> None:
    """Looks again and again; gives up after a time that no machine needs."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s, f"not within {PATIENCE_S:g} s\n{said()}"
        time.sleep(0.02)


def written(folder: Path, spec: Spec) -> str:
    """Writes a scenario as a file, which JSON is YAML for; returns its name."""
    path = folder / f"{spec['name']}.yaml"
    path.write_text(json.dumps(spec))
    return path.name


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
