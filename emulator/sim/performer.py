"""Calls the nodes of one host, and performs what they want.

What is at a node's address acts: mostly the node itself, while a fault is on it something else
(ADR 10). A wish to a local address is performed at once; the rest is delivered.
"""

from collections.abc import Iterable, Mapping

from agents.api import CLOCK, JOURNAL, RADIO, Message, Node, Send, Unhandled
from agents.messages import Abort, Body, NodeId, Wake, ended, tasks_in
from agents.messages.slots import Sense, Sensed
from agents.reasons import Reason
from agents.tasks import Task
from emulator.faults.node_types import Condition
from emulator.results.journal import DeadLetter, Record
from emulator.results.readings import Readout
from emulator.sim.accelerator import Accelerator
from emulator.sim.delivery import Delivery, Remote
from emulator.sim.devices import Devices
from emulator.sim.events import EventQueue, Handler
from emulator.sim.network import Network
from emulator.sim.substitutes import Clock


class Performer:
    """The nodes of one host, what acts for them, and their local addresses.

    `keeps_order`: a message may come late from another host, and no node's time runs backwards.
    """

    def __init__(
        self,
        nodes: Mapping[NodeId, Node],
        events: EventQueue,
        network: Network,
        control: Network | None,
        accelerators: Mapping[NodeId, Accelerator],
        faulty: Mapping[NodeId, Condition],
        remote: Remote | None,
        readings: Readout | None,
        keeps_order: bool,
    ) -> None:
        self.nodes = dict(nodes)
        self.acting = dict(nodes)
        self.readings = readings
        self.delivery = Delivery(events, network, control, self.nodes, self.deliver, remote)
        self.devices = Devices(accelerators, faulty, events, self.deliver)
        self._events = events
        self._clocks: dict[NodeId, Clock] = {}  # of those whose clock is wrong
        self._records: list[Record] = []
        self._seen_s: dict[NodeId, float] = {}
        self._keeps_order = keeps_order
        # Bound once: a method is bound anew each time it is named, five times a task otherwise.
        self._at = events.at
        self._send = self.delivery.send
        self._tick_later: Handler = self._tick

    def start(self, now_s: float) -> None:
        for node in self.nodes.values():
            self.perform(node.id, node.start(now_s), now_s)

    def record(self, record: Record) -> None:
        self._records.append(record)

    def take_records(self) -> list[Record]:
        records, self._records = self._records, []
        return records

    def deliver(self, message: Message, now_s: float) -> None:
        """Hands a message to its node, twice where the last link copies it."""
        target = message.target
        if self._keeps_order:
            now_s = self._forward(target, now_s)
        try:
            self.perform(target, self.acting[target].on_message(message, now_s), now_s)
            if self.delivery.copying and self.delivery.is_copied(message, now_s):
                self.perform(target, self.acting[target].on_message(message, now_s), now_s)
        except Unhandled as mistake:
            self._records.append(DeadLetter(now_s, target, str(mistake)))
            lost = tasks_in(message.body)
            self._records += (ended(task, now_s, "dropped", Reason.UNHANDLED) for task in lost)

    def perform(self, source: NodeId, sends: Iterable[Send], now_s: float) -> None:
        for send in sends:
            target = send.target
            if target[0] != "@":
                self._send(source, send, now_s)
                continue
            body = send.body
            if target == CLOCK:
                due_s = body.at_s  # type: ignore[union-attr]
                if self._clocks and source in self._clocks:
                    due_s = self._clocks[source].due_s(due_s, now_s)
                self._at(due_s, self._tick_later, (source, body))
            elif target == JOURNAL:
                self._records.append(body)  # type: ignore[arg-type]
            elif target == RADIO:
                self._sense(source, body, now_s)  # type: ignore[arg-type]
            elif type(body) is Abort:
                self.devices.give_up(source, now_s)
            else:
                self.devices.execute(source, body, now_s)  # type: ignore[arg-type]

    def _tick(self, timer: tuple[NodeId, Wake], now_s: float) -> None:
        name, wake = timer
        if self._keeps_order:
            now_s = self._forward(name, now_s)
        try:
            self.perform(name, self.acting[name].on_tick(wake, now_s), now_s)
        except Unhandled as mistake:
            self._records.append(DeadLetter(now_s, name, str(mistake)))

    def _sense(self, source: NodeId, sense: Sense, now_s: float) -> None:
        rates_bps = self.delivery.rates_bps(source, sense.bs, now_s)
        heard = Message(RADIO, source, now_s, Sensed(sense.bs, rates_bps))
        self._events.soon(self.deliver, heard)

    def _forward(self, node: NodeId, now_s: float) -> float:
        self._seen_s[node] = now_s = max(now_s, self._seen_s.get(node, 0.0))
        return now_s

    # For the faults of nodes

    def empty(self, name: NodeId, now_s: float) -> list[Task]:
        """Takes its timers and its batch from a node; returns all tasks it held."""
        self._events.cancel(lambda payload: _is_timer(payload, name))
        return [*self.nodes[name].tasks(), *self.devices.give_up(name, now_s)]

    def replace(self, name: NodeId, node: Node, now_s: float) -> None:
        """Puts a fresh node in the place of one that lost everything."""
        self.nodes[name] = node
        if self.readings is not None:
            self.readings.put(name, node.readings, now_s)

    def let_act(self, name: NodeId, node: Node) -> None:
        """Has something act at a node's address."""
        self.acting[name] = node

    def set_clock(self, name: NodeId, clock: Clock | None) -> None:
        """Has a node's timers go by that clock; None: by the right one."""
        self._clocks.pop(name, None)
        if clock is not None:
            self._clocks[name] = clock

    def clock(self, name: NodeId) -> Clock | None:
        return self._clocks.get(name)

    def begin(self, name: NodeId, now_s: float) -> None:
        """Starts a node while time goes on."""
        if self._keeps_order:
            now_s = self._forward(name, now_s)
        self.perform(name, self.acting[name].start(now_s), now_s)

    def tell(self, name: NodeId, source: NodeId, body: Body, now_s: float) -> None:
        """Delivers what a local address has to say."""
        self.deliver(Message(source, name, now_s, body), now_s)


def _is_timer(payload: object, of: NodeId) -> bool:
    match payload:
        case (str() as name, Wake()):
            return name == of
    return False
