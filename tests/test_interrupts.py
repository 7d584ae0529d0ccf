"""SIGINT, SIGTERM and SIGHUP: whatever goes on ends well, keeps what it has, and leaves nobody."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    ENV,
    FRESCO,
    LATENESS_MAX_S,
    PATIENCE_S,
    Spec,
    Started,
    distribution,
    scenario,
    server_group,
    user_group,
    wait_until,
    written,
)
from safetensors import safe_open

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SIGNALLED = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
STATUS = 130
PROC = Path("/proc")
pytestmark = pytest.mark.skipif(not PROC.exists(), reason="looks at processes in /proc")


def paced(**changes: Any) -> Spec:
    """A run in real time that a fault without an end accompanies."""
    return scenario(
        name="paced",
        duration_s=1000.0,
        users=[user_group(arrival={"kind": "periodic", "period_s": 0.1})],
        faults=[{"at_s": 0.0, "type": "loss", "target": "bs-0", "p": 0.1}],
        runtime={"lateness_max_s": LATENESS_MAX_S},
        **changes,
    )


def catches(pid: int, number: int) -> bool:
    """Says whether a process has a handler of its own for a signal."""
    status = (PROC / str(pid) / "status").read_text()
    (mask,) = re.findall(r"SigCgt:\s*([0-9a-f]+)", status)
    return bool(int(mask, 16) >> (number - 1) & 1)


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in (PROC / str(pid) / "task").glob("*"):
        for child in map(int, (task / "children").read_text().split()):
            found |= {child} | descendants(child)
    return found


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids: set[int]) -> bool:
    return all(map(is_gone, pids))


@SIGNALLED
def test_before_anything_began_it_leaves_with_130(number: signal.Signals, tmp_path: Path) -> None:
    words = ("run", written(tmp_path, paced()), "--runtime", "loop", "--paced")
    with Started(tmp_path, *words) as running:
        wait_until(
            lambda: catches(running.pid, signal.SIGTERM) or running.process.poll() is not None
        )
        running.process.send_signal(number)

        assert running.status() == STATUS
    assert running.said.split() == ["interrupted"]
    assert not (tmp_path / "runs").exists()


@SIGNALLED
def test_a_paced_run_heals_flushes_and_reports(number: signal.Signals, tmp_path: Path) -> None:
    words = ("run", written(tmp_path, paced()), "--runtime", "loop", "--paced")
    with Started(tmp_path, *words, "--dashboard-port", "0") as running:
        running.wait_for("PAoI")
        with Started(tmp_path, "watch") as watching:
            wait_until(lambda: catches(watching.pid, signal.SIGTERM))
            watching.process.send_signal(number)
            assert watching.status() == STATUS
        running.process.send_signal(number)

        assert running.status() == STATUS
    latest = tmp_path / "runs" / "latest"
    assert "interrupted by the user" in running.said
    assert "report:" in running.said
    assert "Traceback" not in running.said + watching.said
    assert json.loads((latest / "summary.json").read_text())["verdict"] == "interrupted"
    events = [json.loads(line) for line in (latest / "events.jsonl").read_text().splitlines()]
    assert [each["op"] for each in events] == ["start", "begin", "heal", "end"]
    assert (latest / "report.html").exists()
    assert not (latest / "control.json").exists()


@SIGNALLED
def test_a_run_in_virtual_time_keeps_what_it_has(number: signal.Signals, tmp_path: Path) -> None:
    spec = paced() | {"duration_s": 1e5}
    with Started(tmp_path, "run", written(tmp_path, spec), "--runtime", "loop") as running:
        running.wait_for("PAoI")
        running.process.send_signal(number)

        assert running.status() == STATUS
    latest = tmp_path / "runs" / "latest"
    assert json.loads((latest / "summary.json").read_text())["verdict"] == "interrupted"
    assert (latest / "report.html").exists()
    assert "Traceback" not in running.said


COMPARED = scenario(
    name="compared",
    duration_s=60.0,
    users=[user_group(arrival={"kind": "poisson", "rate_hz": 20.0})],
    servers=[server_group(distribution("exponential", 0.01), count=2)],
)
MANY = {
    "compare": ("--protocols", "random,nearest"),
    "sweep": ("--set", "users.0.arrival.rate_hz=20,21"),
}


def many(verb: str, folder: Path) -> Started:
    """A comparison of two variants at a thousand seeds, in a process group of its own."""
    words = (verb, written(folder, COMPARED), *MANY[verb], "--seeds", "1000")
    return Started(folder, *words, start_new_session=True)


def ended_runs(folder: Path) -> list[tuple[str, str]]:
    for found in folder.glob("runs/*/2*/compare.csv"):
        # At once: who reads line by line may never catch up with who writes.
        rows = csv.DictReader(found.read_text().splitlines())
        return list(dict.fromkeys((row["protocol"], row["seed"]) for row in rows))
    return []


@SIGNALLED
@pytest.mark.parametrize("verb", list(MANY))
def test_many_runs_keep_those_that_ended_and_leave_no_worker(
    verb: str, number: signal.Signals, tmp_path: Path
) -> None:
    with many(verb, tmp_path) as comparing:
        wait_until(lambda: len(ended_runs(tmp_path)) >= 6, lambda: comparing.said)
        workers = descendants(comparing.pid)
        os.killpg(comparing.pid, number)  # as a terminal and a batch system do: all of them get it

        assert comparing.status() == STATUS
    assert len(workers) >= 2
    wait_until(lambda: all_gone(workers))
    assert "Traceback" not in comparing.said
    done = len({seed for _, seed in ended_runs(tmp_path)})
    (folder,) = (tmp_path / "runs" / f"compared-{verb}").glob("2*")
    reported = json.loads((folder / "compare.json").read_text())
    assert reported["cause"] == "interrupted by the user"
    assert 2 <= len(reported["seeds"]) <= done < 1000
    assert f"compared: {len(reported['seeds'])} of 1000 seeds" in comparing.said
    assert "delay, mean" in comparing.said
    assert (folder / f"{verb}.html").exists()
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert not (tmp_path / "runs" / "latest").exists()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with many("compare", tmp_path) as comparing:
        wait_until(lambda: len(ended_runs(tmp_path)) >= 2, lambda: comparing.said)
        workers = descendants(comparing.pid)
        comparing.process.kill()
        comparing.status()

        wait_until(lambda: all_gone(workers))


def test_training_keeps_its_checkpoint(tmp_path: Path) -> None:
    words = ("distill", "--preset", "digits-xs", "--epochs", "5000", "--out", "net")
    checkpoint = tmp_path / "net" / "checkpoint.safetensors"
    with Started(tmp_path, *words) as training:
        wait_until(checkpoint.exists, lambda: training.said)
        training.process.send_signal(signal.SIGTERM)

        assert training.status() == STATUS
    assert "--resume" in training.said
    with safe_open(checkpoint, "pt") as kept:
        assert json.loads(kept.metadata()["run"])["epoch"] >= 1
    assert [file.name for file in checkpoint.parent.iterdir()] == [checkpoint.name]


@SIGNALLED
def test_measuring_a_network_ends(number: signal.Signals, tmp_path: Path) -> None:
    with Started(tmp_path, "profile", "digits-xs", "--rounds", "100000") as measuring:
        wait_until((tmp_path / "runs" / "models" / "digits-xs").exists, lambda: measuring.said)
        measuring.process.send_signal(number)

        assert measuring.status() == STATUS
    assert "Traceback" not in measuring.said
    assert not (tmp_path / "runs" / "models").exists()


MADE = """
import os, sys
from emulator.runtime import folders
number, make = int(sys.argv.pop()), folders.make

def made(*given):
    is_new = make(*given)
    os.kill(os.getpid(), number)
    return is_new

folders.make = made
from emulator.__main__ import main
main()
"""


@SIGNALLED
def test_a_folder_that_was_made_a_moment_ago_goes_again(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = ("-c", MADE, "profile", "digits-xs", str(int(number)))
    with Started(tmp_path, *words, command=(sys.executable,)) as measuring:
        assert measuring.status() == STATUS
    assert measuring.said.split() == ["interrupted"]
    assert not (tmp_path / "runs" / "models").exists()


HELD = """
import os, signal, sys, time
from emulator import interrupts
interrupts.install()
interrupts.on_first(interrupts.interrupt)
number = int(sys.argv[1])
try:
    with interrupts.held():
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        print("whole")
    print("never")
except KeyboardInterrupt:
    print("asked", interrupts.asked())
try:
    with interrupts.held():
        pass  # as if somebody had swallowed the first
except KeyboardInterrupt:
    print("again")
interrupts.finish()
print("ready", flush=True)
time.sleep(1000)  # what does not end
"""


@SIGNALLED
def test_a_block_is_done_first_and_a_second_signal_kills(
    number: signal.Signals, tmp_path: Path
) -> None:
    with Started(tmp_path, command=(sys.executable, "-c", HELD, str(int(number)))) as running:
        running.wait_for("ready")
        running.process.send_signal(number)

        assert running.status() == STATUS
    assert running.said.split() == ["whole", "asked", "True", "again", "ready", "killed"]


def test_nohup_stays_what_it_is(tmp_path: Path) -> None:
    words = ("run", written(tmp_path, paced()), "--runtime", "loop", "--paced")
    command = ("nohup", sys.executable, "-m", "emulator")
    with Started(tmp_path, *words, "--dashboard-port", "0", command=command) as running:
        running.wait_for("PAoI")
        running.process.send_signal(signal.SIGHUP)
        said = len(running.said)
        wait_until(lambda: running.said.count("PAoI", said) >= 2)
        running.process.send_signal(signal.SIGTERM)

        assert running.status() == STATUS


@pytest.mark.ray
@pytest.mark.parametrize(
    ("until", "number", "send"),
    [
        ("hosts", signal.SIGTERM, os.kill),
        ("PAoI", signal.SIGTERM, os.kill),
        ("PAoI", signal.SIGHUP, os.killpg),  # a terminal that is closed sends it to Ray too
    ],
    ids=["starting", "running", "terminal"],
)
def test_on_ray_a_signal_ends_a_run_without_a_word_of_ray(
    until: str, number: int, send: Callable[[int, int], None], tmp_path: Path
) -> None:
    words = ("run", written(tmp_path, paced()), "--runtime", "ray", "--no-dashboard")
    with Started(tmp_path, *words, start_new_session=True) as running:
        running.wait_for(until)
        hosts = descendants(running.pid)
        send(running.pid, number)

        assert running.status() == STATUS
    assert "received" not in running.said
    assert "Traceback" not in running.said
    assert len(hosts) > 2
    wait_until(lambda: all_gone(hosts))
    began = until == "PAoI"
    assert ("report:" in running.said) == began
    assert (tmp_path / "runs").exists() == began or not list((tmp_path / "runs").iterdir())
    if began:
        summary = json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())
        assert summary["verdict"] == "interrupted"
        assert summary["balance"]["lost"] == 0


@pytest.mark.ray
def test_while_ray_connects_to_nobody_a_signal_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as deaf:
        where = f"127.0.0.1:{deaf.getsockname()[1]}"
        words = ("run", written(tmp_path, paced()), "--runtime", "ray", "--address", where)
        deaf.settimeout(PATIENCE_S)
        with Started(tmp_path, *words, "--no-dashboard") as running:
            deaf.accept()  # and then it answers nothing
            running.process.send_signal(signal.SIGTERM)

            assert running.process.wait(20.0) == STATUS  # Ray would try for minutes


def test_a_run_whose_reader_goes_away_ends_as_with_ctrl_c(tmp_path: Path) -> None:
    """`fresco run ... | head`."""
    written(tmp_path, paced())
    words = [*FRESCO, "run", "paced.yaml", "--paced", "--no-dashboard"]
    with subprocess.Popen(words, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert next(line for line in run.stdout if b"AoI" in line)
        run.stdout.close()

        assert run.wait(PATIENCE_S) == STATUS

    (folder,) = tmp_path.glob("runs/paced/2*")
    assert json.loads((folder / "summary.json").read_text())["verdict"] == "interrupted"
    assert (folder / "report.html").exists()
