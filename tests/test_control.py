"""The control service from outside: answers, refusals, streams. Real HTTP against a paced run."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S, Spec
from test_steering import BLACKOUT, SPEC

from emulator.build.known_fault import Applied
from emulator.checks.fault_words import Conflict
from emulator.cli.live import fault
from emulator.live import changes
from emulator.live.answers import Change, Frame
from emulator.live.service import Service
from emulator.runtime.recorder import Progress
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario

V1 = "/api/v1"
JSON = {"Content-Type": "application/json"}
STREAMED = {"change": Change, "frame": Frame}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Running:
    """A run in a thread of this process, until it is stopped."""

    def __init__(
        self, folder: Path, spec: Spec | None = None, *, port: int = 0, **service: Any
    ) -> None:
        self.folder = folder
        runtime = SPEC["runtime"] | {"time_scale": 1.0}
        standing = {"duration_s": 100.0, "faults": [], "runtime": runtime}
        chosen = Scenario.model_validate(SPEC | standing | (spec or {}))
        session = Session(chosen, folder, paced=True, stopwatch=False)
        self.steering = session.steering
        self.service = Service(session.plan, self.steering, folder, port=port, **service)
        self.service.start()
        begun = threading.Event()

        def show(progress: Progress) -> None:
            self.service.take(progress)
            begun.set()

        self.thread = threading.Thread(target=session.run, args=(show,))
        self.thread.start()
        assert begun.wait(PATIENCE_S)
        self.address = urlsplit(self.service.url).netloc

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = (JSON if data is not None else {}) | (headers or {})
        connection.request(method, path, data, given)
        response = connection.getresponse()
        text = response.read()
        is_json = "json" in (response.headers["Content-Type"] or "")
        return Answer(
            response.status, json.loads(text) if is_json else text, dict(response.headers)
        )

    def end(self) -> None:
        if self.steering.phase != "ended":
            self.steering.stop("the test is over")
        self.thread.join(PATIENCE_S)
        self.service.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("run"))
    yield running
    running.end()


def test_a_name_that_is_no_text_is_told_as_text(running: Running) -> None:
    source = {"X-Fresco-Source": "caf\xe9"}  # Latin-1, in bytes; it must be UTF-8

    answer = running.ask("POST", "/api/v1/faults?dry_run=true", BLACKOUT, source)

    assert answer.status == 200
    assert answer.body["faults"][0]["source"] == "caf?"


def test_a_fault_is_injected_extended_patched_and_healed(running: Running) -> None:
    began = running.ask("POST", "/api/v1/faults", BLACKOUT)
    again = running.ask("POST", "/api/v1/faults", BLACKOUT)
    fault = began.body["faults"][0]
    place = f"/api/v1/faults/{fault['id']}"
    patched = running.ask("PATCH", place, {"for_s": 100.0})
    listed = running.ask("GET", "/api/v1/faults").body
    healed = running.ask("DELETE", place)

    assert (began.status, again.status) == (201, 200)
    assert began.body["applied"] == [1, 1]
    assert (
        fault["n"] == len(fault["resolved"]) == 4 * 2
    )  # a base station stands for its radio links
    assert again.body["extended"]
    assert patched.body["faults"][0]["until_s"] == pytest.approx(patched.body["at_s"] + 100.0)
    assert [f["state"] for f in listed["faults"] if f["id"] == fault["id"]] == ["active"]
    assert ["user-0", "bs-0"] in listed["cut"]
    assert healed.status == 200
    assert running.ask("GET", "/api/v1/faults").body["cut"] == []
    assert running.ask("DELETE", place).status == 409
    assert running.ask("DELETE", "/api/v1/faults/999").status == 404


def test_reading_works_and_every_route_is_described(running: Running) -> None:
    described = running.ask("GET", "/api/v1/openapi.json").body["paths"]

    for path in ("run", "topology", "history", "faults", "fault-types"):
        assert running.ask("GET", f"/api/v1/{path}").status == 200
        assert f"/api/v1/{path}" in described
    assert len(running.ask("GET", "/api/v1/topology").body["users"]) == 4
    assert b"fresco_sim_time_seconds" in running.ask("GET", "/metrics").body
    assert running.ask("GET", "/healthz").body == {"phase": "running"}
    page = running.ask("GET", "/")
    assert b"Inject a fault" in page.body
    assert b"http://" not in page.body
    assert b"https://" not in page.body


def test_the_stream_tells_changes_and_frames(running: Running) -> None:
    connection = http.client.HTTPConnection(running.address, timeout=PATIENCE_S)
    connection.request("GET", "/api/v1/stream")
    response = connection.getresponse()
    seen: dict[str, Any] = {}
    while {"change", "frame"} - seen.keys():
        line = response.readline().decode()
        if line.startswith("event: "):
            told, data = line[7:].strip(), response.readline()[6:]
            seen[told] = msgspec.json.decode(data, type=STREAMED[told])
    connection.close()

    assert seen["change"].run.phase == "running"
    assert len(seen["frame"].worst) == 4


def test_pausing_stops_emulated_time(running: Running) -> None:
    paused = running.ask("POST", "/api/v1/run/pause", {})
    phase = running.ask("GET", "/api/v1/run").body["phase"]
    resumed = running.ask("POST", "/api/v1/run/resume", {})

    assert (paused.status, phase, resumed.status) == (200, "paused", 200)
    assert resumed.body["at_s"] == paused.body["at_s"]


def test_a_request_that_waits_too_long_takes_effect_and_the_run_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, reached, open_ = running.steering.turn, threading.Event(), threading.Event()

    def slow(*given: Any) -> None:
        reached.set()
        open_.wait(PATIENCE_S)
        turn(*given)

    monkeypatch.setattr(running.steering, "turn", slow)
    monkeypatch.setattr(changes, "ACK_MAX_S", 0.01)
    assert reached.wait(PATIENCE_S)
    late = running.ask("POST", f"{V1}/faults", BLACKOUT | {"note": "late"})
    monkeypatch.undo()
    open_.set()
    healed = running.ask("DELETE", f"{V1}/faults")

    assert late.status == 201
    assert late.body["warning"] == (
        "accepted, not in effect: no host said within 0.01 s that it obeys"
    )
    assert healed.status == 200
    assert running.thread.is_alive()
    assert running.steering.faults[late.body["faults"][0]["id"]].state == "healed"


def test_what_cannot_be_done_any_more_is_answered_as_it_would_be_when_asked(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = running.ask("POST", f"{V1}/faults", BLACKOUT)
    place = f"{V1}/faults/{began.body['faults'][0]['id']}"
    running.ask("DELETE", place)
    known = running.steering.faults[began.body["faults"][0]["id"]]
    # As if the asking had come before the healing, and the turn after (`test_turns.py`).
    refused: Future[Applied] = Future()
    refused.set_exception(Conflict(f"fault {known.id} is over"))
    monkeypatch.setattr(running.steering, "patch", lambda number, changes: (known, refused))

    late = running.ask("PATCH", place, {"for_s": 9.0})

    assert late.status == 409
    assert late.body["error"] == f"fault {known.id} is over"
    assert known.state == "healed"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inject", "blackout", "bs-0", "probability=1.0e-9", "--dry-run"), "spared: chance has"),
        (("inject", "blackout", "bs-0", "probability=1.0e-9"), "spared: chance has it"),
        (("heal", "--all"), "nothing was active"),
    ],
)
def test_the_command_line_says_where_nothing_had_to_be_done(
    running: Running, words: tuple[str, ...], says: str
) -> None:
    running.ask("DELETE", f"{V1}/faults")

    reported = CliRunner().invoke(fault, [*words, "--url", running.service.url])

    assert reported.exit_code == 0
    assert reported.output.startswith(says)
