"""Hosts that die or fall silent at every call, with actors and a Ray that are made up.

What real processes do is in `test_lost_machines.py`; here every call of a run can be hit, which
nobody could time from outside.
"""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import ray
from conftest import distribution, scenario, server_group

from emulator.build.plan import Plan
from emulator.build.planning import plan
from emulator.results import journal
from emulator.results.journal import Frame, HostLost
from emulator.runtime import cluster, muster
from emulator.runtime.connect import Machine, RunError
from emulator.runtime.host import Report
from emulator.runtime.loop import Step
from emulator.runtime.muster import Hosts, StartWatch, some
from emulator.runtime.session import Session
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.sim.clock import BUCKETS_S

COUNTS = [0] * (len(BUCKETS_S) + 1)
MACHINES = [
    Machine(f"{n:056x}", f"box-{n}", f"10.0.0.{n}", f"10.0.0.{n}:7000", 1.0) for n in (1, 2)
]
CALLS = ("begin", "report", "halt", "settle", "stock")
BLACKOUT = {"type": "blackout", "target": "bs-0", "for_s": 5.0}


class Call:
    """A call of an actor's method: answered, broken or never answered (until `wakes`)."""

    def __init__(self, answer: object, wakes: threading.Event | None = None) -> None:
        self.answer, self.wakes = answer, wakes


class Actor:
    """Answers as a host would; `fault` says what its method `at` does instead."""

    def __init__(self, fault: str = "", at: str = "") -> None:
        self._fault, self._at = fault, at
        self.awake = threading.Event()
        self.orders: list[Any] = []

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._call(method, arguments))

    def _call(self, method: str, arguments: tuple[Any, ...]) -> Call:
        if method == "steer":
            self.orders += arguments[0]
        answer: object = {"settle": {}, "steer": None}.get(method)
        if method in ("report", "stock"):
            answer = Report([journal.encode(Frame(0.0, []))], COUNTS, "")
        hit = self._fault and method in (self._at, "steer")
        if hit and self._fault == "dies":
            answer = ray.exceptions.ActorDiedError()
        return Call(answer, self.awake if hit and self._fault == "is silent" else None)


def wait(calls: list[Call], num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
    end_s = time.monotonic() + timeout
    while True:
        ready = [each for each in calls if each.wakes is None or each.wakes.is_set()]
        if len(ready) >= num_returns or time.monotonic() > end_s:
            return ready, [each for each in calls if each not in ready]
        time.sleep(0.005)


def get(call: Call) -> object:
    if isinstance(call.answer, Exception):
        raise call.answer
    return call.answer


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"POLL_S": 0.02, "SILENT_S": 0.1, "STOP_MAX_S": 0.3, "SILENCE_MAX_S": 0.5}
    for name, value in (short | {"LEAD_S": 0.0, "ACK_MAX_S": 0.1}).items():
        monkeypatch.setattr(cluster, name, value)
    monkeypatch.setattr(muster, "why_silent", lambda address: "")
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)


def small(duration_s: float = 0.4) -> Scenario:
    spec = scenario(
        duration_s=duration_s,
        servers=[server_group(distribution("deterministic", 0.01))],
        runtime={"kind": "ray", "start_max_s": 0.3},
    )
    return Scenario.model_validate(spec)


def fleet(
    chosen: Plan, actors: list[Actor], steering: Steering, say: Callable[[str], object] = len
) -> Any:
    hosts = Hosts.__new__(Hosts)
    names = ["user-0", "bs-0"]
    hosts.shares = {name: [name] for name in names}
    hosts.machine_of = dict(zip(names, MACHINES, strict=True))
    hosts.actors = dict(zip(names, actors, strict=True))
    hosts.carriers = {}
    made = cluster._Fleet(hosts, chosen, steering, say)
    made._unpack = lambda packed: packed
    return made


def played(fault: str = "", at: str = "") -> dict[str, Any]:
    def on_two_hosts(chosen: Plan, _: None, steering: Steering, __: None) -> Iterator[Step]:
        yield from fleet(chosen, [Actor(), Actor(fault, at)], steering).steps()

    with patch.object(cluster, "play", on_two_hosts):
        return Session(small()).run()


def test_hosts_that_are_well_end_well() -> None:
    assert played()["causes"] == []


@pytest.mark.parametrize("at", CALLS)
@pytest.mark.parametrize("fault", ["dies", "is silent"])
def test_a_host_lost_at_any_call_ends_the_run_with_its_machine_and_address(
    fault: str, at: str
) -> None:
    summary = played(fault, at)

    assert summary["verdict"] == "broken"
    (cause,) = summary["causes"]
    assert cause.startswith("host bs-0 with bs-0 died at")
    assert "machine box-2 (10.0.0.2)" in cause
    assert ("ended unexpectedly" if fault == "dies" else "no sign of life for") in cause


def test_a_machine_that_is_gone_is_told_apart_from_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(muster, "why_silent", lambda address: "Connection refused")

    (cause,) = played("dies", "report")["causes"]

    assert "machine box-2 (10.0.0.2) is gone (Connection refused)" in cause


class Driven:
    """A run in a thread, as far as a loss."""

    def __init__(self, actor: Actor) -> None:
        chosen = plan(small(duration_s=1000.0), stopwatch=False)
        self.steering, self.said = Steering(chosen), list[str]()
        self.taken: list[Step] = []
        self._fleet = fleet(chosen, [Actor(), actor], self.steering, self.said.append)
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()
        self.until(lambda: bool(self.steering.waits_for))

    def _take(self) -> None:
        for step in self._fleet.steps():
            self.taken.append(step)
            if any(isinstance(record, HostLost) for record in step.records):
                return

    def until(self, holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 20.0
        while not holds():
            assert time.monotonic() < end_s
            time.sleep(0.005)


def test_orders_wait_for_a_silent_host_and_hold_everywhere_once_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "SILENCE_MAX_S", 60.0)
    silent = Actor("is silent", "report")
    driven = Driven(silent)

    _, waiting, _ = driven.steering.inject(BLACKOUT, "test")

    assert driven.steering.waits_for.startswith("bs-0 (silent ")
    assert not waiting.done()
    assert silent.orders == []
    silent.awake.set()
    applied = waiting.result(timeout=20.0)
    assert (applied.hosts, applied.of) == (2, 2)
    assert [order.at_s for order in silent.orders] == [applied.at_s]
    assert any(text.startswith("waiting for bs-0 (silent ") for text in driven.said)
    driven.steering.stop("the test is over").result(timeout=20.0)
    driven.thread.join(20.0)
    assert not driven.thread.is_alive()
    assert not driven.steering.waits_for


def test_a_stop_does_not_wait_for_a_silent_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SILENCE_MAX_S", 60.0)
    driven = Driven(Actor("is silent", "report"))
    _, begun, _ = driven.steering.inject(BLACKOUT, "test")

    applied = driven.steering.stop("stopped by hand").result(timeout=20.0)

    driven.thread.join(20.0)
    assert not driven.thread.is_alive()
    assert (applied.hosts, applied.of) == (1, 2)
    assert begun.result(0.0).hosts == 1  # it began and healed at the same instant
    assert driven.steering.stop_reason.startswith("stopped by hand")
    (lost,) = driven.taken[-1].records
    assert isinstance(lost, HostLost)
    assert lost.host == "bs-0"


class Starting(Hosts):
    """Hosts whose actors are made up; the second one does not come up."""

    def __init__(self, chosen: Plan, second: Call) -> None:
        self._plan, self.left_out, self.carriers = chosen, [], {}
        self.shares = {"user-0": ["user-0"], "bs-0": ["bs-0"]}
        self.machine_of = dict(zip(self.shares, MACHINES, strict=True))
        self.actors, self._loads = {}, {"bs-0": ["digits-s"]}
        calls = iter([Call((1, "node-1")), second])

        def make(*arguments: Any) -> Any:
            call = next(calls)
            return SimpleNamespace(prepare=SimpleNamespace(remote=lambda: call))

        options = SimpleNamespace(remote=make)
        self._actor_class = SimpleNamespace(options=lambda **how: options)


@pytest.mark.parametrize(
    ("second", "trouble", "says"),
    [
        (Call(0, threading.Event()), None, r"1 of 2 hosts did not start: for .* none came up"),
        (Call(0, threading.Event()), TimeoutError("no answer"), r"box-2 \(10\.0\.0\.2\) is silent"),
        (
            Call(0, threading.Event()),
            ConnectionRefusedError("refused"),
            r"machine box-2 \(10\.0\.0\.2\) is gone, on which bs-0 were starting: refused",
        ),
        (
            Call(ray.exceptions.ActorDiedError()),
            None,
            r"bs-0 did not start: its process on machine box-2 \(10\.0\.0\.2\) ended",
        ),
    ],
)
def test_a_host_that_does_not_start_is_named_with_its_machine(
    monkeypatch: pytest.MonkeyPatch, second: Call, trouble: Exception | None, says: str
) -> None:
    def probe(address: str) -> None:
        if trouble is not None and address.startswith("10.0.0.2"):
            raise trouble

    monkeypatch.setattr(muster, "probe", probe)
    monkeypatch.setattr(muster, "ASK_EVERY_S", 0.05)
    monkeypatch.setattr(muster, "POLL_S", 0.02)
    monkeypatch.setattr(ray, "put", lambda chosen: chosen)
    said: list[str] = []
    watch = StartWatch()
    watch.waits = said.append  # type: ignore[method-assign]

    with pytest.raises(RunError, match=says):
        Starting(plan(small(), stopwatch=False), second).start(watch)

    if second.wakes is not None:
        assert said[-1] == "starting hosts: 1/2, to come: bs-0 (loads digits-s)"


def test_a_line_names_a_few_hosts() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefg")) == "a, b, c, d and 3 more"
