"""Starts the hosts of a run: one Ray actor each, side by side on the machines of the cluster.

A host that does not come up, and the machine that it should have come up on, are named.
"""

import time
from typing import Any

from msgspec import Struct

from agents.api import NodeId
from emulator.build.plan import Plan
from emulator.runtime.connect import Machine, RunError, machines, probe, why_silent
from emulator.scenario.schema import Device, Scenario
from emulator.scenario.topology import members

POLL_S = 0.1  # wall; an interrupt waits no longer
ONE_EACH_MAX = 16  # nodes; up to here every node is an actor of its own, above they are packed
ASK_EVERY_S = 5.0  # wall; without a further host, the machines waited for are asked so often
NAMES_MAX = 4  # hosts that a line names


class StartWatch:
    """Is told how a start goes: a subclass takes what it wants to know."""

    def waits(self, what: str) -> None:
        """What the start waits for, in words; again and again."""

    def ready(self, hosts: int, of: int) -> None:
        """How many hosts of how many are ready."""

    def started(self, carriers: "list[Carrier]") -> None:
        """Once: what runs where."""


class Carrier(Struct, frozen=True):
    """One host: its nodes, its process, and the Ray node and machine that it runs on."""

    name: str
    nodes: list[NodeId]
    pid: int
    ray_node: str
    machine: str = ""
    address: str = ""


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


class Hosts:
    """The actors of one run, on which machines they are, and what is known of them."""

    def __init__(self, plan: Plan) -> None:
        import ray

        from emulator.runtime.host import Host

        chosen, self.left_out = machines()
        self._plan = plan
        cpu_count = int(sum(machine.cpus for machine in chosen))
        shares = deal(plan.names, plan.scenario.runtime.hosts, cpu_count)
        networks = networks_of(plan.scenario)
        self._loads: dict[str, list[str]] = {
            host: sorted({name for node in nodes for name in networks.get(node, ())})
            for host, nodes in shares.items()
        }
        # Who loads a network takes three times as long to come up: first, and on all machines.
        self.shares = dict(sorted(shares.items(), key=lambda share: not self._loads[share[0]]))
        self.machine_of: dict[str, Machine] = {
            host: chosen[number % len(chosen)] for number, host in enumerate(self.shares)
        }
        self.actors: dict[str, Any] = {}
        self.carriers: dict[str, Carrier] = {}
        actor: dict[str, Any] = {
            "num_cpus": 0,
            "max_restarts": 0,
            "enable_task_events": False,
            "concurrency_groups": {"mail": 1, "ctl": 2},
        }
        self._actor_class = ray.remote(**actor)(Host)

    def start(self, watch: StartWatch) -> None:
        """Makes all hosts side by side; RunError where one does not come up."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        shares = self.shares
        host_of = {node: host for host, nodes in shares.items() for node in nodes}
        watch.ready(0, len(shares))
        watch.waits(self._progress())
        reference = ray.put(self._plan)
        for host, nodes in shares.items():
            where = NodeAffinitySchedulingStrategy(self.machine_of[host].id, soft=False)
            options = self._actor_class.options(scheduling_strategy=where)
            self.actors[host] = options.remote(host, reference, nodes, host_of)
        waiting = {actor.prepare.remote(): host for host, actor in self.actors.items()}
        came_s = asked_s = time.monotonic()
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
            for call in ready:
                host = waiting.pop(call)
                try:
                    pid, ray_node = ray.get(call)
                except ray.exceptions.RayError as error:
                    raise RunError(
                        f"host {host} did not start: {self.cause(host, error)}"
                    ) from None
                machine = self.machine_of[host]
                place = (machine.name, machine.address)
                self.carriers[host] = Carrier(host, shares[host], pid, ray_node, *place)
                watch.ready(len(self.carriers), len(shares))
                watch.waits(self._progress())
                came_s = asked_s = time.monotonic()
            now_s = time.monotonic()
            if now_s > asked_s + ASK_EVERY_S:
                asked_s = now_s
                self._check_machines(list(waiting.values()), now_s - came_s)

    def _progress(self) -> str:
        ready, of = len(self.carriers), len(self.shares)
        text = f"starting hosts: {ready}/{of}"
        missing = [
            f"{host} (loads {', '.join(loads)})" if (loads := self._loads.get(host)) else host
            for host in self.shares
            if host not in self.carriers
        ]
        if ready and missing:
            text += f", to come: {some(missing)}"
        if self.left_out:
            text += f"; left out: {'; '.join(self.left_out)}"
        return text

    def _check_machines(self, hosts: list[str], waited_s: float) -> None:
        """RunError where a machine is gone that hosts are to start on, or all took too long."""
        limit_s = self._plan.scenario.runtime.start_max_s
        silent: list[str] = []
        for machine in dict.fromkeys(self.machine_of[host] for host in hosts):
            try:
                probe(machine.raylet)
            except TimeoutError:
                silent.append(f"{machine} is silent")
            except OSError as error:
                mine = [host for host in hosts if self.machine_of[host] is machine]
                raise RunError(
                    f"{machine} is gone, on which {some(mine)} were starting: {error}"
                ) from None
        if waited_s > limit_s:
            where = "; ".join(silent) or some(sorted({str(self.machine_of[h]) for h in hosts}))
            raise RunError(
                f"{len(hosts)} of {len(self.shares)} hosts did not start: for {waited_s:.0f} s "
                f"none came up (runtime.start_max_s = {limit_s:g})\n"
                f"  - waiting for {some(hosts)}: {where}\n"
                "  - fewer hosts start faster: runtime.hosts packs nodes together"
            )

    def disband(self) -> None:
        import ray

        for actor in self.actors.values():
            ray.kill(actor)

    def cause(self, host: str, error: Exception) -> str:
        """Says what became of a host, as far as can be seen from here."""
        import ray

        machine = self.machine_of[host]
        if isinstance(error, ray.exceptions.RayTaskError):
            return f"its code failed on {machine}:\n{error.cause}"
        if why := why_silent(machine.raylet):
            return f"{machine} is gone ({why})"
        carrier = self.carriers.get(host)
        process = "its process" if carrier is None else f"its process (pid {carrier.pid})"
        return f"{process} on {machine} ended unexpectedly ({type(error).__name__})"


def networks_of(scenario: Scenario) -> dict[NodeId, tuple[str, ...]]:
    """Names the networks that each node runs, where it runs any."""
    devices: list[tuple[NodeId, Device]] = [*members(scenario.servers)]
    devices += [(name, user.cpu) for name, user in members(scenario.users) if user.cpu]
    return {
        name: (device.accelerator.model, *device.accelerator.students)
        for name, device in devices
        if device.accelerator.kind == "live"
    }


def some(hosts: list[str]) -> str:
    """Names a few hosts, and says how many more there are."""
    more = len(hosts) - NAMES_MAX
    return ", ".join(hosts[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
