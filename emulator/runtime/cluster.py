"""The Ray runtime: hosts as actors, on an embedded cluster or on one that is already running.

The driver makes the hosts, starts them at one instant, and then only fetches reports: no message
between nodes passes through it. A host that dies or falls silent ends the run with its name; what
it reported before stays.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from agents.api import NodeId
from emulator import interrupts
from emulator.faults.timeline import Order
from emulator.record import journal
from emulator.record.journal import HostLost, Record
from emulator.runtime.loop import Step
from emulator.runtime.run import RunError
from emulator.runtime.steering import Steering
from emulator.surroundings.pace import Lateness, Pace
from emulator.world.plan import Plan

ONE_EACH_MAX = 16  # nodes; up to here every node is an actor of its own, above they are packed
FETCH_S = 0.25  # wall; between two fetches of the reports
SILENCE_MAX_S = 15.0  # wall; a host that answers nothing for so long is counted as dead
ORDER_LEAD_S = 0.05  # wall; from an order to the instant it holds from, the same on all hosts
ACK_MAX_S = 2.0  # wall; a host that does not say by then that it obeyed is reported
LEAD_S = 0.3  # wall; from the order to start until emulated time zero
OBJECT_STORE_BYTES = 100 * 1024 * 1024  # hosts exchange small messages, nothing goes through it

Ready = Callable[[int, int], None]
"""Is told how many hosts of how many are ready."""
Started = Callable[[list["Carrier"]], None]
"""Is told, once, what runs where."""


class Carrier(Struct, frozen=True):
    """One host: its nodes, its process and the Ray node that it runs on."""

    name: str
    nodes: list[NodeId]
    pid: int
    ray_node: str


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Connects to the cluster at `address` (`auto`: the one on this machine), or starts one.

    RunError where that fails. An embedded cluster listens on loopback, and wants a token that only
    its own processes know.
    """
    environment = os.environ
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    environment.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers import this package from where the driver did, installed or not.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))
    if address is None:
        environment["RAY_AUTH_MODE"] = "token"
        # One token per process: Ray keeps the first it saw, another would fail.
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    else:
        environment.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        how |= {"address": "local", "include_dashboard": False}
        how |= {"object_store_memory": OBJECT_STORE_BYTES, "_node_ip_address": "127.0.0.1"}
    else:
        how["address"] = address
    aside = interrupts.Aside()

    def connect() -> None:
        # Of SIGINT Ray keeps its processes itself, and with SIGTERM it ends them.
        with interrupts.kept_from_children(signal.SIGHUP):
            ray.init(**how)

    try:
        aside.call(connect)
    except Exception as error:
        where = "start Ray here" if address is None else f"reach a Ray cluster at {address}"
        raise RunError(
            f"could not {where}: {str(error).strip().splitlines()[0]}\n"
            "  - is it running? `ray status` asks it\n"
            "  - does it want a token? set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as it has them,\n"
            "    or RAY_AUTH_MODE=disabled where it was started without\n"
            "  - the same Ray and Python everywhere? `fresco doctor` tells"
        ) from error
    try:
        yield
    finally:
        aside.call(ray.shutdown)


def deal(names: list[NodeId], host_count: int | None, cpu_count: int) -> dict[str, list[NodeId]]:
    """Says which host carries which nodes.

    By default one node each up to `ONE_EACH_MAX` nodes, and as many hosts as processors above:
    a host costs 0.5 s of CPU to start and 0.6 % of a core to keep, a message between hosts a
    hundred times one inside. Packed nodes are dealt in turn, so that every kind is spread.
    """
    if host_count is None:
        host_count = len(names) if len(names) <= ONE_EACH_MAX else max(1, cpu_count)
    if host_count >= len(names):
        return {name: [name] for name in names}
    return {f"host-{number}": names[number::host_count] for number in range(host_count)}


def play(
    plan: Plan,
    address: str | None,
    on_ready: Ready,
    on_started: Started,
    steering: Steering | None = None,
) -> Iterator[Step]:
    """Runs the whole scenario on Ray, in scaled real time; `steering` lets people change it."""
    with ray_cluster(address):
        fleet = _Fleet(plan, on_ready)
        on_started(list(fleet.carriers.values()))
        try:
            yield from fleet.steps(steering or Steering(plan))
        finally:
            fleet.disband()


class _Fleet:
    """All hosts of one run."""

    def __init__(self, plan: Plan, on_ready: Ready) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from emulator.runtime.host import Host, unpack

        self._plan = plan
        self._ray = ray
        self._unpack = unpack
        self._lateness: dict[str, list[int]] = {}
        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = [machine for machine in known if machine["Alive"]]
        machines = sorted(machine["NodeID"] for machine in alive)
        cpu_count = int(sum(machine["Resources"].get("CPU", 0) for machine in alive))
        runtime = plan.scenario.runtime
        shares = deal(plan.names, runtime.hosts, cpu_count)
        host_of = {node: host for host, nodes in shares.items() for node in nodes}
        actor: dict[str, Any] = {
            "num_cpus": 0,
            "max_restarts": 0,
            "enable_task_events": False,
            "concurrency_groups": {"mail": 1, "ctl": 2},
        }
        actor_class = ray.remote(**actor)(Host)
        on_ready(0, len(shares))
        reference = ray.put(plan)
        self.actors: dict[str, Any] = {}
        for number, (host, nodes) in enumerate(shares.items()):
            machine = machines[number % len(machines)]
            options = actor_class.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(machine, soft=False)
            )
            self.actors[host] = options.remote(host, reference, nodes, host_of)
        waiting = {actor.prepare.remote(): host for host, actor in self.actors.items()}
        self.carriers: dict[str, Carrier] = {}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            host = waiting.pop(ready[0])
            pid, ray_node = ray.get(ready[0])
            self.carriers[host] = Carrier(host, shares[host], pid, ray_node)
            on_ready(len(self.carriers), len(shares))

    def steps(self, steering: Steering) -> Iterator[Step]:
        """Starts emulated time, fetches reports until it ends, and takes stock."""
        ray, scenario = self._ray, self._plan.scenario
        epoch_s = time.time() + LEAD_S
        ray.get([actor.begin.remote(self.actors, epoch_s) for actor in self.actors.values()])
        pace = Pace(scenario.runtime.time_scale, scenario.runtime.tick_s, scenario.duration_s)
        pace.begin(epoch_s)
        steering.begin()
        while (left_s := pace.wall_s(pace.end_s - pace.now_s())) > 0.0:
            fetch_s = time.monotonic() + min(FETCH_S, left_s)
            while (idle_s := fetch_s - time.monotonic()) > 0.0:
                steering.turn(pace, idle_s, ORDER_LEAD_S, self._send)
            yield self._gather("report")
        ray.get([actor.halt.remote() for actor in self.actors.values()])
        self._settle()
        yield self._gather("stock")

    def _send(self, orders: list[Order]) -> tuple[int, int]:
        """Has all hosts obey; returns how many of how many said within `ACK_MAX_S` that they do."""
        calls = [actor.steer.remote(orders) for actor in self.actors.values()]
        done, _ = self._ray.wait(calls, num_returns=len(calls), timeout=ACK_MAX_S)
        return sum(map(self._obeyed, done)), len(calls)

    def _obeyed(self, call: Any) -> bool:
        try:
            self._ray.get(call)
        except self._ray.exceptions.RayError:
            return False  # the next fetch of its report says that the host is lost
        return True

    def disband(self) -> None:
        for actor in self.actors.values():
            self._ray.kill(actor)

    def _settle(self) -> None:
        """Lets mail that was on its way arrive; what it causes before the end may send more."""
        expected = dict.fromkeys(self.actors, 0)
        for _ in range(100):
            calls = {h: actor.settle.remote(expected[h]) for h, actor in self.actors.items()}
            sent = dict(zip(calls, self._ray.get(list(calls.values())), strict=True))
            arriving = {
                host: sum(mail.get(host, 0) for mail in sent.values()) for host in self.actors
            }
            if arriving == expected:
                return
            expected = arriving

    def _gather(self, method: str) -> Step:
        """Fetches from every host, and names those that did not answer."""
        ray = self._ray
        calls = {getattr(actor, method).remote(): host for host, actor in self.actors.items()}
        ready, silent = ray.wait(list(calls), num_returns=len(calls), timeout=SILENCE_MAX_S)
        records: list[Record] = []
        times_s: list[float] = []
        lost: dict[str, str] = {
            calls[call]: f"no sign of life for {SILENCE_MAX_S:g} s" for call in silent
        }
        for call in ready:
            host = calls[call]
            try:
                report = self._unpack(ray.get(call))
            except ray.exceptions.RayError as error:
                lost[host] = self._cause(host, error)
                continue
            for packed in report.frames:
                frame = journal.decode(packed)
                records += frame.records
                times_s.append(frame.now_s)
            self._lateness[host] = report.lateness
            if report.crash:
                lost[host] = f"its code failed:\n{report.crash}"
        now_s = max(times_s, default=0.0)
        for host, cause in lost.items():
            records.append(HostLost(now_s, host, self.carriers[host].nodes, cause))
        lateness = Lateness()
        for counts in self._lateness.values():
            lateness.merge(counts)
        return Step(now_s, records, lateness)

    def _cause(self, host: str, error: Exception) -> str:
        pid = self.carriers[host].pid
        return f"its process (pid {pid}) ended unexpectedly ({type(error).__name__})"
