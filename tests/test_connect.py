"""A cluster that is not there, or not well: an error within the limit, never silence.

The limits are set far below their defaults; that they are kept is Ray's absence, not a measurement.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray
from conftest import distribution, free_port, scenario, server_group

from emulator.checks import source
from emulator.runtime import connect
from emulator.runtime.connect import RunError
from emulator.scenario.schema import Runtime, Scenario

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parent.parent
FRESCO = [sys.executable, "-m", "emulator"]


def fresco(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a small scenario on Ray in a folder of its own; a minute is far beyond every limit."""
    service = distribution("deterministic", 0.01)
    spec = scenario(servers=[server_group(service)], runtime={"kind": "ray"})
    (folder / "small.yaml").write_text(source.dump(Scenario.model_validate(spec)))
    command = [*FRESCO, "run", "small.yaml", "--no-dashboard", *words]
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60.0
    )


def test_the_limits_are_a_quarter_of_a_minute_and_a_minute() -> None:
    assert (Runtime().connect_max_s, Runtime().start_max_s) == (15.0, 60.0)


def test_a_wrong_address_is_an_error_within_the_limit_that_says_what_was_waited_for(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"

    done = fresco(tmp_path, "--address", address, "-s", "runtime.connect_max_s=2")

    assert done.returncode == 3, done.stderr
    assert f"waiting for Ray at {address}: Connection refused" in done.stdout
    assert f"could not reach a Ray cluster at {address} in 2 s" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_note_of_a_cluster_that_is_gone_is_told_as_one(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(address)

    done = fresco(
        tmp_path, "-s", "runtime.connect_max_s=1", RAY_ADDRESS="auto", RAY_TMPDIR=str(tmp_path)
    )

    assert done.returncode == 3, done.stderr
    assert f"at {address}, which Ray notes as the latest one" in done.stderr
    assert "without\n    --address and RAY_ADDRESS Fresco starts Ray here" in done.stderr


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:0", "head:99999", ":x"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with (
        pytest.raises(RunError, match="expected 'auto' or HOST:PORT"),
        connect.ray_cluster(address),
    ):
        pass


def test_a_long_temporary_folder_is_told_by_its_length(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()

    done = fresco(tmp_path, RAY_TMPDIR=str(folder))

    assert done.returncode == 3, done.stderr
    assert f"RAY_TMPDIR has {len(str(folder))}" in done.stderr
    assert "set RAY_TMPDIR to a shorter one" in done.stderr
    assert "token" not in done.stderr


def test_what_is_said_to_be_short_enough_is_as_long_as_ray_allows() -> None:
    # As Ray names the longest of its sockets, with the longest process id that Linux gives.
    session = "session_2026-01-31_23-59-59_999999_4194304"
    path = f"{'x' * connect.TMPDIR_MAX_BYTES}/ray/{session}/sockets/plasma_store"

    assert len(path) == 107


def test_no_ray_is_said_by_the_run_and_by_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('librt.so is missing')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    done = fresco(tmp_path, PYTHONPATH=path)
    doctor = subprocess.run(
        [*FRESCO, "doctor"], cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 3
    assert "Ray cannot be imported: librt.so is missing" in done.stderr
    assert "pip install 'ray[default]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert doctor.returncode == 3
    assert "bad  ray: " in doctor.stdout
    assert "librt.so is missing" in doctor.stdout


@contextmanager
def answering_http() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_only_an_answer_is_a_sign_of_life() -> None:
    with socket.socket() as mute, answering_http() as port:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # the system accepts for it, as for a process that is stopped

        with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
            connect.probe(f"127.0.0.1:{mute.getsockname()[1]}", 0.2)
        with pytest.raises(ConnectionRefusedError):
            connect.probe(f"127.0.0.1:{free_port()}", 1.0)
        with pytest.raises(ConnectionError, match="not Ray"):
            connect.probe(f"127.0.0.1:{port}", 5.0)


def node(name: str, cpus: float, alive: bool = True) -> dict[str, Any]:
    return {
        "NodeID": name,
        "NodeManagerHostname": name,
        "NodeManagerAddress": f"{name}.local",
        "NodeManagerPort": 7000,
        "Alive": alive,
        "Resources": {"CPU": cpus} if cpus else {},
    }


@pytest.mark.parametrize(
    ("nodes", "silent", "carry", "left_out"),
    [
        # The driver's own node offers no processors, as in docker-compose.yml.
        ([node("a", 0), node("b", 2), node("c", 2)], set(), ["b", "c"], []),
        ([node("a", 0), node("b", 0)], set(), ["a", "b"], []),
        ([node("a", 1), node("b", 2, alive=False)], set(), ["a"], []),
        ([node("a", 1), node("b", 2)], {"b"}, ["a"], ["machine b (b.local): mute"]),
        ([node("a", 0), node("b", 2)], {"b"}, ["a"], ["machine b (b.local): mute"]),
    ],
)
def test_machines_without_processors_and_those_that_are_silent_carry_no_host(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, Any]],
    silent: set[str],
    carry: list[str],
    left_out: list[str],
) -> None:
    def why_silent(address: str) -> str:
        return "mute" if address.removesuffix(".local:7000") in silent else ""

    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(connect, "why_silent", why_silent)

    chosen, others = connect.machines()

    assert [machine.name for machine in chosen] == carry
    assert others == left_out


def test_where_no_machine_answers_the_run_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("a", 1)])
    monkeypatch.setattr(connect, "why_silent", lambda address: "mute")

    with pytest.raises(RunError, match=r"no machine .* answers: machine a \(a\.local\): mute"):
        connect.machines()


def test_an_interrupt_ends_the_wait_for_a_cluster(tmp_path: Path) -> None:
    code = f"""
import sys
from emulator.runtime import connect
try:
    with connect.ray_cluster("127.0.0.1:{free_port()}", say=lambda text: print(text, flush=True)):
        pass
except KeyboardInterrupt:
    sys.exit(130)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert b"waiting for Ray" in waiting.stdout.readline()
        asked_s = time.monotonic()

        waiting.send_signal(signal.SIGINT)

        assert waiting.wait(timeout=60) == 130
    assert time.monotonic() - asked_s < 10.0  # the limit is 15 s; an interrupt takes one second
