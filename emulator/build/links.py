"""Links and channels of a scenario: who can reach whom, and through what."""

import math
from collections.abc import Collection
from functools import partial

from agents.messages import NodeId
from emulator.build.plan import Plan
from emulator.faults.base import LinkKind
from emulator.scenario import channel_kinds, schema
from emulator.scenario.topology import members
from emulator.sim.air import Air
from emulator.sim.channel import Bernoulli, Channel, Ideal, Site, airtime, made
from emulator.sim.network import Link, Network, Resend
from emulator.streams import Streams


class Wiring:
    """Makes the links of one plan, each when it is first used."""

    def __init__(self, plan: Plan, streams: Streams) -> None:
        self.scenario = plan.scenario
        self.layout = plan.layout
        self.traces = plan.channels
        self.streams = streams
        self.base_stations = dict(members(self.scenario.base_stations))
        self.servers = dict(members(self.scenario.servers))
        self.users = dict(members(self.scenario.users))
        self._channels: dict[tuple[str, str, str], Channel] = {}

    def networks(self, names: Collection[NodeId]) -> tuple[Network, Network | None]:
        """Returns the tasks' links and, where the scenario has them, those of control messages.

        `names` are the nodes of one host.
        """
        airs = {
            name: Air(group.channels)
            for name in names
            if (group := self.base_stations.get(name)) is not None and group.channels
        }
        network = Network(self.link, airs)
        if self.scenario.control is None:
            return network, None
        return network, Network(partial(self.control_link, network, self.scenario.control), {})

    def link(self, source: NodeId, target: NodeId) -> Link:
        make = partial(Link, source, target, streams=self.streams)
        resend = _resend(self.scenario.resend)
        match (source in self.users, target in self.users):
            case (True, False):
                channel = self.channel(source, target, self.scenario.channel)
                shared = self.base_stations[target].channels or 0
                return make("uplink", channel, resend, shared_channels=shared)
            case (False, True):
                spec = self.scenario.downlink or self.scenario.channel
                return make("downlink", self.channel(target, source, spec), resend)
        if source not in self.servers and target not in self.servers:
            return make("control-peer", self._wire(self.scenario.backhaul.delay_s), Resend())
        kind: LinkKind = "to-server" if target in self.servers else "from-server"
        bs, server = (source, target) if kind == "to-server" else (target, source)
        delay_s = dict(self.layout.servers[bs])[server]
        return make(kind, self._wire(delay_s), Resend())

    def _wire(self, delay_s: float) -> Channel:
        loss = self.scenario.backhaul.loss
        return Bernoulli(loss, airtime(math.inf, lambda u: delay_s)) if loss else Ideal(delay_s)

    def control_link(
        self, network: Network, spec: schema.Control, source: NodeId, target: NodeId
    ) -> Link:
        """A radio link of its own for control messages; on wires they share the tasks' link."""
        up = source in self.users
        if not up and target not in self.users:
            return network.link(source, target)
        user, bs = (source, target) if up else (target, source)
        channel = self.channel(user, bs, spec.channel)
        kind: LinkKind = "control-up" if up else "control-down"
        resend = _resend(spec.resend)
        return Link(source, target, kind, channel, resend, self.streams, gather_s=spec.gather_s)

    def channel(self, user: NodeId, bs: NodeId, spec: channel_kinds.Channel) -> Channel:
        """One channel per pair and model: both directions share one channel realisation.

        A model without state needs but one for all, which stays in the processor's cache.
        """
        control = self.scenario.control
        use = "down" if spec is self.scenario.downlink else ""
        if control is not None and spec is control.channel:
            use = "control"
        key = (user, bs, use) if spec.has_state else ("", "", use)
        if key not in self._channels:
            self._channels[key] = made(
                spec,
                Site(
                    key=key,
                    streams=self.streams,
                    distance_m=lambda: dict(self.layout.cells[user])[bs],
                    channels=self.base_stations[bs].channels or 1,
                    traces=self.traces,
                ),
            )
        return self._channels[key]


def _resend(spec: schema.Resend) -> Resend:
    return Resend(spec.attempts_max, spec.ack_s, spec.backoff_s)
