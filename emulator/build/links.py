"""Links and channels of a scenario: who can reach whom, and through what."""

import math
from collections.abc import Collection
from functools import partial

from agents import radio
from agents.messages import NodeId
from emulator.build.plan import Plan
from emulator.faults.base import LinkKind
from emulator.scenario import channel_kinds, distributions, schema
from emulator.scenario.topology import members
from emulator.sim.air import Air
from emulator.sim.channel import (
    Adaptive,
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
        channel = self._channel_named(user, bs, "control", spec.channel)
        kind: LinkKind = "control-up" if up else "control-down"
        resend = _resend(spec.resend)
        return Link(source, target, kind, channel, resend, self.streams, gather_s=spec.gather_s)

    def channel(self, user: NodeId, bs: NodeId, spec: channel_kinds.Channel) -> Channel:
        """One channel per pair and model: both directions share one channel realisation.

        A model without state needs but one for all, which stays in the processor's cache.
        """
        return self._channel_named(user, bs, "down" if spec is self.scenario.downlink else "", spec)

    def _channel_named(
        self, user: NodeId, bs: NodeId, use: str, spec: channel_kinds.Channel
    ) -> Channel:
        pair = ("", "") if spec.kind in ("ideal", "bernoulli") else (user, bs)
        key = (*pair, use)
        if key not in self._channels:
            self._channels[key] = self._make_channel(key, spec)
        return self._channels[key]

    def _make_channel(self, key: tuple[str, str, str], spec: channel_kinds.Channel) -> Channel:
        user, bs, _ = key
        match spec:
            case channel_kinds.IdealChannel(delay_s=delay_s):
                return Ideal(delay_s)
            case channel_kinds.BernoulliChannel(loss=loss):
                return Bernoulli(loss, _airtime(spec))
            case channel_kinds.GilbertElliottChannel():
                chain = BurstChain(spec.p, spec.r, spec.slot_s, self.streams.uniform("burst", *key))
                return GilbertElliott(chain, spec.loss_good, spec.loss_bad, _airtime(spec))
            case channel_kinds.RayleighChannel():
                distance_m = dict(self.layout.cells[user])[bs]
                loss_db = radio.path_loss_db(distance_m, spec.reference_m, spec.path_loss_exponent)
                return Rayleigh(
                    spec.snr_db - loss_db,
                    spec.threshold_db,
                    spec.coherence_s,
                    spec.bandwidth_hz,
                    self.streams.field("fading", *key),
                )
            case channel_kinds.AdaptiveChannel():
                distance_m = dict(self.layout.cells[user])[bs]
                loss_db = radio.path_loss_db(distance_m, spec.reference_m, spec.path_loss_exponent)
                return Adaptive(
                    spec.snr_db - loss_db,
                    self.base_stations[bs].channels or 1,
                    spec.coherence_s,
                    spec.bandwidth_hz,
                    spec.efficiency_max,
                    self.streams.field("fading", *key),
                )
            case channel_kinds.TraceChannel(file=file):
                trace = self.traces[file]
                return TraceChannel(trace.times_s, trace.success, trace.rates_bps)


def _resend(spec: schema.Resend) -> Resend:
    return Resend(spec.attempts_max, spec.ack_s, spec.backoff_s)


def _airtime(spec: channel_kinds.BernoulliChannel | channel_kinds.GilbertElliottChannel) -> Airtime:
    distribution = spec.airtime
    draw = (
        None
        if distribution is None
        else distributions.draw_of(distribution.distribution, distribution.mean_s, distribution.scv)
    )
    return airtime(spec.rate_bps or math.inf, draw)
