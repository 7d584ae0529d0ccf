"""Takes the pictures in docs/images in a real Chromium, each from a run of its own.

python -m docs.pictures                     all of them, in some minutes
python -m docs.pictures live reports        of the live page, of reports; or `students`, of a sweep
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
LOOP = ["--runtime", "loop", "--paced", "--accelerator", "replay"]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SLOWER = "runtime.time_scale=1.5"
VIEW = {"width": 1500, "height": 1000}


def fresco(folder: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "emulator", *words, "--out", folder]


@contextmanager
def running(scenario: str, *words: str) -> Iterator[str]:
    """Runs a scenario until the pictures are taken; yields the address of its page."""
    with TemporaryDirectory() as folder:
        command = fresco(folder, "run", scenario, "--dashboard-port", "0", *words)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
            assert run.stdout is not None
            while not (line := run.stdout.readline()).startswith("dashboard"):
                assert line, "the run did not start"
            yield line.split()[-1]
            run.terminate()


def of_quickstart(browser: Any) -> None:
    with running("quickstart", *LOOP, "--duration", "60", "-s", "faults=[]") as url:
        light = browser.new_page(viewport=VIEW, color_scheme="light")
        dark = browser.new_page(viewport=VIEW, color_scheme="dark")
        for page in (light, dark):
            page.goto(url)
            page.get_by_text("live", exact=True).wait_for()
        light.wait_for_timeout(12_000)
        light.screenshot(path=IMAGES / "live-light.png")
        light.get_by_label("Type", exact=True).select_option("blackout")
        light.get_by_label("target", exact=True).fill("bs-0")
        light.get_by_label("for_s", exact=True).fill("10")
        light.get_by_role("button", name="Inject").click()
        light.wait_for_timeout(6_000)
        light.screenshot(path=IMAGES / "live-fault.png")
        light.wait_for_timeout(9_000)
        dark.screenshot(path=IMAGES / "live-dark.png", full_page=True)


def of_card(browser: Any, title: str, name: str, scenario: str, *words: str) -> None:
    """One plot of a protocol."""
    with running(scenario, *LOOP, *words) as url:
        page = browser.new_page(viewport=VIEW, color_scheme="light")
        page.goto(url)
        page.get_by_text("live", exact=True).wait_for()
        page.wait_for_timeout(12_000)
        page.locator("#charts .card", has_text=title).screenshot(path=IMAGES / name)


def of_report(browser: Any, height: int, name: str, scenario: str, *words: str) -> None:
    """The top of a run's report, `height` pixels of it."""
    with TemporaryDirectory() as folder:
        subprocess.run(fresco(folder, "run", scenario, *words), check=True, cwd=ROOT)
        page = browser.new_page(viewport={"width": 1200, "height": height}, color_scheme="light")
        page.goto((Path(folder).resolve() / "latest" / "report.html").as_uri())
        page.screenshot(path=IMAGES / name)


def live(browser: Any) -> None:
    of_quickstart(browser)
    of_card(browser, "Longest sojourn time", "live-bound.png", "todg-live", "-s", SLOWER)
    of_card(browser, "ADMM residuals", "live-residuals.png", "popec-live")


def reports(browser: Any) -> None:
    """`report.png` is of Ray in real time, as `make demo` is."""
    of_report(browser, 2150, "report.png", "quickstart")
    of_report(browser, 3100, "popec-live.png", "popec-live", "--runtime", "loop")


def students(browser: Any) -> None:
    """Takes the two trade-offs with age out of a sweep's page."""
    with TemporaryDirectory() as folder:
        networks = "servers.0.accelerator.model=noisy-xs,noisy-s,noisy-m,noisy-l"
        command = fresco(folder, "sweep", "vision-digits", "--seeds", "5", "--set", networks)
        subprocess.run(command, check=True, cwd=ROOT)
        page = browser.new_page(viewport={"width": 1100, "height": 420}, color_scheme="light")
        page.goto(
            (Path(folder).resolve() / "vision-digits-sweep" / "latest" / "sweep.html").as_uri()
        )
        age = "against age of information, mean"
        wanted = [f"right answers {age}", f"right and fresh, per user {age}"]
        page.evaluate(
            """wanted => document.querySelectorAll(".card").forEach(card => {
                if (!wanted.includes(card.querySelector("h2").textContent)) card.remove()
            })""",
            wanted,
        )
        assert page.locator(".card").count() == len(wanted), "a trade-off is not drawn"
        page.locator(".cards").screenshot(path=IMAGES / "students.png")


TAKERS = {taker.__name__: taker for taker in (live, reports, students)}


def main(names: list[str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        for name in names or TAKERS:
            TAKERS[name](browser)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
