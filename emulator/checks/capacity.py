"""Whether the load that a scenario offers fits through its slots, links and servers.

As in `check.py`. What never arrives is a problem; what is more than fits, or hardly ever gets
through, is a warning.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from agents.messages import Grant, NodeId
from agents.protocols import PROTOCOLS
from agents.tasks import HEADER_BITS
from emulator.build.known_fault import links_of
from emulator.build.links import Wiring
from emulator.build.plan import Plan
from emulator.checks.complaints import Complaint
from emulator.faults.link_types import Rate
from emulator.scenario import channel_kinds, schema
from emulator.scenario.fields import Distribution
from emulator.scenario.nominal import nominal_moments
from emulator.scenario.occurrences import certain, places_of, settle
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import mean_rates_hz, rate_hz
from emulator.scenario.topology import members
from emulator.sim.air import ROUNDING_S
from emulator.streams import Streams
from models import latency

HOPELESS = 0.5  # share of attempts that are lost over the nearest link


def slots(chosen: Scenario) -> Iterator[Complaint]:
    """A task that does not fit into a slot or grant, with its header, would never arrive."""
    told_s = (chosen.downlink or chosen.channel).least_s(Grant(0, 0.0).size_bits)
    for index, user in enumerate(chosen.users):
        task_s = chosen.channel.least_s(HEADER_BITS + user.input_bits)
        for group in chosen.base_stations:
            if group.access not in ("slotted", "granted"):
                continue
            if told_s + task_s <= group.grant_s + ROUNDING_S:
                continue
            what = "slot" if group.access == "slotted" else "grant"
            text = (
                f"a task of {user.input_bits:g} bit takes {1e3 * task_s:.3g} ms with its header of "
                f"{HEADER_BITS:g}, a {what} of '{group.name}' lasts {1e3 * group.grant_s:g} ms"
            )
            if told_s:
                text += f", of which being told of it takes {1e3 * told_s:.3g} ms"
            yield ("users", index, "input_bits"), text, "smaller tasks, or a longer grant_s"


def load(chosen: Scenario) -> Iterator[Complaint]:
    offered_hz = sum(group.count * group.work * group.arrival.declared_hz for group in chosen.users)
    served_hz = 0.0
    for server in chosen.servers:
        accelerator = server.accelerator
        mean_s, _ = nominal_moments(server)
        if not isinstance(accelerator, schema.FittedAccelerator):
            best = max(
                batch / latency.moments(accelerator.model, batch, accelerator.engine)[0]
                for batch in range(1, accelerator.batch_max + 1)
            )
            mean_s = 1.0 / (best * server.speed)
        served_hz += server.count / mean_s
    if offered_hz >= served_hz and not PROTOCOLS[chosen.protocol.kind].local:
        text = (
            f"the users offer {offered_hz:.3g} tasks/s, the servers can do {served_hz:.3g}: "
            "backlogs will grow until queues overflow"
        )
        yield ("users",), text, "slower arrivals, or more or faster servers"


def deadlines(chosen: Scenario) -> Iterator[Complaint]:
    is_local = PROTOCOLS[chosen.protocol.kind].local
    for index, group in enumerate(chosen.users):
        devices = [group.cpu] if is_local and group.cpu is not None else chosen.servers
        fastest_s = min(nominal_moments(each)[0] for each in devices)
        if group.deadline_s is not None and group.deadline_s < fastest_s:
            text = (
                f"the deadline of '{group.name}', {group.deadline_s:g} s, is shorter than the mean "
                f"service of the fastest device, {fastest_s:.3g} s"
            )
            yield ("users", index, "deadline_s"), text, "a longer deadline, or a faster device"


def unreached(drawn: Plan) -> Iterator[Complaint]:
    """Servers that no user reaches are left out of what is planned, and never get a task."""
    reached = drawn.layout.reached_servers()
    for index, group in enumerate(drawn.scenario.servers):
        names = [f"{group.name}-{number}" for number in range(group.count)]
        idle = [name for name in names if name not in reached]
        if idle:
            text = f"no user reaches {_listed(idle)}: it never gets a task"
            remedy = "join it to a base station with users, or raise topology.servers_per_cell"
            yield ("servers", index), text, remedy


def hopeless(drawn: Plan) -> Iterator[Complaint]:
    """Users whose nearest base station hardly ever hears them, by the channel's closed form."""
    chosen = drawn.scenario
    wiring = Wiring(drawn, Streams(chosen.seed))
    for index, group in enumerate(chosen.users):
        lossy: dict[NodeId, float] = {}
        for number in range(group.count):
            user = f"{group.name}-{number}"
            channel = wiring.channel(user, drawn.layout.cells[user][0][0], chosen.channel)
            if channel.nominal_success < 1.0 - HOPELESS:
                lossy[user] = 1.0 - channel.nominal_success
        if lossy and not PROTOCOLS[chosen.protocol.kind].local:
            worst = max(lossy, key=lossy.__getitem__)
            bs, distance_m = drawn.layout.cells[worst][0]
            text = (
                f"{len(lossy)} of {group.count} '{group.name}' lose most of what they send over "
                f"their nearest link: '{worst}' {100.0 * lossy[worst]:.3g} % over "
                f"{distance_m:.3g} m to '{bs}'"
            )
            yield ("users", index), text, "a better channel, a smaller area, or more base stations"


def crowded(drawn: Plan) -> Iterator[Complaint]:
    """Links that are offered more than they carry, if every user keeps to its nearest cell."""
    chosen = drawn.scenario
    if PROTOCOLS[chosen.protocol.kind].local:
        return
    offered = _Offered(drawn)
    for index, group in enumerate(chosen.users):
        over = {
            user: offered.busy[user]
            for user, _ in members([group])
            if offered.access[user] == "dedicated" and offered.busy[user] > 1.0
        }
        if over:
            worst = max(over, key=over.__getitem__)
            bps = offered.bps[worst]
            text = (
                f"'{worst}' offers {bps:.3g} bit/s over a link that carries "
                f"{bps / over[worst]:.3g}: attempts do not wait for each other, so that more "
                "passes than can"
            )
            yield ("users", index, "arrival"), text, "fewer or smaller tasks, or a faster channel"
    for index, cells in enumerate(chosen.base_stations):
        if cells.access == "dedicated":
            continue
        busy = {bs: sum(offered.busy[u] for u in offered.users[bs]) for bs, _ in members([cells])}
        worst = max(busy, key=busy.__getitem__)
        if busy[worst] > (cells.channels or 0):
            text = (
                f"the users of '{worst}' would keep {busy[worst]:.3g} channels busy, and it has "
                f"{cells.channels}: what does not fit collides, or waits until queues overflow"
            )
            yield ("base_stations", index, "channels"), text, "slower arrivals, or more channels"
    for number, fault in enumerate(chosen.faults):
        if isinstance(fault, Rate):
            for text in offered.throttled(fault)[:1]:
                yield ("faults", number, "rate_bps"), text, "a higher rate, or slower arrivals"


class _Offered:
    """What users offer their nearest cells: bits and channel time a second, by user."""

    def __init__(self, drawn: Plan) -> None:
        chosen = drawn.scenario
        wiring = Wiring(drawn, Streams(chosen.seed))
        rates_hz = mean_rates_hz(drawn.arrivals)
        self._drawn = drawn
        self.users: defaultdict[NodeId, list[NodeId]] = defaultdict(list)  # by nearest cell
        self.access: dict[NodeId, str] = {}
        self.bps: dict[NodeId, float] = {}
        self.busy: dict[NodeId, float] = {}  # channels that it would keep busy
        for user, group in members(chosen.users):
            bs = drawn.layout.cells[user][0][0]
            cell = wiring.base_stations[bs]
            size_bits = HEADER_BITS + group.input_bits
            hz = rate_hz(group.arrival, rates_hz)
            airtime_s = self._mean_s(wiring, user, bs, size_bits)
            self.users[bs].append(user)
            self.access[user] = cell.access
            self.bps[user] = hz * size_bits
            self.busy[user] = hz * (cell.grant_s if cell.access == "slotted" else airtime_s)

    def _mean_s(self, wiring: Wiring, user: NodeId, bs: NodeId, size_bits: float) -> float:
        spec = self._drawn.scenario.channel
        match spec:
            case channel_kinds.IdealChannel():
                return 0.0  # its delay keeps nobody else waiting
            case channel_kinds.BernoulliChannel(airtime=Distribution(mean_s=mean_s)):
                return mean_s
            case channel_kinds.GilbertElliottChannel(airtime=Distribution(mean_s=mean_s)):
                return mean_s
            case channel_kinds.TraceChannel(file=file):
                trace = self._drawn.channels[file]
                held_s = [after - before for before, after in pairwise(trace.times_s)]
                bits = math.fsum(r * s for r, s in zip(trace.rates_bps, held_s, strict=False))
                return size_bits * math.fsum(held_s) / bits if bits else 0.0
            case _:
                return wiring.channel(user, bs, spec).airtime_s(size_bits, 0.0, 0.5)

    def throttled(self, fault: Rate) -> list[str]:
        """Says which links a fault leaves less than is offered them; wires share evenly."""
        drawn = self._drawn
        places = places_of(drawn.scenario, drawn.layout)
        everyone = settle(certain(fault), places, Streams(drawn.scenario.seed))
        found: list[tuple[float, str]] = []
        for source, target, kind in links_of(drawn):
            if not isinstance(everyone, Rate) or not everyone.touches(source, target, kind):
                continue
            offered_bps = 0.0
            if kind == "uplink" and source in self.users[target]:
                offered_bps = self.bps[source]
            elif kind == "to-server":
                all_bps = math.fsum(self.bps[user] for user in self.users[source])
                offered_bps = all_bps / len(drawn.layout.servers[source])
            if offered_bps > fault.rate_bps:
                text = (
                    f"'{source}' sends '{target}' {offered_bps:.3g} bit/s, and the fault leaves "
                    f"{fault.rate_bps:.3g}: attempts do not wait for each other, so that more "
                    "passes than can"
                )
                found.append((-offered_bps, text))
        return [text for _, text in sorted(found)]


def _listed(names: list[NodeId]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
