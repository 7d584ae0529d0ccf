"""The Ray runtime: hosts as actors, on an embedded cluster or on one that is already running.

The driver makes the hosts, starts them at one instant, and then only fetches reports: no message
between nodes passes through it. A host that dies or falls silent ends the run with its name and
machine; what it reported before stays.
"""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from emulator.build.plan import Plan
from emulator.faults.timeline import Order
from emulator.results import journal
from emulator.results.journal import Frame, HostLost
from emulator.runtime.connect import Say, ray_cluster
from emulator.runtime.loop import Step
from emulator.runtime.muster import Hosts, StartWatch, some
from emulator.runtime.steering import Steering
from emulator.sim.clock import Lateness, Pace

FETCH_S = 0.25  # wall; between two fetches of the reports
SILENCE_MAX_S = 15.0  # wall; a host that answers nothing for so long is counted as dead
ORDER_LEAD_S = 0.05  # wall; from an order to the instant it holds from, the same on all hosts
ACK_MAX_S = 2.0  # wall; a host that does not say by then that it obeyed is reported
POLL_S = 0.25  # wall; who waits for hosts looks so often whether people want the run to stop
SILENT_S = 1.0  # wall; a host that answers nothing for so long is told to people
STOP_MAX_S = 3.0  # wall; who wants the run to stop waits no longer for a silent host
LEAD_S = 0.3  # wall; from the order to start until emulated time zero


def play(
    plan: Plan,
    address: str | None = None,
    steering: Steering | None = None,
    watch: StartWatch | None = None,
) -> Generator[Step, None, None]:
    """Runs the whole scenario on Ray, in scaled real time; `steering` lets people change it.

    RunError where it cannot start.
    """
    steering, watch = steering or Steering(plan), watch or StartWatch()
    with ray_cluster(address, plan.scenario.runtime, watch.waits):
        hosts = Hosts(plan)
        try:
            hosts.start(watch)
            watch.started(list(hosts.carriers.values()))
            yield from _Fleet(hosts, plan, steering, watch.waits).steps()
        finally:
            hosts.disband()


class _Fleet:
    """The hosts of one run, driven from start to end."""

    def __init__(self, hosts: Hosts, plan: Plan, steering: Steering, say: Say) -> None:
        import ray

        from emulator.runtime.host import unpack

        self._ray, self._unpack = ray, unpack
        self._hosts, self._plan = hosts, plan
        self._steering, self._say = steering, say
        self._lateness: dict[str, list[int]] = {}
        self._lost: set[str] = set()

    def steps(self) -> Iterator[Step]:
        """Starts emulated time, fetches reports until it ends, and takes stock."""
        scenario, steering = self._plan.scenario, self._steering
        epoch_s = time.time() + LEAD_S
        _, lost = self._ask("begin", lambda host: (self._hosts.actors, epoch_s))
        if lost:
            yield self._step([], lost)
            return
        pace = Pace(scenario.runtime.time_scale, scenario.runtime.tick_s, scenario.duration_s)
        pace.begin(epoch_s)
        steering.begin()
        while (left_s := pace.wall_s(pace.end_s - pace.now_s())) > 0.0:
            fetch_s = time.monotonic() + min(FETCH_S, left_s)
            while (idle_s := fetch_s - time.monotonic()) > 0.0:
                steering.turn(pace, idle_s, ORDER_LEAD_S, self._send)
            step = self._gather("report")
            if self._lost:  # the run ends here; who asked for something meanwhile gets an answer
                steering.turn(pace, 0.0, ORDER_LEAD_S, self._send)
            yield step
        lost = self._ask("halt")[1] or self._settle()
        yield self._step([], lost) if lost else self._gather("stock")

    def _ask(
        self, method: str, arguments: Callable[[str], tuple[Any, ...]] = lambda host: ()
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Calls a method of every host; returns the answers, and why the others gave none.

        Who is silent may come back, until `SILENCE_MAX_S` are over or people want the run to stop.
        """
        ray = self._ray
        calls = {
            getattr(actor, method).remote(*arguments(host)): host
            for host, actor in self._hosts.actors.items()
        }
        began_s, waiting = time.monotonic(), list(calls)
        answers: dict[str, Any] = {}
        lost: dict[str, str] = {}
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
            for call in ready:
                try:
                    answers[calls[call]] = ray.get(call)
                except ray.exceptions.RayError as error:
                    lost[calls[call]] = self._hosts.cause(calls[call], error)
            silent_s = time.monotonic() - began_s
            if not waiting or silent_s < SILENT_S:
                continue
            silent = [calls[call] for call in waiting]
            waits_for = f"{some(silent)} (silent {silent_s:.0f} s)"
            self._steering.wait_for(waits_for)
            self._say(f"waiting for {waits_for}")
            if silent_s > (STOP_MAX_S if self._steering.wants_stop else SILENCE_MAX_S):
                for host in silent:
                    where = self._hosts.machine_of[host]
                    lost[host] = f"no sign of life for {silent_s:.0f} s; it ran on {where}"
                break
        if self._steering.waits_for:
            self._steering.wait_for("")
        return answers, lost

    def _gather(self, method: str) -> Step:
        """Fetches what every host recorded, and names those that did not answer."""
        answers, lost = self._ask(method)
        frames = []
        for host, packed in answers.items():
            report = self._unpack(packed)
            frames += [journal.decode(frame) for frame in report.frames]
            self._lateness[host] = report.lateness
            if report.crash:
                lost[host] = f"its code failed on {self._hosts.machine_of[host]}:\n{report.crash}"
        return self._step(frames, lost)

    def _step(self, frames: list[Frame], lost: dict[str, str]) -> Step:
        now_s = max((frame.now_s for frame in frames), default=0.0)
        records = [record for frame in frames for record in frame.records]
        for host, cause in lost.items():
            records.append(HostLost(now_s, host, self._hosts.shares[host], cause))
        self._lost |= lost.keys()
        lateness = Lateness()
        for counts in self._lateness.values():
            lateness.merge(counts)
        return Step(now_s, records, lateness)

    def _settle(self) -> dict[str, str]:
        """Lets mail that was on its way arrive; what it causes before the end may send more.

        Returns whom that lost.
        """
        expected = dict.fromkeys(self._hosts.actors, 0)
        for _ in range(100):
            sent, lost = self._ask("settle", lambda host: (expected[host],))  # noqa: B023
            arriving = {h: sum(mail.get(h, 0) for mail in sent.values()) for h in expected}
            if lost or arriving == expected:
                return lost
            expected = arriving
        return {}

    def _send(self, orders: list[Order]) -> tuple[int, int]:
        """Has all hosts obey; returns how many of how many said within `ACK_MAX_S` that they do."""
        calls = {
            actor.steer.remote(orders): host
            for host, actor in self._hosts.actors.items()
            if host not in self._lost
        }
        done, silent = self._ray.wait(list(calls), num_returns=len(calls), timeout=ACK_MAX_S)
        if silent:
            names = some([calls[call] for call in silent])
            self._steering.wait_for(f"{names} (silent {ACK_MAX_S:.0f} s)")
        return sum(map(self._obeyed, done)), len(self._hosts.actors)

    def _obeyed(self, call: Any) -> bool:
        try:
            self._ray.get(call)
        except self._ray.exceptions.RayError:
            return False  # the next fetch of its report says that the host is lost
        return True
