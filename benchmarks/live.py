"""What watching and steering a run costs, and how fast it acts.

    python -m benchmarks.live [--rounds 30] [--seconds 15]

Prints the tables of live.md: 1,000 users watched by nobody, by viewers, by viewers that read
nothing and by a real Chromium; and, on the quickstart, from a click to all hosts obeying and to
`/metrics`. CPU is CPU time over wall time, so other work on the machine does not count.
"""

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import numpy as np
from playwright.sync_api import Page, sync_playwright

from emulator.checks import source
from emulator.live.service import Service
from emulator.runtime.recorder import Progress
from emulator.runtime.session import Session

SCENARIOS = Path(__file__).parent.parent / "scenarios"
CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TICK_HZ = os.sysconf("SC_CLK_TCK")
FAULT = {"type": "delay", "target": "bs-0", "delay_s": 0.001, "for_s": 300.0}
ACTIVE = re.compile(rb'fresco_faults_active\{type="delay"\} 1\.0')


def ask(address: str, method: str, path: str, body: object = None) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=10.0)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status < 300, text
    return text


@contextmanager
def quickstart(words: list[str]) -> Iterator[str]:
    """Runs the quickstart in a process of its own; yields the dashboard's address."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "emulator", "run", "quickstart", "--duration", "240"]
        command += ["-s", "faults=[]", "--dashboard-port", "0", "--out", folder, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                while not (line := process.stdout.readline()).startswith("dashboard"):
                    assert line, "the run did not start"
                url = line.split()[-1]
                address = urlsplit(url).netloc
                while json.loads(ask(address, "GET", "/healthz"))["phase"] != "running":
                    time.sleep(0.2)
                time.sleep(3.0)
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield url
            finally:
                ask(urlsplit(url).netloc, "POST", "/api/v1/run/stop")
                process.wait(60.0)


def percentiles(values_s: list[float]) -> str:
    p50, p95 = (1e3 * float(np.quantile(values_s, q)) for q in (0.5, 0.95))
    return f"{p50:.0f}, {p95:.0f} ms"


def how_fast(rounds: int, page: Page) -> None:
    print(
        "| quickstart on | asked to all hosts obeying | click to the page's list | to `/metrics` |"
    )
    print("| --- | --- | --- | --- |")
    for name, words in (
        ("Ray, 13 actors", []),
        ("the paced loop", ["--runtime", "loop", "--paced"]),
    ):
        with quickstart(words) as url:
            address = urlsplit(url).netloc
            obeyed_s, shown_s, scraped_s = [], [], []
            for _ in range(rounds):
                began_s = time.perf_counter()
                reported = json.loads(ask(address, "POST", "/api/v1/faults", FAULT))
                obeyed_s.append(time.perf_counter() - began_s)
                assert reported["applied"][0] == reported["applied"][1], reported
                while not ACTIVE.search(ask(address, "GET", "/metrics")):
                    time.sleep(0.005)
                scraped_s.append(time.perf_counter() - began_s)
                ask(address, "DELETE", "/api/v1/faults")
                time.sleep(0.4)
            page.goto(url)
            page.get_by_text("live", exact=True).wait_for()
            page.get_by_label("Type", exact=True).select_option("delay")
            page.get_by_label("target", exact=True).fill("bs-0")
            page.get_by_label("delay_s", exact=True).fill("0.001")
            for _ in range(rounds):
                shown_s.append(1e-3 * page.evaluate(CLICK))
                page.wait_for_timeout(400)
                page.get_by_role("button", name="Heal all").click()
                page.locator("#active .none").wait_for()
            cells = (percentiles(values) for values in (obeyed_s, shown_s, scraped_s))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


CLICK = """() => new Promise((done) => {
  const list = document.querySelector('#active'), began = performance.now();
  const watch = new MutationObserver(() => {
    if (!list.querySelector('button')) return;
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  });
  watch.observe(list, { childList: true });
  document.querySelector('#form button').click();
})"""


class Watched:
    """1,000 users in this process, with the CPU time of what watches them kept apart."""

    def __init__(self, seconds: float, folder: Path) -> None:
        changes = {"duration_s": seconds, "runtime.kind": "loop", "expect": []}
        chosen = source.load(SCENARIOS / "w1000.yaml", changes)
        session = Session(chosen, paced=True, stopwatch=False)
        self.steering = session.steering
        self.service = Service(session.plan, self.steering, folder, port=0, changes_hz=1e3)
        self.service.start()
        self.feed_s, self.steps = 0.0, 0
        self.began = threading.Event()
        self.session = session
        self.thread = threading.Thread(target=session.run, args=(self.show,))
        self.thread.start()
        self.began.wait()
        self.serving = next(t for t in threading.enumerate() if t.name == "control").native_id

    def show(self, progress: Progress) -> None:
        began_s = time.thread_time()
        self.service.take(progress)
        self.feed_s += time.thread_time() - began_s
        self.steps += 1
        self.began.set()

    def serving_s(self) -> float:
        return cpu_s(Path(f"/proc/self/task/{self.serving}"))

    def end(self) -> None:
        self.thread.join()
        self.service.stop()


def cpu_s(folder: Path) -> float:
    """CPU time of a process or thread so far, user and system."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK_HZ


def renderers() -> list[Path]:
    """Chromium's renderers that this process started, through whatever lies between."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    found = []
    for pid in filter(ours, parents):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"--type=renderer" in words:
            found.append(Path(f"/proc/{pid}"))
    return found


def stall(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    viewer = socket.create_connection((host, int(port)))
    viewer.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    return viewer


def read(address: str) -> socket.socket:
    viewer = stall(address)

    def swallow() -> None:
        try:
            while viewer.recv(1 << 20):
                pass
        except OSError:
            return

    threading.Thread(target=swallow, daemon=True).start()
    return viewer


def what_it_costs(seconds: float, page: Page) -> None:
    print(
        "| 1,000 users, watched by | steps | lateness p99 | feed and metrics, driver's thread "
        "| service's thread | the page |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, open_one, count in (
        ("nobody", stall, 0),
        ("10 viewers", read, 10),
        ("10 viewers that read nothing", stall, 10),
        ("a page in Chromium", None, 1),
    ):
        with TemporaryDirectory() as folder:
            watched = Watched(seconds, Path(folder))
            address = urlsplit(watched.service.url).netloc
            viewers = [] if open_one is None else [open_one(address) for _ in range(count)]
            shown = "-"
            if open_one is None:
                page.goto(watched.service.url)
                page.get_by_text("live", exact=True).wait_for()
                page.wait_for_timeout(2000)
                before = {each: cpu_s(each) for each in renderers()}
                from_s = time.monotonic()
                page.wait_for_timeout(1e3 * (seconds - 5.0))
                used_s = sum(cpu_s(each) - spent_s for each, spent_s in before.items())
                shown = f"{100.0 * used_s / (time.monotonic() - from_s):.1f} %"
            watched.thread.join()
            late_s = watched.session.summary["lateness_p99_s"]
            wall_s = watched.session.summary["wall_s"]
            feed, serving = (100.0 * s / wall_s for s in (watched.feed_s, watched.serving_s()))
            print(
                f"| {name} | {watched.steps} | {1e3 * late_s:.2g} ms | {feed:.1f} % "
                f"| {serving:.1f} % | {shown} |",
                flush=True,
            )
            for viewer in viewers:
                viewer.close()
            watched.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, bypass_csp=True)
        what_it_costs(given.seconds, page)
        print()
        how_fast(given.rounds, page)
        browser.close()


if __name__ == "__main__":
    main()
