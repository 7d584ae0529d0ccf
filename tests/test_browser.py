"""The live page in a real Chromium: what a person does with it, seen from outside."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_control import Running

CHROMIUM = Path("/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="no Chromium here: apt-get install chromium"
)
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("run"))
    yield running
    running.end()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


def test_a_person_breaks_and_heals_a_cell(running: Running, browser: "sync_api.Browser") -> None:
    page = browser.new_page(bypass_csp=True)  # to ask the page by script
    strangers: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda r: None if running.address in r.url else strangers.append(r.url))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(running.service.url)
    page.get_by_role("status").get_by_text("live").wait_for()
    charts = page.locator("#charts .card")
    charts.nth(5).wait_for()
    assert complaints == []

    # The form explains a bad target (the browser logs the 422 it gets, and nothing else).
    page.locator("#type").select_option("blackout")
    page.locator("#field-target").fill("bs-9")
    page.get_by_role("button", name="Inject").click()
    page.get_by_role("alert").get_by_text("'bs-9' selects no node").wait_for()
    assert all("422" in each for each in complaints)

    page.locator("#field-target").fill("bs-*")
    page.locator("#field-for_s").fill("300")
    page.get_by_role("button", name="Inject").click()
    active = page.get_by_role("list", name="Active faults")
    active.get_by_text("blackout bs-* (16 hit, applied 1/1)").wait_for()
    # Nothing gets through: the oldest information is soon older than it ever was.
    page.wait_for_function(
        "document.querySelector('#worst td + td').textContent.match(/^[3-9].* s$/)", timeout=15_000
    )
    red = "document.querySelector('#tiles .tile:nth-child(5) b').textContent === '100 %'"
    page.wait_for_function(red, timeout=10_000)

    page.get_by_role("button", name="Heal fault").click()
    active.get_by_text("none").wait_for()
    page.wait_for_function(
        "document.querySelector('#worst td + td').textContent.match(/ ms$/)", timeout=15_000
    )
    page.get_by_role("list", name="Events").get_by_text("blackout bs-* healed").wait_for()

    # What is rare is folded away; one of the two cells, on the way up only, growing.
    page.locator("#type").select_option("loss")
    assert page.locator("#field-mode").is_hidden()
    page.get_by_text("more: whom, how many, when").click()
    page.locator("#field-mode").select_option("one")
    page.locator("#field-direction").select_option("up")
    page.locator("#field-ramp_s").fill("5")
    page.locator("#field-p").fill("0.5")
    page.get_by_role("button", name="Inject").click()
    shown = "loss ramp_s=5 mode=one bs-* direction=up p=0.5 (4 hit, applied 1/1)"
    words = active.get_by_text("(4 hit, applied 1/1)").inner_text().split(",")[0]
    assert sorted(words.split()) == sorted(shown.split(",")[0].split())
    page.get_by_role("button", name="Heal fault").click()
    active.get_by_text("none").wait_for()

    before = page.evaluate("rows.at_s.length")
    page.reload()
    page.get_by_role("status").get_by_text("live").wait_for()
    assert before >= 5
    assert page.evaluate("rows.at_s.length") >= before
    assert strangers == []
    assert all("422" in each for each in complaints)
    page.close()
