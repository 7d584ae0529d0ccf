"""What must not pass: each attack on the control service, and the status that answers it."""

import gc
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, wait_until
from test_control import Answer, Running
from test_steering import BLACKOUT, SPEC

from emulator.build.planning import plan
from emulator.cli.arguments import token
from emulator.cli.client import Client, Unanswered
from emulator.live.service import PAGES, VIEWERS_MAX, Service
from emulator.results import journal
from emulator.runtime.loop import sample_times
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.views.html import STATIC

V1 = "/api/v1"
OUTSIDE = [  # everything here is a file on this machine, or would be if paths were believed
    "/static/../../run.py",
    "/static/%2e%2e/%2e%2e/run.py",
    "/static/..%2f..%2frun.py",
    "/static/%252e%252e/run.py",
    "/static/..\\..\\run.py",
    "/static//etc/passwd",
    "//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/live.js%00.txt",
    "/static/live.js%00",
    "/static/",
    "/static/vendor/VENDOR.json",
    "/static/report.js",
    "/runs/latest/journal.msgpack",
    "/secret",
    "/control.json",
    "/events.jsonl",
    "/../control.json",
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("run")
    (folder / "secret").symlink_to("/etc/passwd")
    running = Running(folder)
    yield running
    running.end()


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (403, "POST", "/api/v1/faults", BLACKOUT, {"Origin": "http://evil.example"}),
        (403, "GET", "/api/v1/run", None, {"Origin": "null"}),
        (403, "DELETE", "/api/v1/faults", None, {"Origin": "http://127.0.0.1:1"}),
        (403, "GET", "/api/v1/run", None, {"Origin": "http://["}),
        (421, "GET", "/api/v1/run", None, {"Host": "127.0.0.1.evil.example"}),
        (421, "GET", "/api/v1/run", None, {"Host": "["}),
        (421, "GET", "/healthz", None, {"Host": "evil.example:7373"}),
        (421, "GET", "/api/v1/run", None, {"Host": "evil.example"}),
        (415, "POST", "/api/v1/faults", BLACKOUT, {"Content-Type": "text/plain"}),
        (413, "POST", "/api/v1/faults", b'"' + b"x" * 20_000 + b'"', {}),
        (
            415,
            "POST",
            "/api/v1/run/stop",
            b"a=b",
            {"Content-Type": "application/x-www-form-urlencoded"},
        ),
        (
            415,
            "POST",
            "/api/v1/faults",
            gzip.compress(b" " * 9_999_999),
            {"Content-Encoding": "gzip"},
        ),
        (415, "POST", "/api/v1/faults", b"no gzip", {"Content-Encoding": "gzip"}),
        (422, "POST", "/api/v1/faults", b"{", {}),
        (422, "POST", "/api/v1/faults", b"\xff\xfe\xff", {}),
        (422, "POST", "/api/v1/faults", b"{}", {"Content-Type": "application/json; charset=no"}),
        (422, "POST", "/api/v1/faults", b"[" * 16_000, {}),
        (422, "POST", "/api/v1/faults", b'{"type": "blackout", "target": "bs-0,\\ud800"}', {}),
        (422, "POST", "/api/v1/faults", {"type": "delay", "target": "bs-0", "delay_s": 1e308}, {}),
        (422, "POST", "/api/v1/faults", [1], {}),
        (422, "POST", "/api/v1/faults", b'{"type": "loss", "target": "bs-0", "p": NaN}', {}),
        (422, "POST", "/api/v1/faults", {"type": "blackout", "target": "bs-9"}, {}),
        (422, "POST", "/api/v1/faults", {**BLACKOUT, "value": None}, {}),
        (422, "POST", "/api/v1/faults", {"type": ["blackout"], "target": "bs-0"}, {}),
        (404, "POST", "/api/v1/run/explode", {}, {}),
        (405, "PUT", "/api/v1/faults", {}, {}),
        (409, "POST", "/api/v1/run/resume", {}, {}),
        # Overlooked, each of these would do more than what was asked.
        (422, "DELETE", "/api/v1/faults?id=3", None, {}),
        (422, "DELETE", "/api/v1/faults", {"id": 3}, {}),
        (422, "DELETE", "/api/v1/faults/3?dry_run=true", None, {}),
        (422, "PATCH", "/api/v1/faults/3?dry_run=true", {"p": 0.5}, {}),
        (422, "POST", "/api/v1/faults?dryrun=true", BLACKOUT, {}),
        (422, "POST", "/api/v1/faults?token=x", BLACKOUT, {}),
        (422, "POST", "/api/v1/run/stop?at_s=90", {}, {}),
        (422, "DELETE", "/api/v1/faults?%ff=1", None, {}),
        (422, "DELETE", "/api/v1/faults?%ed%a0%80=1", None, {}),
    ],
)
def test_what_must_not_pass_is_refused_with_a_reason(
    running: Running, status: int, method: str, path: str, body: object, headers: dict[str, str]
) -> None:
    answers: list[Answer] = []

    def is_judged() -> bool:  # the cases are more than the service lets pass in a second
        answers.append(running.ask(method, path, body, headers))
        return answers[-1].status != 429

    wait_until(is_judged)
    answer = answers[-1]
    assert answer.status == status
    assert answer.body["error"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_is_served_but_what_is_listed(running: Running, path: str) -> None:
    answer = running.ask("GET", path)

    assert answer.status == 404
    assert answer.body == {"error": "Not Found"}


def test_every_file_that_is_served_is_ours(running: Running) -> None:
    for path, (name, kind) in PAGES.items():
        answer = running.ask("GET", path)
        assert (answer.status, answer.body) == (200, (STATIC / name).read_bytes())
        assert answer.headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", f"{V1}/run", f"{V1}/stream", "/no"])
def test_every_answer_forbids_scripts_of_others_and_guessing(running: Running, path: str) -> None:
    connection = http.client.HTTPConnection(running.address, timeout=PATIENCE_S)
    connection.request("GET", path)
    headers = connection.getresponse().headers
    connection.close()

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_request_without_a_host_is_refused(running: Running) -> None:
    host, _, port = running.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
        raw.sendall(b"GET /api/v1/run HTTP/1.0\r\n\r\n")
        assert b" 421 " in raw.recv(64)


def test_a_flood_is_slowed_down(tmp_path: Path) -> None:
    flooded = Running(tmp_path)
    try:
        statuses = [flooded.ask("DELETE", "/api/v1/faults/999").status for _ in range(60)]
    finally:
        flooded.end()

    assert statuses[:20] == [404] * 20
    assert 429 in statuses
    assert not (tmp_path / "control.json").exists()


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    secured = Running(tmp_path, token="secret")
    try:
        run_path = "/api/v1/run"
        assert secured.ask("GET", run_path).status == 401
        for wrong in ("Bearer secreT", "Bearer", "secret2", "Bearer \xff", ""):
            assert secured.ask("GET", run_path, headers={"Authorization": wrong}).status == 401
        assert secured.ask("GET", run_path + "?token=secret").status == 401  # would be logged
        assert secured.ask("GET", "/?token=secre").status == 401
        right = {"Authorization": "Bearer secret"}
        assert secured.ask("GET", run_path, headers=right).status == 200
        assert secured.ask("GET", "/metrics").status == 401
        assert secured.ask("GET", "/healthz").status == 200
        welcome = secured.ask("GET", "/?token=secret")
        assert (welcome.status, welcome.headers["Location"]) == (303, "/")
        cookie = welcome.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/" in cookie
        given = {"Cookie": cookie.partition(";")[0]}
        assert secured.ask("GET", "/", headers=given).status == 200
        forged = given | {"Origin": "http://evil.example"}
        assert secured.ask("POST", f"{V1}/run/stop", {}, forged).status == 403
    finally:
        secured.end()


def test_the_token_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRESCO_TOKEN", raising=False)
    monkeypatch.delenv("FRESCO_TOKEN_FILE", raising=False)
    assert token() is None

    file = tmp_path / "token"
    monkeypatch.setenv("FRESCO_TOKEN_FILE", str(file))
    with pytest.raises(ValueError, match=f"{file}: No such file"):
        token()
    file.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        token()
    with pytest.raises(Unanswered, match="empty"):  # not: asked without one
        Client("http://127.0.0.1:1").request("GET", "run")
    file.write_text("of a file\n")
    assert token() == "of a file"
    monkeypatch.setenv("FRESCO_TOKEN", "given")
    assert token() == "given"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
@pytest.mark.parametrize("token", [None, ""])
def test_other_addresses_need_a_token(tmp_path: Path, host: str, token: str | None) -> None:
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)

    with pytest.raises(ValueError, match="set FRESCO_TOKEN"):
        Service(planned, Steering(planned), tmp_path, host=host, token=token)


def test_a_viewer_that_reads_nothing_delays_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    before = set(threading.enumerate())
    service = Service(planned, Steering(planned), tmp_path, port=0)
    service.start()
    address = service.url.removeprefix("http://")
    host, _, port = address.partition(":")
    stalled = [socket.create_connection((host, int(port))) for _ in range(3)]
    for each in stalled:
        each.sendall(f"GET {V1}/stream HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        assert each.recv(64)  # it streams; from here on nobody reads
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    connection.request("GET", f"{V1}/stream")
    stream = connection.getresponse()

    # Frames of a megabyte: far more than all buffers on the way hold.
    for number in range(40):
        service.feed.frame = json.dumps([number, "x" * 1_000_000]).encode()
        service.feed.publish(service.feed.frame)
        while not (line := stream.readline()).startswith(b"data: [%d," % number):
            assert line, "the stream ended"

    health = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    health.request("GET", "/healthz")
    assert health.getresponse().status == 200
    service.stop()
    left = set(threading.enumerate()) - before
    assert not any(thread.name == "control" for thread in left)
    gc.collect()
    assert caplog.messages == []  # asyncio logs tasks that are left behind
    for each in (*stalled, connection, health):
        each.close()


def test_a_run_takes_every_step_while_viewers_read_nothing(tmp_path: Path) -> None:
    watched = Running(tmp_path, {"duration_s": 2.0})
    host, _, port = watched.address.partition(":")
    stalled = [socket.create_connection((host, int(port))) for _ in range(3)]
    for each in stalled:
        each.sendall(f"GET {V1}/stream HTTP/1.1\r\nHost: {watched.address}\r\n\r\n".encode())
    pushed = 0
    while watched.thread.is_alive():  # megabytes that nobody takes
        watched.service.feed.frame = b"x" * 1_000_000
        watched.service.feed.publish(watched.service.feed.frame)
        pushed += 1
        watched.thread.join(0.02)
    watched.end()
    for each in stalled:
        each.close()

    assert pushed > 5
    instants = [frame.now_s for frame in journal.read_frames(tmp_path)]
    assert instants == list(sample_times(2.0, 0.05))
    assert json.loads((tmp_path / "summary.json").read_text())["verdict"] == "good"


def test_viewers_are_not_without_number(tmp_path: Path) -> None:
    planned = plan(Scenario.model_validate(SPEC), stopwatch=False)
    service = Service(planned, Steering(planned), tmp_path, port=0)
    service.start()
    viewers, statuses = [], []
    for _ in range(VIEWERS_MAX + 1):
        address = service.url.removeprefix("http://")
        viewers.append(http.client.HTTPConnection(address, timeout=PATIENCE_S))
        viewers[-1].request("GET", f"{V1}/stream")
        statuses.append(viewers[-1].getresponse().status)
    for viewer in viewers:
        viewer.close()
    service.stop()

    assert statuses == [200] * VIEWERS_MAX + [503]
