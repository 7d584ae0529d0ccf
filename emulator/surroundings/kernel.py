"""One host's event loop: nodes, timers, radio, accelerators and faults over a heap of events.

The kernel knows no clock: `run_until(t)` performs everything due by then, in order of
(time, sequence of scheduling). The in-process runtime calls it with virtual time, a Ray host with
scaled wall time (`pace`); what nodes see is the same.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec

from agents.api import ACCELERATOR, CLOCK, JOURNAL, RADIO, Message, Node, Send
from agents.bodies import (
    Abort,
    Body,
    Control,
    Execute,
    NodeId,
    Offload,
    Result,
    Undelivered,
    Wake,
    tasks_in,
)
from agents.edge_server import EdgeServer
from agents.scheduled.server import ScheduledServer
from agents.slot_bodies import Burst, Sense, Sensed
from agents.tasks import HEADER_BITS, Task
from emulator.faults.fold import AnyFault
from emulator.faults.links import Duplicate
from emulator.faults.nodes import WELL
from emulator.faults.orders import Handler, Orders
from emulator.faults.timeline import Order
from emulator.record.journal import Readings, Record
from emulator.record.readings import Read, Readout
from emulator.surroundings.inference import Accelerator
from emulator.surroundings.network import Again, Deliver, Flight, Link, Network
from emulator.surroundings.node_conditions import NodeConditions, Workshop
from emulator.surroundings.pace import Pace
from emulator.surroundings.thermal import Heating

ROUNDING_S = 1e-9  # sums of slots and airtimes may miss each other by rounding

TOKENS = (Offload, Result, Burst)  # what carries tasks; all else is a protocol's message
CARRIERS = frozenset({Offload, Burst})  # what takes a shared channel to carry tasks

Remote = Callable[[Message | Flight, float, NodeId], None]
"""Takes what is due at an instant on the host that carries a node."""


class Kernel:
    """Performs the sends of the nodes on this host; `remote` takes what is for other hosts.

    `control` holds the links of what protocols negotiate with; absent: the same as the tasks'.
    `readings` are what the nodes tell of themselves, `orders` the faults known before. `workshop`
    makes what faults of nodes replace; `die` kills the process, where hosts have one of their own.
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
        self._conditions = NodeConditions(self, workshop, die)
        self._copying = False  # whether some link makes copies
        self._held: dict[NodeId, Execute] = {}  # a paused server's next batch; it has but one
        self._orders = Orders(self, self._feel)
        self._ill = self._conditions.ill
        self._clocks = self._conditions.clocks
        self._first = -(2**62)  # sequence numbers of orders: they precede all else at an instant
        self._pace = pace
        self._remote = remote
        self._seen_s: dict[NodeId, float] = {}  # paced only: a node's time never runs backwards
        self._heap: list[tuple[float, int, Handler, Any]] = []
        self._seq = 0
        self._arrived: deque[Message] = deque()  # what takes no time on its way skips the heap
        # Bound once: a method is bound anew each time it is named, five times a task otherwise.
        self._deliver_later: Handler = self._deliver
        self._pass_later: Handler = self._pass
        self._try_later: Handler = self._try
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
        heap, arrived, pace, deliver = self._heap, self._arrived, self._pace, self._deliver
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
            self.at(at_s, self._pass_later if passes else self._deliver_later, arrival)
        elif arrival.target in self.nodes:
            self._enter(arrival)
        else:
            self._missed(arrival, at_s)

    def take_records(self, now_s: float) -> list[Record]:
        """Hands over what was recorded since the last call, with counts and server states."""
        self.records += self._network.take_counts(now_s)
        if self._control is not None:
            self.records += self._control.take_counts(now_s)
        kinds = EdgeServer | ScheduledServer
        self.records += (n.report(now_s) for n in self.nodes.values() if isinstance(n, kinds))
        if self._readings is not None and (values := self._readings.total(now_s)):
            self.records.append(Readings(now_s, next(iter(self.nodes)), values))
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
        self._deliver(Message(source, name, now_s, body), now_s)

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
                self._fly(Flight(source, target, now_s, body, send.grant), now_s)  # type: ignore[arg-type]
            else:
                self._cross(link, Message(source, target, now_s, body, 1, via), now_s)

    def _cross(self, link: Link, message: Message, now_s: float) -> None:
        """Sends a message over a link that nobody else uses: its only one, or one of two."""
        if link.sure_s is None:
            hold_s = 0.0 if isinstance(message.body, TOKENS) else link.hold_s(message.body, now_s)
            if hold_s == 0.0:
                self._load((link, message, 1), now_s)
            elif hold_s < math.inf:
                self.at(now_s + hold_s, self._load, (link, message, 1))
            return
        tally = link.tally
        tally.attempts += 1
        # A check that the body is airborne would cost as much as all else here.
        tally.bits += message.body.size_bits  # type: ignore[union-attr]
        passes = link.target == message.via
        if link.target not in self.nodes:
            self._mail(message, now_s + link.sure_s, link.target)
        elif link.sure_s:
            handler = self._pass_later if passes else self._deliver_later
            self.at(now_s + link.sure_s, handler, message)
        elif passes:
            self._pass(message, now_s)
        else:
            self._arrived.append(message)

    def _load(self, trial: tuple[Link, Message, int], now_s: float) -> None:
        """Gives a message to a link, which may wait for more to make up a packet."""
        link, message, _ = trial
        if link.gather_s is None:
            self._try(trial, now_s)
            return
        link.gathered.append(message)
        if len(link.gathered) == 1:
            self.at(now_s + link.gather_s, self._pack_up, link)

    def _pack_up(self, link: Link, now_s: float) -> None:
        """Sends what was gathered for a link as one packet with one header."""
        messages, link.gathered = link.gathered, []
        self._try_packet((link, messages, 1), now_s)

    def _try_packet(self, trial: tuple[Link, list[Message], int], now_s: float) -> None:
        """Makes one attempt with a packet of control messages: all arrive, or none."""
        link, messages, attempt = trial
        sizes_bits = (message.body.size_bits for message in messages)  # type: ignore[union-attr]
        size_bits = sum(sizes_bits) - HEADER_BITS * (len(messages) - 1)
        verdict = link.judge(size_bits, attempt, now_s)
        if isinstance(verdict, Again):
            self.at(verdict.at_s, self._try_packet, (link, messages, attempt + 1))
        elif isinstance(verdict, Deliver):
            for message in messages:
                if link.target in self.nodes:
                    passes = link.target == message.via
                    self.at(
                        verdict.at_s,
                        self._pass_later if passes else self._deliver_later,
                        message,
                    )
                else:
                    self._mail(message, verdict.at_s, link.target)

    def _pass(self, message: Message, now_s: float) -> None:
        """Takes a message over its second link, past the base station between."""
        via, target = message.via, message.target
        if self._control is not None and isinstance(message.body, Control):
            link = self._control.link(via, target)
        else:
            link = self._links[via].get(target) or self._network.link(via, target)
        self._cross(link, message, now_s)
        if self._copying and self._is_copied(message.source, via, message.body, now_s):
            self._cross(link, message, now_s)

    def _is_copied(self, source: NodeId, target: NodeId, body: Body, now_s: float) -> bool:
        """Says whether what arrived over a link is taken twice.

        A copy of a task is recognised, since a task is a token: it only costs the link an attempt.
        """
        if source[0] == "@":
            return False
        size_bits: float = body.size_bits  # type: ignore[union-attr]
        network = self._network
        if self._control is not None and isinstance(body, Control):
            network = self._control
        is_copied = network.link(source, target).copies(size_bits, now_s)
        return is_copied and not isinstance(body, TOKENS)

    def _mail(self, parcel: Message | Flight, at_s: float, to: NodeId) -> None:
        assert self._remote is not None, f"{to} is on no host"
        self._remote(parcel, at_s, to)

    # Local addresses

    def _tick(self, timer: tuple[NodeId, Wake], now_s: float) -> None:
        name, wake = timer
        if self._pace is not None:
            now_s = self._forward(name, now_s)
        self.perform(name, self.acting[name].on_tick(wake, now_s), now_s)

    def _execute(self, source: NodeId, batch: Execute, now_s: float) -> None:
        condition = self._ill.get(source)
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
        self._arrived.append(Message(RADIO, source, now_s, Sensed(sense.bs, rates_bps)))

    # The network

    def _try(self, trial: tuple[Link, Message, int], now_s: float) -> None:
        """Makes one attempt on a link that nobody else uses."""
        link, message, attempt = trial
        verdict = link.judge(message.body.size_bits, attempt, now_s)  # type: ignore[union-attr]
        if type(verdict) is Deliver:
            if attempt > 1 and link.source == message.source:
                message = msgspec.structs.replace(message, attempts=attempt)
            if link.target not in self.nodes:
                self._mail(message, verdict.at_s, link.target)
            else:
                passes = link.target == message.via
                handler = self._pass_later if passes else self._deliver_later
                self._seq += 1
                heappush(self._heap, (verdict.at_s, self._seq, handler, message))
        elif type(verdict) is Again:
            self.at(verdict.at_s, self._try_later, (link, message, attempt + 1))
        else:
            reason, at_s = verdict.reason, verdict.at_s  # type: ignore[union-attr]
            self._give_back(link, message.body, reason, attempt, at_s)

    def _deliver(self, message: Message, now_s: float) -> None:
        target = message.target
        if self._pace is not None:
            now_s = self._forward(target, now_s)
        self.perform(target, self.acting[target].on_message(message, now_s), now_s)
        if self._copying:
            last = message.via or message.source
            if self._is_copied(last, target, message.body, now_s):
                self.perform(target, self.acting[target].on_message(message, now_s), now_s)

    def _fly(self, flight: Flight, now_s: float) -> None:
        """Makes one attempt on a shared channel: how it ends shows when it lands."""
        link = self._network.link(flight.source, flight.target)
        grant = flight.grant
        flight.channel = link.pick() if grant is None else grant.channel
        verdict = link.judge(flight.body.size_bits, flight.attempt, now_s, flight.channel)
        if grant is not None and verdict.at_s > grant.until_s + ROUNDING_S:
            self._give_back(link, flight.body, "grant-over", flight.attempt, now_s)
            return
        flight.until_s = verdict.at_s
        flight.lost_by = "" if isinstance(verdict, Deliver) else verdict.reason
        if flight.target in self.nodes:
            self._enter(flight)
        else:
            self._mail(flight, now_s, flight.target)

    def _enter(self, flight: Flight) -> None:
        self._network.airs[flight.target].enter(flight)
        self.at(flight.until_s, self._land, flight)

    def _land(self, flight: Flight, now_s: float) -> None:
        self._network.airs[flight.target].leave(flight)
        if not flight.lost_by:
            body, attempt = flight.body, flight.attempt
            message = Message(flight.source, flight.target, flight.sent_s, body, attempt)
            self._deliver(message, now_s)
        elif flight.source in self.nodes:
            self._missed(flight, now_s)
        else:
            self._mail(flight, now_s, flight.source)

    def _missed(self, flight: Flight, now_s: float) -> None:
        """Tells the sender's link layer, which tries again or gives up."""
        link = self._network.link(flight.source, flight.target)
        retry_s = link.retry_s(flight.lost_by, flight.attempt, now_s)
        if retry_s is None:
            self._give_back(link, flight.body, flight.lost_by, flight.attempt, now_s)
        else:
            flight.attempt += 1
            self.at(retry_s, self._fly, flight)

    def _give_back(self, link: Link, body: Body, reason: str, attempt: int, at_s: float) -> None:
        """Returns a lost task to its sender; other messages are simply gone."""
        if isinstance(body, Offload | Result | Burst):
            lost = Undelivered(body, link.target, reason, attempt)
            message = Message(RADIO, link.source, at_s, lost)
            self.at(at_s, self._deliver_later, message)

    # Faults and pace

    def precede(self, at_s: float, handler: Handler, payload: object) -> None:
        """Schedules a call ahead of whatever else is due at its instant."""
        self._first += 1
        heappush(self._heap, (at_s, self._first, handler, payload))

    def precedes(self, at_s: float) -> bool:
        """Says whether the next event is one of those, at that instant."""
        return bool(self._heap) and self._heap[0][0] <= at_s and self._heap[0][1] < 0

    def _feel(self, active: list[AnyFault], now_s: float, due_s: float) -> None:
        self._network.feel(active)
        if self._control is not None:
            self._control.feel(active)
        self._copying = any(isinstance(fault, Duplicate) for fault in active)
        self._conditions.feel(active, now_s, due_s)
        for name in sorted(self._held):
            if not self._ill.get(name, WELL).is_paused:
                self._execute(name, self._held.pop(name), now_s)

    def _forward(self, node: NodeId, now_s: float) -> float:
        """Keeps a node's time from running backwards when a message comes late from a host."""
        self._seen_s[node] = now_s = max(now_s, self._seen_s.get(node, 0.0))
        return now_s
