"""Who leads which mini-round of the re-optimisation: a public schedule, the same at every node.

Base stations at most `reach` hops from a leader are its members, those one hop further its ring;
leaders of one round are more than 2 reach + 1 hops apart, so no ring meets another's members
(docs/todg.md, The knob). It depends on the graph of base stations alone, which the
membership service announces with every epoch; it has to be made anew when that graph changes.

Two thrifts, neither of which weakens the guarantee that the weight never falls. Leaders with
equal members are merged into one. And where some leader's members are its whole connected
component, it alone leads there: its schedule is the component's optimum, nothing is left to gain.
What a leader that stands for several says and is told is sent twice, for all depends on it.
"""

from msgspec import Struct
from networkx import Graph, connected_components, greedy_color, single_source_shortest_path_length

COPIES = 2  # in a region whose leader stands for several, which saved at least as many messages


class Region(Struct, frozen=True):
    """One leader's region: base station -> hops from the leader, up to reach + 1.

    `is_whole` says that no ring is left. `copies` is how often each message is sent.
    """

    leader: int
    hops: dict[int, int]
    reach: int
    is_whole: bool
    copies: int

    @property
    def members(self) -> list[int]:
        """Names the base stations whose schedule the leader may change, nearest first."""
        inside = [bs for bs, hops in self.hops.items() if hops <= self.reach]
        return sorted(inside, key=lambda bs: (self.hops[bs], bs))


class Plan(Struct, frozen=True):
    """The rounds of one sweep: the regions that are re-optimised side by side in each."""

    rounds: tuple[tuple[Region, ...], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Says whether every leader solves all of its connected component."""
        regions = [region for part in self.rounds for region in part]
        return bool(regions) and all(region.is_whole for region in regions)


def plan_rounds(stations: "Graph[int]", reach: int) -> Plan:
    """Colours the (2 reach + 1)-th power of the graph of base stations; one round per colour."""
    near = {
        bs: dict(single_source_shortest_path_length(stations, bs, cutoff=2 * reach + 1))
        for bs in sorted(stations)
    }
    members = {
        bs: frozenset(other for other, hops in near[bs].items() if hops <= reach) for bs in near
    }
    stands_for = _merged(stations, near, members)
    power: Graph[int] = Graph()
    power.add_nodes_from(stands_for)
    power.add_edges_from((a, b) for a in stands_for for b in near[a] if b in stands_for and a < b)
    colour = greedy_color(power, "largest_first")
    rounds: list[list[Region]] = [[] for _ in range(max(colour.values(), default=-1) + 1)]
    for leader, merged in stands_for.items():
        region = Region(
            leader=leader,
            hops={bs: hops for bs, hops in near[leader].items() if hops <= reach + 1},
            reach=reach,
            is_whole=not any(hops == reach + 1 for hops in near[leader].values()),
            copies=COPIES if merged > 1 else 1,
        )
        rounds[colour[leader]].append(region)
    return Plan(tuple(map(tuple, rounds)))


def _merged(
    stations: "Graph[int]", near: dict[int, dict[int, int]], members: dict[int, frozenset[int]]
) -> dict[int, int]:
    """Returns the leaders, and for how many base stations each stands.

    Among equals the one that its members reach in the fewest hops, then the lowest.
    """
    component = {bs: frozenset(part) for part in connected_components(stations) for bs in part}
    equals: dict[frozenset[int], list[int]] = {}
    for bs, inside in members.items():
        equals.setdefault(inside, []).append(bs)
    whole = {inside for inside in equals if inside == component[next(iter(inside))]}
    stands_for: dict[int, int] = {}
    for inside, candidates in equals.items():
        if inside not in whole and component[next(iter(inside))] in whole:
            continue
        leader = min(candidates, key=lambda bs: (sum(near[bs].values()), bs))
        stands_for[leader] = len(inside) if inside in whole else len(candidates)
    return dict(sorted(stands_for.items()))
