"""Real raylets and hosts that are stopped and killed: the run names them and ends, or goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import distribution, scenario, server_group
from raylets import ROOT, Raylets, wait_until

from emulator.checks import source
from emulator.scenario.schema import Scenario

pytestmark = pytest.mark.ray
FRESCO = [sys.executable, "-m", "emulator"]


@pytest.fixture(scope="module")
def head() -> Iterator[Raylets]:
    raylets = Raylets()
    yield raylets
    raylets.end()


def write(folder: Path, duration_s: float) -> None:
    """Three nodes, each a host; lateness is not what this is about."""
    spec = scenario(
        duration_s=duration_s,
        servers=[server_group(distribution("deterministic", 0.01))],
        runtime={
            "kind": "ray",
            "lateness_max_s": 60.0,
            "connect_max_s": 120.0,
            "start_max_s": 120.0,
        },
    )
    (folder / "small.yaml").write_text(source.dump(Scenario.model_validate(spec)))


def fresco(folder: Path, environment: dict[str, str], *words: str) -> Any:
    return subprocess.run(
        [*FRESCO, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


def test_a_machine_that_ray_calls_alive_and_does_not_answer_carries_no_host(
    head: Raylets, tmp_path: Path
) -> None:
    write(tmp_path, 1.0)
    stopped = head.add()
    os.kill(stopped, signal.SIGSTOP)
    try:
        words = ["run", "small.yaml", "--address", head.address, "--no-dashboard"]
        done = fresco(tmp_path, head.environment, *words)
    finally:
        os.kill(stopped, signal.SIGKILL)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"left out: machine \S+ \(\S+\): no answer within 2 s", done.stdout)
    hosts = json.loads((tmp_path / "runs" / "latest" / "hosts.json").read_text())
    assert len(hosts) == 3
    assert len({host["ray_node"] for host in hosts}) == 1


def test_a_machine_killed_while_hosts_start_ends_the_run_with_its_name(
    head: Raylets, tmp_path: Path
) -> None:
    write(tmp_path, 1.0)
    victim = head.add(cpus=2)
    code = f"""
import os, signal, sys
from emulator.checks import source
from emulator.runtime import cluster
from emulator.runtime.connect import RunError
from emulator.runtime.muster import StartWatch
from emulator.build.planning import plan
from pathlib import Path

class Kill(StartWatch):
    def ready(self, hosts, of):
        if hosts == 0:  # before the first actor is made
            os.kill({victim}, signal.SIGKILL)

chosen = plan(source.load(Path("small.yaml"), {{}}), stopwatch=False)
try:
    list(cluster.play(chosen, "{head.address}", watch=Kill()))
except RunError as error:
    print(error)
    sys.exit(3)
"""

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=head.environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(r"machine \S+ \(\d+\.\d+\.\d+\.\d+\) is gone", done.stdout), done.stdout


def test_a_stopped_host_does_not_block_steering_and_a_stop_stops(tmp_path: Path) -> None:
    write(tmp_path, 600.0)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [*FRESCO, "run", "small.yaml", "--dashboard-port", "0"]
    latest = tmp_path / "runs" / "latest"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        wait_until(lambda: (latest / "hosts.json").exists())
        wait_until(lambda: "running" in fresco(tmp_path, environment, "status").stdout)
        hosts = json.loads((latest / "hosts.json").read_text())
        victim = next(host for host in hosts if host["name"] == "bs-0")
        os.kill(victim["pid"], signal.SIGSTOP)
        began_s = time.monotonic()

        paused = fresco(tmp_path, environment, "pause")
        stopped = fresco(tmp_path, environment, "stop")

        said = run.stdout.read()
        assert run.wait(timeout=120) == 3
    # Which of the two depends on whether the pause or the next fetch of reports comes first.
    notice = r"(accepted, not in effect|only 2 of 3 hosts said they obey)"
    waits = rf"{notice}: the run waits for bs-0 \(silent \d+ s\)"
    assert paused.returncode == 3, paused
    assert re.search(waits, paused.stderr), paused.stderr
    assert stopped.returncode == 3, stopped
    assert "bs-0 (silent" in stopped.stderr, stopped
    machine = rf"machine {re.escape(victim['machine'])} \({re.escape(victim['address'])}\)"
    assert re.search(rf"host bs-0 .* no sign of life for \d+ s; it ran on {machine}", said), said
    assert time.monotonic() - began_s < 200.0
