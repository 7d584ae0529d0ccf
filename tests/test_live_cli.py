"""The verbs for a live run, each in a process of its own, and Ctrl-C on a real terminal."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, UNHURRIED

from emulator.checks import source

ROOT = Path(__file__).parent.parent
FRESCO = [sys.executable, "-m", "emulator"]
RUN = [
    *FRESCO, *("run", "quickstart", "--runtime", "loop", "--paced", "--accelerator", "replay"),
    *("--duration", "200", "--dashboard-port", "0", *UNHURRIED),
    *("-s", "faults=[{at_s: 190, type: blackout, target: bs-1}]"),  # later than any of this
]  # fmt: skip
ENV = os.environ | {"PYTHONPATH": str(ROOT)}


class Terminal:
    """A run on a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.screen = ""
        pid, self._fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, RUN, ENV)
        self.pid = pid
        # All the time: a terminal that nobody reads would hold up the run that writes to it.
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.screen += os.read(self._fd, 65536).decode(errors="replace")
            except OSError:  # the other end closed
                return

    def read_until(self, wanted: str, timeout_s: float = PATIENCE_S) -> None:
        give_up_s = time.monotonic() + timeout_s
        while wanted not in self.screen:
            assert time.monotonic() < give_up_s, self.screen[-2000:]
            time.sleep(0.02)

    def press_ctrl_c(self) -> None:
        os.write(self._fd, b"\x03")

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    try:
        os.kill(terminal.pid, signal.SIGKILL)
        os.waitpid(terminal.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def fresco(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*FRESCO, *words]
    return subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True)


def test_a_second_terminal_breaks_the_run_and_ctrl_c_ends_it_well(terminal: Terminal) -> None:
    folder = terminal.folder
    terminal.read_until("real time")

    assert "running" in fresco(folder, "status").stdout
    rehearsed = fresco(folder, "fault", "inject", "blackout", "bs-0", "mode=one", "--dry-run")
    assert rehearsed.stdout.splitlines()[0] == "16 would be hit:"
    assert "bs-0->medic-0" in rehearsed.stdout.splitlines()
    began = fresco(folder, "fault", "inject", "blackout", "bs-0", "--for", "150s")
    assert re.search(r"fault 1 began at [\d.]+ s: 16 hit, applied 1/1", began.stdout), began
    for words, hint in (
        (("blackot", "bs-0"), "did you mean 'blackout'"),
        (("blackout", "rak-0"), "did you mean 'rack-0'"),
        (("burst_loss", "bs-0", "los=0.5"), "did you mean 'loss'"),
    ):
        typo = fresco(folder, "fault", "inject", *words)
        assert (typo.returncode, hint in typo.stderr) == (2, True), typo.stderr
    changed = fresco(folder, "fault", "patch", "1", "--for", "140s")
    assert re.search(r"fault 1 changed at [\d.]+ s: 16 hit, applied 1/1", changed.stdout), changed
    assert "age, mean over users: " in fresco(folder, "status").stdout
    offered = completed(folder, "fault inject b")
    assert {"blackout", "burst_loss"} <= set(offered)
    assert all(each.startswith("b") for each in offered)
    assert completed(folder, "fault inject blackout ra") == ["rack-*", "rack-0"]
    assert completed(folder, "fault inject burst_loss bs-0 bur") == ["burst_length="]
    assert completed(folder, "fault heal ") == ["1"]
    assert "paused at" in fresco(folder, "pause").stdout
    assert "quickstart: paused" in fresco(folder, "status").stdout
    assert "resumed at" in fresco(folder, "resume").stdout
    listed = json.loads(fresco(folder, "fault", "list", "--json").stdout)
    assert [each["state"] for each in listed] == ["scheduled", "active"]

    terminal.press_ctrl_c()
    terminal.read_until("report: ")
    assert terminal.status() == 130
    assert "interrupted by the user" in terminal.screen

    latest = folder / "runs" / "latest"
    summary = json.loads((latest / "summary.json").read_text())
    assert summary["verdict"] == "interrupted"
    assert summary["balance"]["lost"] == 0
    events = [json.loads(line) for line in (latest / "events.jsonl").read_text().splitlines()]
    assert [each["op"] for each in events] == ["start", "begin", "extend", "heal", "end"]
    exported = folder / "again.yaml"
    exported.write_text(fresco(folder, "fault", "export").stdout)
    faults = source.load(exported).faults
    assert [fault.at_s for fault in faults] == [events[1]["at_s"], 190.0]
    assert "no run is in progress here" in fresco(folder, "status").stderr


def completed(folder: Path, line: str) -> list[str]:
    """What bash would offer for `fresco LINE`, as its completion function asks for it."""
    words = ["fresco", *line.split(" ")]
    asking = {
        "_FRESCO_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    answer = subprocess.run(FRESCO, cwd=folder, env=ENV | asking, capture_output=True, text=True)
    assert answer.stderr == ""
    return [item.partition(",")[2] for item in answer.stdout.splitlines() if item]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_reads(shell: str, tmp_path: Path) -> None:
    script = fresco(tmp_path, "completion", shell).stdout

    assert "_FRESCO_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_scenarios_and_protocols_are_completed_without_a_run(tmp_path: Path) -> None:
    assert completed(tmp_path, "fault inject blackout b") == []  # no run goes on here
    assert completed(tmp_path, "run quick") == ["quickstart"]
    assert completed(tmp_path, "run quickstart -p round") == ["round-robin"]


STUCK = """
import time, sys
from pathlib import Path
from rich.console import Console
from emulator.checks import source
from emulator import interrupts
from emulator.views.terminal import stopping
from emulator.build.planning import plan
from emulator.runtime.steering import Steering
steering = Steering(plan(source.load(Path(sys.argv[1])), stopwatch=False))
steering.begin()
interrupts.install()
interrupts.on_first(stopping(steering, Console()))
print("ready", flush=True)
time.sleep(1000)  # a run that takes no orders: the first Ctrl-C cannot end it
print("still here")
"""


def test_a_second_ctrl_c_kills_a_run_that_does_not_end() -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-c", STUCK, str(ROOT / "scenarios" / "quickstart.yaml")]
    stuck = subprocess.Popen(command, env=ENV, stdin=slave, stdout=slave, stderr=slave)
    screen = ""

    def read_until(wanted: str) -> None:
        nonlocal screen
        while wanted not in screen:
            assert select.select([master], [], [], PATIENCE_S)[0], screen
            screen += os.read(master, 65536).decode()

    read_until("ready")
    stuck.send_signal(signal.SIGINT)
    read_until("Ctrl-C again kills")
    stuck.send_signal(signal.SIGINT)
    read_until("killed")

    assert stuck.wait(PATIENCE_S) == 130
    assert "still here" not in screen


def test_the_vocabulary_is_listed_and_virtual_time_has_no_dashboard(tmp_path: Path) -> None:
    listed = fresco(tmp_path, "fault", "types").stdout
    assert "burst_loss" in listed
    assert "loss: number from 0 to 1, required" in listed
    assert "    also: mode, value, probability, ramp_s, note, direction, only" in listed
    assert "    ramp_s: number from 0, optional. It grows" in listed
    assert "    a: array, required. Nodes of one side" in listed
    refused = fresco(tmp_path, "run", "quickstart", "--runtime", "loop", "--dashboard")
    assert refused.returncode == 2
    assert "add --paced" in refused.stderr
