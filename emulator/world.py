"""From a scenario to nodes, links and accelerators: the one place where the two meet.

The driver makes a `Plan` (everything read from disk and drawn); any host then assembles its share
of the world from it. Which host carries a node changes nothing about it.
"""

import math
from collections.abc import Collection
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from agents import radio
from agents.api import Node, NodeId
from agents.base_station import BaseStation, Channels
from agents.edge_server import EdgeServer
from agents.moments import Moments
from agents.policy import Cell, CellView, Protocol, Reach, UserView
from agents.protocols import PROTOCOLS
from agents.queues import PriorityQueue
from agents.station import Station
from agents.tasks import Arrivals, AtWill, Periodic, Poisson, Trace
from agents.user import Demand, User
from emulator import laws, scenario, traces
from emulator.channel import (
    Airtime,
    Bernoulli,
    BurstChain,
    Channel,
    GilbertElliott,
    Ideal,
    Rayleigh,
    TraceChannel,
    airtime,
)
from emulator.faults import LinkKind
from emulator.inference import Accelerator, Fitted, Live, Replay, nominal_moments
from emulator.kernel import Kernel, Remote
from emulator.network import Air, Link, Network, Resend
from emulator.pace import Pace
from emulator.scenario import Scenario
from emulator.streams import Streams
from emulator.topology import Layout, build, layout, members

IMAGES = 500  # the digits test split; tasks carry an index into it


class Plan(Struct, frozen=True):
    """A scenario with all it refers to. `stopwatch`: live inference is timed, not looked up."""

    scenario: Scenario
    layout: Layout
    arrivals: dict[str, tuple[float, ...]]  # trace file -> instants
    channels: dict[str, traces.ChannelTrace]  # trace file -> trace
    stopwatch: bool

    @property
    def names(self) -> list[NodeId]:
        """All nodes: users, base stations, servers."""
        return list(self.layout.position_m)


def plan(chosen: Scenario, stopwatch: bool) -> Plan:
    """Reads and draws what the scenario refers to."""
    arrivals = {
        group.arrival.file: traces.read_times(Path(group.arrival.file))
        for group in chosen.users
        if group.arrival.kind == "trace"
    }
    channels = {
        spec.file: traces.read_channel(Path(spec.file))
        for spec in (chosen.channel, chosen.downlink)
        if spec is not None and spec.kind == "trace"
    }
    tables = layout(build(chosen), chosen.backhaul.delay_s)
    return Plan(chosen, tables, arrivals, channels, stopwatch)


def assemble(
    plan: Plan,
    names: Collection[NodeId],
    pace: Pace | None = None,
    remote: Remote | None = None,
) -> Kernel:
    """Returns a kernel with the named nodes, ready to start."""
    return _Assembly(plan).kernel(names, pace, remote)


class _Assembly:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.layout = plan.layout
        self.streams = Streams(plan.scenario.seed)
        self.protocol: Protocol = PROTOCOLS[self.scenario.protocol.kind]
        self.options = msgspec.convert(self.scenario.protocol.options, self.protocol.options)
        self.servers = dict(members(self.scenario.servers))
        self.base_stations = dict(members(self.scenario.base_stations))
        self.users = dict(members(self.scenario.users))
        self.nominal = {
            group.name: nominal_moments(group.accelerator, group.speed)
            for group in self.scenario.servers
        }
        self.demands = {group.name: self._demand(group) for group in self.scenario.users}
        self.reach = {bs: self._reach(bs) for bs in self.base_stations}
        self.channels: dict[tuple[str, str, str], Channel] = {}
        resend = self.scenario.resend
        self.resend = Resend(resend.attempts_max, resend.ack_s, resend.backoff_s)

    def kernel(self, names: Collection[NodeId], pace: Pace | None, remote: Remote | None) -> Kernel:
        devices = {n: d for n in names if (d := self._device(n)) is not None}
        airs = {
            name: Air(group.channels)
            for name in names
            if (group := self.base_stations.get(name)) is not None and group.channels
        }
        return Kernel(
            nodes={name: self._node(name) for name in names},
            network=Network(self._link, airs),
            accelerators={name: self._accelerator(name, d) for name, d in devices.items()},
            faults=self.scenario.faults,
            pace=pace,
            remote=remote,
        )

    # Nodes

    def _node(self, name: NodeId) -> Node:
        if name in self.users:
            return self._user(name, self.users[name])
        if name in self.base_stations:
            return self._base_station(name, self.base_stations[name])
        return self._server(name, self.servers[name])

    def _user(self, name: NodeId, group: scenario.UserGroup) -> User:
        cells = tuple(
            Cell(bs, distance_m, self.base_stations[bs].access, self.reach[bs])
            for bs, distance_m in self.layout.cells[name]
        )
        view = UserView(cells, has_cpu=group.cpu is not None)
        return User(
            name,
            self.demands[group.name],
            policy=self.protocol.user(view, self.streams.uniform("policy", name), self.options),
            uniform=self.streams.uniform("demand", name),
            queue=PriorityQueue(group.queue_len_max),
            cpu=None if group.cpu is None else self._station(name, group.cpu),
        )

    def _demand(self, group: scenario.UserGroup) -> Demand:
        return Demand(
            arrivals=self._arrivals(group.arrival),
            priority=group.priority,
            size_bits=group.input_bits,
            images=IMAGES,
            deadline_s=math.inf if group.deadline_s is None else group.deadline_s,
            expires=group.drop_late,
        )

    def _base_station(self, name: NodeId, group: scenario.BaseStationGroup) -> BaseStation:
        view = CellView(self.reach[name])
        return BaseStation(
            name,
            users=self.layout.users[name],
            policy=self.protocol.cell(view, self.streams.uniform("policy", name), self.options),
            channels=Channels(group.channels or 0, group.grant_s),
            beacon_s=self.scenario.beacon_s if self.protocol.beacons else 0.0,
        )

    def _server(self, name: NodeId, group: scenario.ServerGroup) -> EdgeServer:
        return EdgeServer(
            name,
            self._station(name, group),
            self.layout.base_stations[name],
            report_s=self.scenario.report_s if self.protocol.reports else 0.0,
        )

    def _station(self, name: NodeId, device: scenario.Device) -> Station:
        policy = self.protocol.server(self.streams.uniform("policy", name), self.options)
        accelerator = device.accelerator
        return Station(
            name,
            PriorityQueue(device.queue_len_max),
            Moments(*nominal_moments(accelerator, device.speed)),
            batch_max=1 if accelerator.kind == "fitted" else accelerator.batch_max,
            select=policy.select,
        )

    def _reach(self, bs: NodeId) -> tuple[Reach, ...]:
        return tuple(
            Reach(
                server,
                delay_s,
                self.servers[server].speed,
                *self.nominal[self.servers[server].name],
            )
            for server, delay_s in self.layout.servers[bs]
        )

    def _arrivals(self, spec: scenario.Arrivals) -> Arrivals:
        match spec:
            case scenario.PoissonArrivals(rate_hz=rate_hz):
                return Poisson(rate_hz)
            case scenario.PeriodicArrivals(period_s=period_s):
                return Periodic(period_s)
            case scenario.AtWillArrivals(wait_s=wait_s, timeout_s=timeout_s):
                return AtWill(wait_s, timeout_s)
            case scenario.TraceArrivals(file=file):
                return Trace(self.plan.arrivals[file])

    def _device(self, name: NodeId) -> scenario.Device | None:
        if name in self.servers:
            return self.servers[name]
        return self.users[name].cpu if name in self.users else None

    def _accelerator(self, name: NodeId, device: scenario.Device) -> Accelerator:
        uniform = self.streams.uniform("service", name)
        speed = device.speed
        match device.accelerator:
            case scenario.FittedAccelerator(service=law):
                return Fitted(_draw(law), speed, uniform)
            case scenario.ReplayAccelerator(model=model, batch_max=batch_max):
                return Replay(model, batch_max, speed, uniform)
            case scenario.LiveAccelerator(model=model, batch_max=batch_max, threads=threads):
                return Live(model, batch_max, threads, speed, uniform, self.plan.stopwatch)

    # Links

    def _link(self, source: NodeId, target: NodeId) -> Link:
        make = partial(Link, source, target, streams=self.streams)
        match (source in self.users, target in self.users):
            case (True, False):
                group = self.base_stations[target]
                channel = self._channel(source, target, self.scenario.channel)
                shared = group.channels or 0
                return make("uplink", channel, self.resend, shared_channels=shared)
            case (False, True):
                spec = self.scenario.downlink or self.scenario.channel
                return make("downlink", self._channel(target, source, spec), self.resend)
        kind: LinkKind = "to-server" if target in self.servers else "from-server"
        bs, server = (source, target) if kind == "to-server" else (target, source)
        delay_s = dict(self.layout.servers[bs])[server]
        loss = self.scenario.backhaul.loss
        wire = Bernoulli(loss, airtime(math.inf, lambda u: delay_s)) if loss else Ideal(delay_s)
        return make(kind, wire, Resend())

    def _channel(self, user: NodeId, bs: NodeId, spec: scenario.Channel) -> Channel:
        """One channel per pair and model: both directions live in the same weather.

        A model without weather needs but one for all, which stays in the processor's cache.
        """
        pair = ("", "") if spec.kind in ("ideal", "bernoulli") else (user, bs)
        key = (*pair, "down" if spec is self.scenario.downlink else "")
        if key not in self.channels:
            self.channels[key] = self._make_channel(key, spec)
        return self.channels[key]

    def _make_channel(self, key: tuple[str, str, str], spec: scenario.Channel) -> Channel:
        user, bs, _ = key
        match spec:
            case scenario.IdealChannel(delay_s=delay_s):
                return Ideal(delay_s)
            case scenario.BernoulliChannel(loss=loss):
                return Bernoulli(loss, _airtime(spec))
            case scenario.GilbertElliottChannel():
                chain = BurstChain(spec.p, spec.r, spec.slot_s, self.streams.uniform("burst", *key))
                return GilbertElliott(chain, spec.loss_good, spec.loss_bad, _airtime(spec))
            case scenario.RayleighChannel():
                distance_m = dict(self.layout.cells[user])[bs]
                loss_db = radio.path_loss_db(distance_m, spec.reference_m, spec.path_loss_exponent)
                return Rayleigh(
                    spec.snr_db - loss_db,
                    spec.threshold_db,
                    spec.coherence_s,
                    spec.bandwidth_hz,
                    self.streams.field("fading", *key),
                )
            case scenario.TraceChannel(file=file):
                trace = self.plan.channels[file]
                return TraceChannel(trace.times_s, trace.success, trace.rates_bps)


def _draw(law: scenario.Law) -> laws.Draw:
    return laws.draw_of(law.law, law.mean_s, law.scv)


def _airtime(spec: scenario.BernoulliChannel | scenario.GilbertElliottChannel) -> Airtime:
    return airtime(spec.rate_bps or math.inf, None if spec.airtime is None else _draw(spec.airtime))
