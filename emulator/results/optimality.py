"""How heavy the schedules of a scheduled network are: sampled slots against the exact optimum.

An observer outside the nodes, which never learn of it. Base stations tell the journal of a few
slots (`scheduling.sampled_slots`) what they weighed and whom they gave channels; a slot that all of
them told of is compared with the heaviest schedule for the same weights, by integer programming.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from agents.messages import NodeId
from agents.messages.slots import Allocated
from agents.reference.exact_schedule import heaviest, weigh
from agents.todg.allocation.conflict_graph import ConflictGraph
from emulator.results.metric import Metric, Span, Value, ratio

UNFINISHED_MAX = 8  # slots; what a base station has not told by then it lost


class Allocations:
    """Folds what base stations tell; `graph` is that of the whole network, slots last `slot_s`."""

    def __init__(self, graph: ConflictGraph, slot_s: float) -> None:
        # Loaded before any clock starts: 0.3 s, which a run in real time would feel.
        import scipy.optimize  # noqa: F401

        self.slot_s = slot_s
        self.shares: list[float] = []  # of each slot compared so far: weight over the heaviest
        self.per_slot: dict[str, float | None] = {}  # mini-rounds and messages
        self._stepped = 0  # shares, when the last step ended
        self._graph = graph
        self._told: OrderedDict[int, dict[NodeId, Allocated]] = OrderedDict()

    def take(self, part: Allocated) -> None:
        parts = self._told.setdefault(part.slot, {})
        parts[part.bs] = part
        if len(parts) == len(self._graph.stations):
            self._compare(self._told.pop(part.slot).values())
        elif len(self._told) > UNFINISHED_MAX:
            self._told.popitem(last=False)

    def end_step(self, reported: Mapping[str, float], now_s: float) -> float | None:
        """Takes in the counts of the whole run so far; returns the mean share since the last step.

        All that allocate in a slot play as many rounds; some may be down.
        """
        slots = now_s / self.slot_s
        wholes = {"mini_rounds": reported.get("allocations", 0.0)}
        self.per_slot = {
            name: ratio(reported[name], wholes.get(name, slots))
            for name in ("mini_rounds", "messages", "bytes")
            if name in reported
        }
        fresh = self.shares[self._stepped :]
        self._stepped += len(fresh)
        return ratio(math.fsum(fresh), len(fresh))

    def _compare(self, parts: Iterable[Allocated]) -> None:
        graph = self._graph
        weights = np.zeros((len(graph.users), graph.channels))
        schedule: dict[int, int] = {}
        for part in parts:
            said = np.frombuffer(part.weights, dtype=np.float32)
            weights[list(part.users)] = said.reshape(-1, graph.channels)
            held = zip(part.users, part.channel, strict=True)
            schedule |= {user: channel for user, channel in held if channel >= 0}
        _, most = heaviest(graph, weights)
        if most > 0.0:
            self.shares.append(weigh(schedule, weights) / most)


Fold = Callable[[Sequence[Allocations], Span], Value]


def _per_slot(name: str) -> Fold:
    return lambda networks, span: networks[0].per_slot.get(name)


def _mean_share(networks: Sequence[Allocations], span: Span) -> Value:
    shares = networks[0].shares
    return ratio(math.fsum(shares), len(shares))


METRICS = (
    Metric(
        name="weight_ratio_mean",
        about="weight of a slot's schedule over the heaviest there is, mean",
        label="weight over the heaviest, mean",
        unit="ratio",
        fold=_mean_share,
        of="network",
        more_is_better=True,
        is_compared=True,
        is_gauge=True,
    ),
    Metric(
        name="weight_ratio_min",
        about="weight of a slot's schedule over the heaviest there is, least",
        label="weight over the heaviest, least",
        unit="ratio",
        fold=lambda networks, span: min(networks[0].shares, default=None),
        of="network",
        more_is_better=True,
    ),
    Metric(
        name="mini_rounds_per_slot",
        about="rounds of messages between base stations to agree on a schedule",
        label="mini-rounds per slot",
        fold=_per_slot("mini_rounds"),
        of="network",
    ),
    Metric(
        name="messages_per_slot",
        about="control messages, all nodes together, per slot",
        label="control messages per slot",
        fold=_per_slot("messages"),
        of="network",
        is_compared=True,
    ),
    Metric(
        name="bytes_per_slot",
        about="bytes of control messages, all nodes together, per slot",
        label="control bytes per slot",
        fold=_per_slot("bytes"),
        of="network",
        is_compared=True,
    ),
)
