"""From a plan to nodes, links and accelerators: the one place where scenario and agents meet.

Any host assembles its share of the world from the plan; which host carries a node changes nothing
about it.
"""

import math
from collections.abc import Callable, Collection, Sequence

import msgspec

from agents.api import Node, NodeId
from agents.base_station import BaseStation, Channels
from agents.edge_server import EdgeServer
from agents.moments import Moments
from agents.policy import Cell, CellView, Protocol, Reach, ServerPolicy, ServerView, UserView
from agents.protocols import PROTOCOLS
from agents.queues import PriorityQueue
from agents.station import Station
from agents.task_source import Demand, TaskSource
from agents.tasks import Uniform
from agents.todg.readings import BREACHES
from agents.user import User
from emulator.build.links import Wiring
from emulator.build.plan import Plan
from emulator.results.readings import Readout
from emulator.scenario import schema
from emulator.scenario.nominal import images_of, nominal_moments
from emulator.scenario.slots import readings_of
from emulator.sim.accelerator import Accelerator, Fitted, Live, Replay, Students
from emulator.sim.clock import Pace
from emulator.sim.delivery import Remote
from emulator.sim.kernel import Kernel
from emulator.sim.stopwatch import Stopwatch
from emulator.sim.thermal import Heating
from emulator.streams import Streams


class Assembly:
    """Makes the nodes, links and accelerators of one plan.

    Many attributes: what nodes share is looked up once.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.layout = plan.layout
        self.streams = Streams(plan.scenario.seed)
        self.protocol: Protocol = PROTOCOLS[self.scenario.protocol.kind]
        self.options = msgspec.convert(self.scenario.protocol.options, self.protocol.options)
        self.wiring = Wiring(plan, self.streams)
        self.servers = self.wiring.servers
        self.base_stations = self.wiring.base_stations
        self.users = self.wiring.users
        self.nominal = {group.name: nominal_moments(group) for group in self.scenario.servers}
        self.images = images_of(self.scenario)
        self.demands = {group.name: self._demand(group) for group in self.scenario.users}
        self.reach = {bs: self._reach(bs) for bs in self.base_stations}
        self.allotments = plan.allotments
        self._stopwatch = Stopwatch() if plan.stopwatch else None
        self._own: dict[NodeId, Accelerator] = {}
        self._cold: dict[NodeId, Accelerator] = {}  # the same without their devices' heat
        self._kept: dict[tuple[str, ...], Uniform] = {}

    def kernel(
        self,
        names: Collection[NodeId],
        pace: Pace | None = None,
        remote: Remote | None = None,
        die: Callable[[], None] | None = None,
    ) -> Kernel:
        self._own = {n: self._accelerator(n, d) for n in names if (d := self._device(n))}
        network, control = self.wiring.networks(names)
        nodes = {name: self.fresh(name) for name in names}
        reported = readings_of(self.scenario)
        readout = Readout([each.name for each in reported if each.counts] + [*BREACHES])
        for name, node in nodes.items():
            readout.put(name, node.readings)
        return Kernel(
            nodes=nodes,
            network=network,
            control=control,
            readings=readout if reported else None,
            accelerators=self._own,
            orders=self.plan.orders,
            pace=pace,
            remote=remote,
            stopwatch=self._stopwatch,
            workshop=self,
            die=die,
        )

    # What the kernel asks for while a run goes on

    def fresh(self, name: NodeId, generated: int = 0) -> Node:
        if name in self.users:
            return self._user(name, self.users[name], generated)
        if name in self.base_stations:
            return self._base_station(name, self.base_stations[name])
        return self._server(name, self.servers[name])

    def accelerator(self, name: NodeId, model: str = "") -> Accelerator:
        device = self._device(name)
        own, cold = self._own[name], self._cold[name]
        if model and device is not None and device.accelerator.kind != "fitted":
            swapped = device.accelerator.model_copy(update={"model": model, "students": []})
            cold = self._make(name, device.model_copy(update={"accelerator": swapped}))
        if isinstance(own, Heating):
            own.install(cold)
            return own
        return cold

    def draw(self, *name: str) -> Uniform:
        return self.streams.uniform(*name)

    def cells(self, name: NodeId) -> Sequence[NodeId]:
        if name in self.base_stations:
            return list(self.base_stations)
        return [bs for bs, _ in self.layout.cells[name]]

    # Nodes

    def _user(self, name: NodeId, group: schema.UserGroup, generated: int) -> Node:
        cells = self._cells(name, group)
        allotment = self.allotments.get(name, {})
        view = UserView(name, cells, group.priority, group.weight, allotment)
        return User(
            name,
            self._source(name, group, generated),
            policy=self.protocol.user(view, *self._draws(name)),
            queue=PriorityQueue(group.queue_len_max),
            cpu=None if group.cpu is None else self._cpu(name, group.cpu),
        )

    def _source(self, user: NodeId, group: schema.UserGroup, generated: int) -> TaskSource:
        uniform = self._stream("demand", user)
        return TaskSource(user, self.demands[group.name], uniform, generated)

    def _cpu(self, user: NodeId, device: schema.Device) -> Station:
        moments = Moments(*nominal_moments(device))
        policy = self.protocol.server(ServerView(user, moments), *self._draws(user, "cpu"))
        return _station(user, device, moments, policy)

    def _draws(self, *name: str) -> tuple[Uniform, msgspec.Struct]:
        """Returns what every policy gets beside its view."""
        return self._stream("policy", *name), self.options

    def _stream(self, *name: str) -> Uniform:
        """Returns a stream of a node: one that is made anew draws on, and repeats nothing."""
        if name not in self._kept:
            self._kept[name] = self.streams.uniform(*name)
        return self._kept[name]

    def _cells(self, user: NodeId, group: schema.UserGroup) -> tuple[Cell, ...]:
        cells = []
        for bs, distance_m in self.layout.cells[user]:
            channel = self.wiring.channel(user, bs, self.scenario.channel)
            airtime_s = channel.airtime_s(group.input_bits, 0.0, 0.5)
            access = self.base_stations[bs].access
            reach = self.reach[bs]
            cells.append(Cell(bs, distance_m, access, reach, channel.nominal_success, airtime_s))
        return tuple(cells)

    def _demand(self, group: schema.UserGroup) -> Demand:
        return Demand(
            arrivals=group.arrival.process(self.plan.arrivals),
            priority=group.priority,
            size_bits=group.input_bits,
            images=self.images,
            deadline_s=math.inf if group.deadline_s is None else group.deadline_s,
            expires=group.drop_late,
            work=group.work,
        )

    def _base_station(self, name: NodeId, group: schema.BaseStationGroup) -> Node:
        slot_s = group.grant_s if group.access == "slotted" else 0.0
        users = self.layout.users[name]
        allotment = self.allotments.get(name, {})
        view = CellView(name, self.reach[name], users, group.channels or 0, slot_s, allotment)
        return BaseStation(
            name,
            users=users,
            policy=self.protocol.cell(view, *self._draws(name)),
            channels=Channels(group.channels or 0, group.grant_s, group.access == "slotted"),
            beacon_s=self.scenario.beacon_s if self.protocol.beacons else 0.0,
        )

    def _server(self, name: NodeId, group: schema.ServerGroup) -> Node:
        moments = Moments(*nominal_moments(group))
        view = ServerView(name, moments, self.allotments.get(name, {}))
        policy = self.protocol.server(view, *self._draws(name))
        return EdgeServer(
            name,
            _station(name, group, moments, policy),
            policy,
            self.layout.base_stations[name],
            report_s=self.scenario.report_s if self.protocol.reports else 0.0,
        )

    def _reach(self, bs: NodeId) -> tuple[Reach, ...]:
        return tuple(
            Reach(server, delay_s, group.speed, *self.nominal[group.name])
            for server, delay_s in self.layout.servers[bs]
            for group in (self.servers[server],)
        )

    def _device(self, name: NodeId) -> schema.Device | None:
        if name in self.servers:
            return self.servers[name]
        return self.users[name].cpu if name in self.users else None

    def _accelerator(self, name: NodeId, device: schema.Device) -> Accelerator:
        self._cold[name] = cold = self._make(name, device)
        return Heating(cold, device.thermal) if device.thermal else cold

    def _make(self, name: NodeId, device: schema.Device) -> Accelerator:
        uniform = self._stream("service", name)
        speed = device.speed
        match device.accelerator:
            case schema.FittedAccelerator(service=distribution):
                return Fitted(distribution.draw, speed, uniform)
            case schema.ReplayAccelerator() as spec:
                return Replay(_students(spec, speed), uniform)
            case schema.LiveAccelerator(batch_max=batch_max, threads=threads) as spec:
                students = _students(spec, speed)
                return Live(students, batch_max, threads, uniform, self._stopwatch)


def _station(
    name: NodeId, device: schema.Device, moments: Moments, policy: ServerPolicy
) -> Station:
    queue = PriorityQueue(device.queue_len_max)
    return Station(name, queue, moments, device.batch_max, policy.select)


def _students(spec: schema.NetworkAccelerator, speed: float) -> Students:
    return Students((spec.model, *spec.students), spec.batch_max, speed, spec.engine)
