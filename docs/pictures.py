"""Takes the pictures of the live dashboard in docs/images: a real run in a real Chromium.

python -m docs.pictures
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


if __name__ == "__main__":
    main()
