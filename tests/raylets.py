"""A Ray cluster of several raylets on this machine, each a process of its own that can be hurt."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from conftest import PATIENCE_S, free_port

ROOT = Path(__file__).parent.parent
RAY = str(Path(sys.executable).parent / "ray")


def wait_until(holds: Callable[[], bool]) -> None:
    """Asks less often than the one of `conftest`: each answer costs another process some work."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s, f"not within {PATIENCE_S:g} s"
        time.sleep(0.2)


class Raylets:
    """Begins with a head of one processor; `add` starts further machines."""

    def __init__(self) -> None:
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "PYTHONPATH": str(ROOT),
        }
        port, dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        self._processes: list[subprocess.Popen[bytes]] = []
        head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}"]
        try:
            self._start(*head, f"--dashboard-port={dashboard}", "--num-cpus=1")
        except BaseException:
            self.end()
            raise

    def add(self, cpus: int = 1) -> int:
        """Adds a machine; returns the process id of its raylet."""
        self._start(f"--address={self.address}", f"--num-cpus={cpus}")
        started = str(self._processes[-1].pid)
        for pid in _children(started):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                return int(pid)
        raise AssertionError("no raylet was started")

    def end(self) -> None:
        for process in reversed(self._processes):  # `ray stop` would stop everybody's
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, *how: str) -> None:
        common = ["--object-store-memory=80000000", "--disable-usage-stats", "--block"]
        words = [RAY, "start", *how, *common]
        out, known = subprocess.DEVNULL, self._nodes()
        process = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out)
        self._processes.append(process)
        wait_until(lambda: bool(self._nodes() - known))

    def _nodes(self) -> set[str]:
        """Names the machines that the cluster says are alive."""
        try:
            with urlopen(f"{self.dashboard}/nodes?view=summary", timeout=5) as reported:
                summary = json.load(reported)["data"]["summary"]
        except (OSError, ValueError):  # not yet
            return set()
        raylets = (each["raylet"] for each in summary)
        return {raylet["nodeId"] for raylet in raylets if raylet["state"] == "ALIVE"}


def _children(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
