"""Takes the pictures in docs/images in a real Chromium.

python -m docs.pictures                     of the live dashboard, during a run
python -m docs.pictures SWEEP.html          of the students, from a sweep of vision-digits
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
RUN = "run quickstart --runtime loop --paced --accelerator replay --duration 40 -s faults=[]"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [
            sys.executable,
            "-m",
            "emulator",
            *RUN.split(),
            "--dashboard-port",
            "0",
            "--out",
            folder,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
            assert run.stdout is not None
            url = run.stdout.readline().split()[-1]
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
            view = {"width": 1500, "height": 1000}
            light = browser.new_page(viewport=view, color_scheme="light")
            dark = browser.new_page(viewport=view, color_scheme="dark")
            for page in (light, dark):
                page.goto(url)
                page.get_by_text("live", exact=True).wait_for()
            light.wait_for_timeout(10_000)
            light.screenshot(path=IMAGES / "live-light.png")
            light.locator("#type").select_option("blackout")
            light.locator("#field-target").fill("bs-0")
            light.get_by_role("button", name="Inject").click()
            light.wait_for_timeout(5_000)
            light.screenshot(path=IMAGES / "live-fault.png")
            light.wait_for_timeout(9_000)
            dark.bring_to_front()
            dark.wait_for_timeout(2_000)
            dark.screenshot(path=IMAGES / "live-dark.png", full_page=True)
            browser.close()
            run.terminate()


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
