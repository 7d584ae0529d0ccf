"""The live page in a real Chromium: what a person does with it, seen from outside."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import PATIENCE_S, Spec, distribution, server_group, user_group
from test_control import Running
from test_report import play_into
from test_steering import SPEC

from emulator.build.planning import plan
from emulator.live.service import Service
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.views import report

CHROMIUM = Path("/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="no Chromium here: apt-get install chromium"
)
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Each user hears one cell only, so a dark cell is dark for its users and for nobody else.
ONE_CELL = {"topology": {"kind": "generated", "area_m": 300.0, "cells_per_user": 1}, "seed": 2}
RED = """() => {  // pixels of the map that have the colour of a cut link
  const map = document.querySelector('#map');
  const { data } = map.getContext('2d').getImageData(0, 0, map.width, map.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    count += data[i] > 170 && data[i + 1] > 50 && data[i + 1] < 90 && data[i + 2] < 20;
  return count;
}"""
MUTE = """() => new Promise((done) => {  // what a screen reader would hear in two seconds
  const heard = [];
  const watch = new MutationObserver((all) => heard.push(...all.map((m) => m.target.id)));
  for (const live of document.querySelectorAll('[aria-live],[role=status],[role=alert],output'))
    watch.observe(live, { childList: true, characterData: true, subtree: true });
  setTimeout(() => done(heard), 2000);
})"""
CONTRAST = """() => {  // texts whose contrast with what is behind them is below 4.5 (WCAG AA)
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(rgb(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a = 1]) =>
      [r, g, b].map((v, i) => a * v + (1 - a) * under[i]), [255, 255, 255]);
  };
  const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  const pale = [];
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    seen += 1;
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) pale.push(element.textContent);
  }
  return [seen, pale];
}"""

# Of a logarithmic plot: the range of its axis, what is written on it, and its newest value.
AXIS = """(title) => {
  const isIts = (u) => u.root.closest('.card').textContent.startsWith(title);
  const plot = uPlot.sync('time').plots.find(isIts);
  const { distr, min, max } = plot.scales.y;
  const says = plot.axes[1]._values.filter((each) => each);
  return { distr, min, max, says, values: plot.data.slice(1).flat().filter((v) => v !== null) };
}"""
NEGOTIATED: Spec = {
    "protocol": {"kind": "popec-async"},
    "users": [user_group(count=3, arrival={"kind": "on-grant"}, input_bits=1.0e3)],
    "base_stations": [{"name": "bs", "access": "slotted", "channels": 1, "grant_s": 0.02}],
    "servers": [server_group(distribution("exponential", 0.02))],
    "resend": {"attempts_max": 1},
}


class Seen:
    """A page, and what it asked for and complained about."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.page = browser.new_page(bypass_csp=True, **options)  # to ask the page by script
        self.page.set_default_timeout(1e3 * PATIENCE_S)
        self.strangers: list[str] = []
        self.complaints: list[str] = []
        address = urlsplit(url).netloc
        self.page.on("request", lambda r: address in r.url or self.strangers.append(r.url))
        self.page.on("console", lambda m: m.type != "error" or self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)

    def is_live(self) -> None:
        self.page.get_by_role("status").get_by_text("live", exact=True).wait_for()

    def says(self, text: str) -> None:
        self.page.get_by_text(text, exact=False).first.wait_for()

    def value(self, title: str, label: str) -> Any:
        """The newest value of one curve."""
        card = self.page.locator("#charts .card", has=self.page.get_by_role("heading", name=title))
        return card.locator(".curve", has_text=label).locator(".value")

    def tile(self, label: str) -> Any:
        return self.page.locator(".tile", has_text=label).locator("dd")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("run"), ONE_CELL)
    yield running
    running.end()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def seen(running: Running, browser: "sync_api.Browser") -> Iterator[Seen]:
    seen = Seen(browser, running.service.url)
    seen.is_live()
    yield seen
    seen.page.close()


def test_a_person_breaks_and_heals_a_cell(running: Running, seen: Seen) -> None:
    page = seen.page
    users = running.ask("GET", "/api/v1/topology").body["users"]
    inside = {user["id"] for user in users if user["cells"] == ["bs-0"]}
    assert 0 < len(inside) < len(users)
    seen.value("Uplink attempts lost", "bs-1").get_by_text("%").wait_for()
    assert seen.complaints == []

    # The form explains a bad target (the browser logs the 422 it gets, and nothing else).
    page.get_by_label("Type", exact=True).select_option("blackout")
    page.get_by_label("target", exact=True).fill("bs-9")
    page.get_by_role("button", name="Inject").click()
    page.get_by_role("alert").get_by_text("'bs-9' selects no node").wait_for()
    assert page.get_by_label("target", exact=True).get_attribute("aria-invalid") == "true"
    assert page.evaluate(RED) == 0

    page.get_by_label("target", exact=True).fill("bs-0")
    page.get_by_label("for_s", exact=True).fill("300")
    page.get_by_role("button", name="Inject").click()
    active = page.get_by_role("list", name="Active faults")
    active.get_by_text("blackout bs-0 (").wait_for()
    page.wait_for_function(f"({RED})() > 50")
    # Its curve rises, the other cell's does not; its users' information gets old, nobody else's.
    seen.value("Uplink attempts lost", "bs-0").get_by_text("100 %").wait_for()
    assert seen.value("Uplink attempts lost", "bs-1").text_content() != "100 %"
    oldest = page.locator("#worst tr td:last-child").first
    oldest.get_by_text(re.compile(r"^[3-9].* s$")).wait_for()
    ages = dict(row.split("\t") for row in page.locator("#worst tr").all_inner_texts())
    assert {user for user, age in ages.items() if not age.endswith("ms")} == inside

    page.get_by_role("button", name="Heal fault").click()
    active.get_by_text("none").wait_for()
    oldest.get_by_text(re.compile(r" ms$")).wait_for()
    page.wait_for_function(f"({RED})() === 0")
    page.get_by_role("list", name="Events").get_by_text("blackout bs-0 healed").wait_for()

    # What is rare is folded away; one of the two cells, on the way up only, growing.
    page.locator("#type").select_option("loss")
    page.locator("#field-target").fill("bs-*")
    assert page.locator("#field-mode").is_hidden()
    page.get_by_text("more: whom, how many, when").click()
    page.locator("#field-mode").select_option("one")
    page.locator("#field-direction").select_option("up")
    page.locator("#field-ramp_s").fill("5")
    page.locator("#field-p").fill("0.5")
    page.get_by_role("button", name="Inject").click()
    words = active.get_by_text(re.compile(r"\([1-3] hit, applied 1/1\)")).inner_text()
    asked = "loss bs-* p=0.5 mode=one direction=up ramp_s=5"
    assert sorted(words.partition(" (")[0].split()) == sorted(asked.split())
    page.get_by_role("button", name="Heal fault").click()
    active.get_by_text("none").wait_for()

    before = int(page.locator("#charts").get_attribute("data-rows"))
    page.reload()
    seen.is_live()
    assert before >= 5
    assert int(page.locator("#charts").get_attribute("data-rows")) >= before
    assert seen.strangers == []
    assert all("422" in each for each in seen.complaints)


def test_the_list_shows_a_fault_before_the_run_takes_it_up(
    running: Running, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, open_ = running.steering.turn, threading.Event()

    def held_up(*given: Any) -> None:  # as by a host that is slow to answer
        open_.wait(30.0)
        turn(*given)

    monkeypatch.setattr(running.steering, "turn", held_up)
    seen.page.locator("#type").select_option("delay")
    seen.page.locator("#field-target").fill("bs-1")
    seen.page.locator("#field-delay_s").fill("0.01")
    seen.page.get_by_role("button", name="Inject").click()
    active = seen.page.get_by_role("list", name="Active faults")
    active.get_by_text("delay bs-1 delay_s=0.01: asked, not in effect yet").wait_for()
    heal = active.get_by_role("button", name="Heal fault")
    assert heal.is_disabled()

    monkeypatch.undo()
    open_.set()
    active.get_by_text("hit, applied 1/1), ").wait_for()
    heal.click()
    active.get_by_text("none").wait_for()


def test_the_form_begins_with_what_heals_and_says_what_ends_the_run(seen: Seen) -> None:
    offered = seen.page.locator("#type option").all_inner_texts()

    assert seen.page.locator("#type").input_value() == offered[0] == "blackout"
    assert offered[-1] == "actor_kill (ends the run)"
    assert not any("ends the run" in each for each in offered[:-1])
    seen.page.locator("#type").select_option("actor_kill")
    assert seen.page.locator("#field-for_s-hint").inner_text().endswith("Nothing heals it.")


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_no_word_of_a_button_wraps(
    running: Running, browser: "sync_api.Browser", width: int
) -> None:
    long = {"type": "loss", "target": "user-0,user-1,user-2,user-3", "p": 0.25, "note": "n" * 100}
    running.steering.inject({**long, "correlation": 0.125, "direction": "up"}, "test")[1].result(
        30.0
    )
    seen = Seen(browser, running.service.url, viewport={"width": width, "height": 900})
    seen.is_live()
    seen.says("applied 1/1")

    lines = seen.page.evaluate(
        "[...document.querySelectorAll('button')].map((e) => {"
        " const all = document.createRange(); all.selectNodeContents(e);"
        " return [e.textContent, new Set([...all.getClientRects()].map((r) => r.top)).size]; })"
    )
    assert {count for _, count in lines} == {1}, lines
    assert "Heal" in dict(lines)
    inside = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert seen.page.evaluate(inside)  # nothing lies beyond the right edge
    seen.page.close()
    running.steering.heal()[1].result(30.0)


def test_everything_is_within_reach_of_the_keyboard(seen: Seen) -> None:
    page = seen.page
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"

    def tab_to(wanted: str) -> None:
        for _ in range(25):
            if re.match(wanted, page.evaluate(focused)):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"Tab never reaches {wanted}")

    tab_to("^type$")
    page.keyboard.type("delay")
    tab_to("^field-target$")
    offered = page.locator("#nodes option").evaluate_all("all => all.map((each) => each.value)")
    assert {"bs-*", "bs-0", "user-3", "edge-1"} <= set(offered)
    page.keyboard.type("bs-1")
    tab_to("^field-delay_s$")
    page.keyboard.type("0.02")
    page.keyboard.press("Enter")
    page.get_by_role("list", name="Active faults").get_by_text("delay bs-1").wait_for()
    tab_to("^Heal fault .*delay bs-1")
    rows = int(page.locator("#charts").get_attribute("data-rows"))
    page.wait_for_function(f"+document.querySelector('#charts').dataset.rows > {rows}")
    assert page.evaluate(focused).startswith("Heal fault")  # the list did not move from under it
    page.keyboard.press("Enter")
    page.get_by_role("list", name="Active faults").get_by_text("none").wait_for()


def test_a_screen_reader_finds_names_and_is_not_talked_over(seen: Seen) -> None:
    page = seen.page
    seen.value("Uplink attempts lost", "bs-1").get_by_text("%").wait_for()

    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, [role=img]')].filter((e) => "
        "!e.ariaLabel && !e.textContent.trim() && !e.labels?.length).map((e) => e.outerHTML)"
    )
    assert nameless == []
    for table in ("Oldest information",):
        assert page.get_by_role("table", name=table).is_visible()
    assert page.get_by_role("img", name="Age of information over emulated time").is_visible()
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(MUTE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(running: Running, browser: "sync_api.Browser", scheme: str) -> None:
    seen = Seen(browser, running.service.url, color_scheme=scheme)
    seen.is_live()
    seen.value("Uplink attempts lost", "bs-1").get_by_text("%").wait_for()

    count, pale = seen.page.evaluate(CONTRAST)

    assert count > 60
    assert pale == []
    seen.page.close()


def test_the_page_says_when_nobody_answers_and_finds_the_next_run(
    browser: "sync_api.Browser", tmp_path: Path
) -> None:
    first = Running(tmp_path)
    seen = Seen(browser, first.service.url)
    seen.is_live()
    seen.tile("age, mean").get_by_text("s").wait_for()

    first.service.stop()  # as if the driver were gone
    seen.page.get_by_role("status").get_by_text("reconnecting").wait_for()
    seen.tile("age, mean").get_by_text("-", exact=True).wait_for()

    second = Running(tmp_path, port=urlsplit(first.service.url).port or 0)
    seen.is_live()
    seen.tile("age, mean").get_by_text("s").wait_for()
    second.steering.stop("the test is over")
    seen.page.get_by_role("status").get_by_text("run ended").wait_for()
    seen.page.close()
    second.end()
    first.end()


def test_the_page_counts_actors_before_there_is_a_run(
    browser: "sync_api.Browser", tmp_path: Path
) -> None:
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    service = Service(planned, Steering(planned), tmp_path, port=0)
    service.start()
    seen = Seen(browser, service.url)

    for hosts in (4, 11):
        service.ready(hosts, 12)
        seen.says(f"starting {hosts}/12 actors")
    assert seen.tile("age, mean").text_content() == "-"
    assert seen.page.get_by_role("button", name="Stop run").is_disabled()
    seen.page.close()
    service.stop()


def check_residuals(axis: dict[str, Any]) -> None:
    assert axis["distr"] == 3  # uPlot's word for logarithmic
    assert 10.0 <= axis["max"] / axis["min"] < 1e7
    assert axis["max"] < 100.0  # what was there before the first rate does not rule the plot
    assert 2 <= len(axis["says"]) <= 10
    numbers = [float(text) for text in axis["says"]]
    assert all(axis["min"] <= number <= axis["max"] for number in numbers)
    assert all(f"{number:e}"[0] in "1235 7" for number in numbers)  # round ones


def test_residuals_can_be_read_on_the_live_page(
    browser: "sync_api.Browser", tmp_path: Path
) -> None:
    running = Running(tmp_path, NEGOTIATED)
    seen = Seen(browser, running.service.url)
    seen.is_live()
    seen.page.wait_for_function("+document.querySelector('#charts').dataset.rows > 4")

    check_residuals(seen.page.evaluate(AXIS, "ADMM residuals"))

    assert seen.complaints == []
    seen.page.close()
    running.end()


def test_residuals_can_be_read_in_the_report(browser: "sync_api.Browser", tmp_path: Path) -> None:
    folder = play_into(tmp_path, SPEC | NEGOTIATED | {"faults": [], "duration_s": 5.0})
    path = report.write(folder, report.read(folder))
    page = browser.new_page()
    page.goto(path.as_uri())

    for title in ("ADMM residuals",):
        check_residuals(page.evaluate(AXIS, title))
    page.close()
