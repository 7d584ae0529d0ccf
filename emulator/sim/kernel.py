"""One host's event loop: nodes, timers, radio, accelerators and faults over a heap of events.

The kernel knows no clock: `run_until(t)` performs everything due by then, in order of
(time, sequence of scheduling). The in-process runtime calls it with virtual time, a Ray host with
scaled wall time (`pace`); what nodes see is the same.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

from agents.api import ACCELERATOR, CLOCK, JOURNAL, RADIO, Message, Node, Send
from agents.edge_server import EdgeServer
from agents.messages import (
    Abort,
    Body,
    Control,
    Execute,
    NodeId,
    Offload,
    Wake,
    tasks_in,
)
from agents.messages.slots import Burst, Sense, Sensed
from agents.tasks import Task
from agents.todg.server import ScheduledServer
from emulator.faults.fold import AnyFault
from emulator.faults.link_types import Duplicate
from emulator.faults.node_types import WELL
from emulator.faults.orders import Handler, Orders
from emulator.faults.timeline import Order
from emulator.results.journal import Readings, Record
from emulator.results.readings import Read, Readout
from emulator.sim.accelerator import Accelerator
from emulator.sim.clock import Pace
from emulator.sim.crossing import Crossing, Remote
from emulator.sim.network import Flight, Link, Network
from emulator.sim.node_conditions import NodeConditions, Workshop
from emulator.sim.stopwatch import Stopwatch
from emulator.sim.thermal import Heating

CARRIERS = frozenset({Offload, Burst})  # what takes a shared channel to carry tasks


class Kernel:
    """Performs the sends of the nodes on this host; `remote` takes what is for other hosts.

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
        orders: Sequence[Order] = (),
        pace: Pace | None = None,
        remote: Remote | None = None,
        stopwatch: Stopwatch | None = None,
        workshop: Workshop | None = None,
        die: Callable[[], None] | None = None,
    ) -> None:
        self.nodes = dict(nodes)
        self.acting = dict(nodes)  # what answers in each node's place: mostly the node itself
        self.accelerators = dict(accelerators)
        self.records: list[Record] = []
        self._network = network
        self._links = network.links
        self._control = control
        self._readings = readings
        self._stopwatch = stopwatch
        self._conditions = NodeConditions(self, workshop, die)
        self._held: dict[NodeId, Execute] = {}  # a paused server's next batch; it has but one
        self._orders = Orders(self, self._apply)
        self._faulty = self._conditions.faulty
        self._clocks = self._conditions.clocks
        self._first = -(2**62)  # sequence numbers of orders: they precede all else at an instant
        self._pace = pace
        self._seen_s: dict[NodeId, float] = {}  # paced only: a node's time never runs backwards
        self._heap: list[tuple[float, int, Handler, Any]] = []
        self._seq = 0
        self.arrived: deque[Message] = deque()  # what takes no time on its way skips the heap
        self._crossing = Crossing(self, network, control, remote)
        # Bound once: a method is bound anew each time it is named, five times a task otherwise.
        self._cross = self._crossing.cross
        self._deliver_later: Handler = self.deliver
        self._tick_later: Handler = self._tick
        for order in orders:
            self.steer(order)

    def at(self, at_s: float, handler: Handler, payload: Any) -> None:
        """Schedules a call of `handler(payload, at_s)`."""
        self._seq += 1
        heappush(self._heap, (at_s, self._seq, handler, payload))

    def steer(self, order: Order) -> None:
        """Schedules a change of the active faults, ahead of whatever else is due at its instant.

        So a fault that people inject does what the same fault in a scenario does.
        """
        self._orders.take(order)

    @property
    def next_s(self) -> float | None:
        """When the next event is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def warm_up(self) -> None:
        """Loads the networks that accelerators run, so that no task waits for it."""
        for accelerator in self.accelerators.values():
            accelerator.warm_up()

    def start(self, now_s: float = 0.0) -> None:
        for node in self.nodes.values():
            self.perform(node.id, node.start(now_s), now_s)

    def run_until(self, end_s: float) -> None:
        """Performs every event due at or before `end_s`."""
        heap, arrived, pace, deliver = self._heap, self.arrived, self._pace, self.deliver
        pop, next_arrived = heappop, arrived.popleft
        while heap and heap[0][0] <= end_s:
            now_s, _, handler, payload = pop(heap)
            if pace is not None:
                now_s = pace.stamp(now_s)
            handler(payload, now_s)
            while arrived:
                deliver(next_arrived(), now_s)

    def accept(self, arrival: Message | Flight, at_s: float) -> None:
        """Takes in what another host's kernel handed to `remote`."""
        if isinstance(arrival, Message):
            # What passes a base station of this host and ends on it never left it.
            passes = arrival.via in self.nodes
            self.at(at_s, self._crossing.pass_later if passes else self._deliver_later, arrival)
        elif arrival.target in self.nodes:
            self._crossing.enter(arrival)
        else:
            self._crossing.missed(arrival, at_s)

    def take_records(self, now_s: float) -> list[Record]:
        """Hands over what was recorded since the last call, with counts and server states."""
        self.records += self._network.take_counts(now_s)
        if self._control is not None:
            self.records += self._control.take_counts(now_s)
        kinds = EdgeServer | ScheduledServer
        self.records += (n.report(now_s) for n in self.nodes.values() if isinstance(n, kinds))
        if self._readings is not None and (values := self._readings.total(now_s)):
            self.records.append(Readings(now_s, next(iter(self.nodes)), values))
        if self._stopwatch is not None:
            self.records += self._stopwatch.take(now_s, next(iter(self.nodes)))
        records, self.records = self.records, []
        return records

    def tasks(self) -> Iterator[Task]:
        """Names every task that is in flight here: held by a node, on the air, in service."""
        for node in self.nodes.values():
            yield from node.tasks()
        for batch in self._held.values():
            yield from batch.tasks
        for _, _, _, payload in self._heap:
            match payload:
                case Message(body=body) | Flight(body=body):
                    yield from tasks_in(body)
                case (Link(), Message(body=body), int()):
                    yield from tasks_in(body)

    # For the faults of nodes

    def clear(self, name: NodeId, now_s: float) -> list[Task]:
        """Takes its timers and its batch in service from a node; returns all tasks it held."""
        tasks = list(self.nodes[name].tasks())
        if name in self._held:
            tasks += self._held.pop(name).tasks
        kept = []
        for event in self._heap:
            match event[3]:
                case (str() as owner, Wake()) if owner == name:
                    pass
                case Message(source="@accelerator", target=target, body=body) if target == name:
                    tasks += tasks_in(body)
                case _:
                    kept.append(event)
        heapify(kept)
        self._heap[:] = kept  # in place: `run_until` is at it
        self._stop(name, now_s)
        return tasks

    def replace(self, name: NodeId, node: Node, reads: Sequence[Read], now_s: float) -> None:
        """Puts a fresh node in the place of one that lost everything."""
        self.nodes[name] = node
        if self._readings is not None:
            self._readings.put(name, reads, now_s)

    def begin(self, name: NodeId, now_s: float) -> None:
        """Starts a node while time goes on."""
        if self._pace is not None:
            now_s = self._forward(name, now_s)
        self.perform(name, self.acting[name].start(now_s), now_s)

    def tell(self, name: NodeId, source: NodeId, body: Body, now_s: float) -> None:
        """Delivers what a local address has to say."""
        self.deliver(Message(source, name, now_s, body), now_s)

    def deliver(self, message: Message, now_s: float) -> None:
        """Hands a message to its node, twice where the last link copies it."""
        target = message.target
        if self._pace is not None:
            now_s = self._forward(target, now_s)
        self.perform(target, self.acting[target].on_message(message, now_s), now_s)
        if self._crossing.copying:
            last = message.via or message.source
            if self._crossing.is_copied(last, target, message.body, now_s):
                self.perform(target, self.acting[target].on_message(message, now_s), now_s)

    # Nodes' wishes

    def perform(self, source: NodeId, sends: list[Send], now_s: float) -> None:
        links = self._links[source]
        for send in sends:
            target, body = send.target, send.body
            if target[0] == "@":
                if target == CLOCK:
                    due_s = body.at_s  # type: ignore[union-attr]
                    if self._clocks and source in self._clocks:
                        due_s = self._clocks[source].due_s(due_s, now_s)
                    self._seq += 1
                    heappush(self._heap, (due_s, self._seq, self._tick_later, (source, body)))
                elif target == JOURNAL:
                    self.records.append(body)  # type: ignore[arg-type]
                elif target == RADIO:
                    self._sense(source, body, now_s)  # type: ignore[arg-type]
                elif type(body) is Abort:
                    self._abort(source, now_s)
                else:
                    self._execute(source, body, now_s)  # type: ignore[arg-type]
                continue
            via = send.via
            if self._control is not None and isinstance(body, Control):
                link = self._control.link(source, via or target)
            else:
                link = links.get(via or target) or self._network.link(source, via or target)
            if link.shared_channels and type(body) in CARRIERS:
                self._crossing.fly(Flight(source, target, now_s, body, send.grant), now_s)  # type: ignore[arg-type]
            else:
                self._cross(link, Message(source, target, now_s, body, 1, via), now_s)

    # Local addresses

    def _tick(self, timer: tuple[NodeId, Wake], now_s: float) -> None:
        name, wake = timer
        if self._pace is not None:
            now_s = self._forward(name, now_s)
        self.perform(name, self.acting[name].on_tick(wake, now_s), now_s)

    def _execute(self, source: NodeId, batch: Execute, now_s: float) -> None:
        condition = self._faulty.get(source)
        if condition is not None and condition.is_paused:
            self._held[source] = batch
            return
        executed = self.accelerators[source].execute(batch, now_s)
        if condition is not None:
            slower_s = executed.service_s * condition.slowdown(now_s)
            executed = msgspec.structs.replace(executed, service_s=slower_s)
        done = Message(ACCELERATOR, source, now_s, executed)
        self._seq += 1
        heappush(self._heap, (now_s + executed.service_s, self._seq, self._deliver_later, done))

    def _abort(self, source: NodeId, now_s: float) -> None:
        """Takes the batch in service off the accelerator of a node, which answers nothing."""
        if self._held.pop(source, None) is not None:
            return
        heap = self._heap
        for place, (_, _, _, payload) in enumerate(heap):
            if (
                isinstance(payload, Message)
                and payload.source == ACCELERATOR
                and payload.target == source
            ):
                heap[place] = heap[-1]
                heap.pop()
                heapify(heap)
                self._stop(source, now_s)
                return

    def _stop(self, name: NodeId, now_s: float) -> None:
        """Lets a device cool whose batch in service was given up."""
        accelerator = self.accelerators.get(name)
        if isinstance(accelerator, Heating):
            accelerator.stop(now_s)

    def _sense(self, source: NodeId, sense: Sense, now_s: float) -> None:
        rates_bps = self._network.link(source, sense.bs).rates_bps(now_s)
        self.arrived.append(Message(RADIO, source, now_s, Sensed(sense.bs, rates_bps)))

    # Faults and pace

    def precede(self, at_s: float, handler: Handler, payload: object) -> None:
        """Schedules a call ahead of whatever else is due at its instant."""
        self._first += 1
        heappush(self._heap, (at_s, self._first, handler, payload))

    def precedes(self, at_s: float) -> bool:
        """Says whether the next event is one of those, at that instant."""
        return bool(self._heap) and self._heap[0][0] <= at_s and self._heap[0][1] < 0

    def _apply(self, active: list[AnyFault], now_s: float, due_s: float) -> None:
        self._network.apply(active)
        if self._control is not None:
            self._control.apply(active)
        self._crossing.copying = any(isinstance(fault, Duplicate) for fault in active)
        self._conditions.apply(active, now_s, due_s)
        for name in sorted(self._held):
            if not self._faulty.get(name, WELL).is_paused:
                self._execute(name, self._held.pop(name), now_s)

    def _forward(self, node: NodeId, now_s: float) -> float:
        """Keeps a node's time from running backwards when a message comes late from a host."""
        self._seen_s[node] = now_s = max(now_s, self._seen_s.get(node, 0.0))
        return now_s
