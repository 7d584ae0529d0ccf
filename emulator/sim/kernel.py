"""One host's event loop: its nodes, links, devices and faults over one queue of events.

The kernel knows no clock: `run_until(t)` performs everything due by then. The in-process runtime
calls it with virtual time, a Ray host with scaled wall time (`pace`); what nodes see is the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agents.api import Message, Node
from agents.messages import NodeId, tasks_in
from agents.tasks import Task
from emulator.faults.activation import Activation, FaultOrder
from emulator.faults.node_types import Condition
from emulator.results.journal import Readings, Record
from emulator.results.readings import Readout
from emulator.sim.accelerator import Accelerator
from emulator.sim.air import Flight
from emulator.sim.clock import Pace
from emulator.sim.delivery import Remote
from emulator.sim.events import URGENT, EventQueue
from emulator.sim.network import Link, Network
from emulator.sim.node_conditions import NodeConditions, Workshop
from emulator.sim.performer import Performer
from emulator.sim.stopwatch import Stopwatch


class Kernel:
    """Performs what the nodes on this host want; `remote` takes what is for other hosts.

    `control` holds the links of what protocols negotiate with; absent: the same as the tasks'.
    `readings` are what the nodes tell of themselves, `orders` the faults known before, `stopwatch`
    is what times live inference. `workshop` makes what faults of nodes replace; `die` kills the
    process, where hosts have one of their own.
    """

    def __init__(
        self,
        nodes: Mapping[NodeId, Node],
        network: Network,
        accelerators: Mapping[NodeId, Accelerator],
        control: Network | None = None,
        readings: Readout | None = None,
        orders: Sequence[FaultOrder] = (),
        pace: Pace | None = None,
        remote: Remote | None = None,
        stopwatch: Stopwatch | None = None,
        workshop: Workshop | None = None,
        die: Callable[[], None] | None = None,
    ) -> None:
        faulty: dict[NodeId, Condition] = {}
        self.events = EventQueue()
        self.performer = Performer(
            nodes,
            self.events,
            network,
            control,
            accelerators,
            faulty,
            remote,
            readings,
            keeps_order=pace is not None,
        )
        self._networks = (network,) if control is None else (network, control)
        self._stopwatch = stopwatch
        self._stamp = None if pace is None else pace.stamp
        self._conditions = NodeConditions(self.performer, faulty, self.events, workshop, die)
        self._activation = Activation()
        self._name = next(iter(nodes), "")  # of this host, where it tells of all its nodes
        self._servers = [name for name, node in nodes.items() if node.kind == "server"]
        for order in orders:
            self.steer(order)

    @property
    def nodes(self) -> Mapping[NodeId, Node]:
        return self.performer.nodes

    @property
    def next_s(self) -> float | None:
        return self.events.next_s

    def steer(self, order: FaultOrder) -> None:
        """Schedules a change of the active faults, ahead of whatever else is due at its instant.

        So a fault that people inject does what the same fault in a scenario does.
        """
        self._activation.add(order)
        self.events.at(order.at_s, self._change_faults, order.at_s, URGENT)

    def warm_up(self) -> None:
        self.performer.devices.warm_up()

    def start(self, now_s: float = 0.0) -> None:
        self.performer.start(now_s)

    def run_until(self, end_s: float) -> None:
        self.events.run_until(end_s, self._stamp)

    def accept(self, arrival: Message | Flight, at_s: float) -> None:
        """Takes in what another host's kernel handed to `remote`."""
        self.performer.delivery.accept(arrival, at_s)

    def take_records(self, now_s: float) -> list[Record]:
        """Hands over what was recorded since the last call, with counts and server states."""
        records = self.performer.take_records()
        for network in self._networks:
            records += network.take_counts(now_s)
        nodes: Mapping[NodeId, Any] = self.nodes
        records += (nodes[name].report(now_s) for name in self._servers)
        readings = self.performer.readings
        if readings is not None and (values := readings.total(now_s)):
            records.append(Readings(now_s, self._name, values))
        if self._stopwatch is not None:
            records += self._stopwatch.take(now_s, self._name)
        return records

    def tasks(self) -> Iterator[Task]:
        """Names every task that is in flight here: held by a node, on the air, in service."""
        for node in self.nodes.values():
            yield from node.tasks()
        yield from self.performer.devices.tasks()
        for payload in self.events.payloads():
            match payload:
                case Message(body=body) | Flight(body=body):
                    yield from tasks_in(body)
                case (Link(), Message(body=body), int()):
                    yield from tasks_in(body)

    def _change_faults(self, due_s: float, now_s: float) -> None:
        """Has all that changes at one instant take effect together, so that a fault that follows
        on another leaves no gap in which all is well. `now_s`: a runtime may be late."""
        changes = self._activation.advance(due_s)
        if not changes:
            return
        for change in changes:
            if change.op != "heal" and change.fault.for_s is not None:
                until_s = change.fault.until_s
                self.events.at(until_s, self._change_faults, until_s, URGENT)
        active = list(self._activation.active.values())
        self.performer.delivery.apply(active)
        self._conditions.apply(active, now_s, due_s)
        self.performer.devices.resume(now_s)
