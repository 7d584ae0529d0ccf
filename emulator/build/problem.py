"""A scenario as one optimisation problem: for protocols that plan, for gaps and for plots.

No node ever sees it. Source: docs/popec.md, What is decided.
"""

import math

import numpy as np
from msgspec import Struct

from agents.messages import NodeId
from agents.policy import Allotment
from agents.reference.problem import Allocation, Problem
from emulator.build.links import Wiring
from emulator.build.plan import Plan
from emulator.scenario.nominal import nominal_moments
from emulator.streams import Streams

RATE_MAX_HZ = 30.0  # a user's sampling cap


class Whole(Struct, frozen=True, eq=False):
    """The problem, and whom its rows and columns stand for."""

    problem: Problem
    users: list[NodeId]
    base_stations: list[NodeId]
    servers: list[NodeId]

    def allotments(self, allocation: Allocation) -> dict[NodeId, Allotment]:
        """Returns an allocation as each node sees it: a rate for every peer that it reaches."""
        allotments: dict[NodeId, Allotment] = {
            name: {} for name in (*self.users, *self.base_stations, *self.servers)
        }
        for peers, rates_hz in (
            (self.base_stations, allocation.grants_hz),
            (self.servers, allocation.splits_hz),
        ):
            for n, k in np.argwhere(rates_hz > 0.0):
                user, peer, rate_hz = self.users[n], peers[k], float(rates_hz[n, k])
                allotments[user][peer] = allotments[peer][user] = rate_hz
        return allotments

    def allocation(self, allotments: dict[NodeId, Allotment]) -> Allocation:
        """Returns what the users' allotments say as one allocation."""

        def matrix(peers: list[NodeId]) -> list[list[float]]:
            return [[allotments[user].get(peer, 0.0) for peer in peers] for user in self.users]

        return Allocation(np.array(matrix(self.base_stations)), np.array(matrix(self.servers)))


def whole_of(plan: Plan) -> Whole:
    """Returns the problem of a scenario with slotted base stations, as it is without faults.

    What no user reaches is no part of it: it has no wait that could be weighed.
    """
    wiring = Wiring(plan, Streams(plan.scenario.seed))
    users, base_stations = list(wiring.users), list(wiring.base_stations)
    reached = plan.layout.reached_servers()
    servers = [name for name in wiring.servers if name in reached]
    success = np.zeros((len(users), len(base_stations)))
    reach = np.zeros((len(users), len(servers)), dtype=bool)
    airtimes_s, backhaul_s = [], np.full((len(base_stations), len(servers)), math.inf)
    for n, user in enumerate(users):
        for bs, _ in plan.layout.cells[user]:
            channel = wiring.channel(user, bs, plan.scenario.channel)
            success[n, base_stations.index(bs)] = channel.nominal_success
            airtimes_s.append(channel.airtime_s(wiring.users[user].input_bits, 0.0, 0.5))
            for server, delay_s in plan.layout.servers[bs]:
                m = servers.index(server)
                reach[n, m] = True
                backhaul_s[base_stations.index(bs), m] = delay_s
    classes = 1 + max(group.priority for group in plan.scenario.users)
    moments = [
        nominal_moments(wiring.servers[m].accelerator, wiring.servers[m].speed) for m in servers
    ]
    groups = [wiring.users[user] for user in users]
    problem = Problem(
        weights=np.array([group.weight for group in groups]),
        priorities=np.array([group.priority for group in groups]),
        rate_max_hz=np.full(len(users), RATE_MAX_HZ),
        success=success,
        reach=reach,
        capacity_hz=np.array([_capacity_hz(wiring, bs) for bs in base_stations]),
        slot_s=float(np.mean(airtimes_s)),
        radio_delay_s=np.zeros(len(base_stations)),
        backhaul_delay_s=backhaul_s,
        mean_s=np.array([[mean_s] * classes for mean_s, _ in moments]),
        second_moment_s2=np.array([[second_s2] * classes for _, second_s2 in moments]),
    )
    return Whole(problem, users, base_stations, servers)


def _capacity_hz(wiring: Wiring, bs: NodeId) -> float:
    group = wiring.base_stations[bs]
    return (group.channels or 0) / group.grant_s
