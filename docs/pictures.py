"""Takes the pictures in docs/images in a real Chromium.

python -m docs.pictures                     of the live dashboard, during a run
python -m docs.pictures SWEEP.html          of the students, from a sweep of vision-digits
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


@contextmanager
def running(scenario: str, *words: str) -> Iterator[str]:
    """Runs a scenario until the pictures are taken; yields the address of its page."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "emulator", "run", scenario, "--dashboard-port", "0"]
        command += ["--out", folder, *words]
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


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        of_quickstart(browser)
        of_card(browser, "Longest stay", "live-bound.png", "todg-live", "-s", SLOWER)
        of_card(browser, "ADMM residuals", "live-residuals.png", "popec-live")
        browser.close()


def students(sweep: Path) -> None:
    """Takes the two trade-offs with age out of a sweep's page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        page = browser.new_page(viewport={"width": 1100, "height": 420}, color_scheme="light")
        page.goto(sweep.resolve().as_uri())
        wanted = ("accuracy against aoi_mean_s", "fresh_correct_hz against aoi_mean_s")
        page.evaluate(
            """wanted => document.querySelectorAll(".card").forEach(card => {
                if (!wanted.includes(card.querySelector("h2").textContent)) card.remove()
            })""",
            list(wanted),
        )
        page.locator(".cards").screenshot(path=IMAGES / "students.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        students(Path(sys.argv[1]))
    else:
        main()
