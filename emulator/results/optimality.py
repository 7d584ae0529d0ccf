"""How heavy the schedules of a scheduled network are: sampled slots against the exact optimum.

An observer outside the nodes, which never learn of it. Base stations tell the journal of a few
slots (`scheduling.sampled_slots`) what they weighed and whom they gave channels; a slot that all of
them told of is compared with the heaviest schedule for the same weights, by integer programming.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from agents.messages import NodeId
from agents.messages.slots import Allocated
from agents.reference.exact_schedule import heaviest, weigh
from agents.todg.allocation.conflict_graph import ConflictGraph
from emulator.results.stats import ratio

UNFINISHED_MAX = 8  # slots; what a base station has not told by then it lost


class Allocations:
    """Folds what base stations tell; `graph` is that of the whole network, slots last `slot_s`."""

    def __init__(self, graph: ConflictGraph, slot_s: float) -> None:
        # Loaded before any clock starts: 0.3 s, which a run in real time would feel.
        import scipy.optimize  # noqa: F401

        self.slot_s = slot_s
        self.shares: list[float] = []  # of each slot compared so far: weight over the heaviest
        self._graph = graph
        self._told: OrderedDict[int, dict[NodeId, Allocated]] = OrderedDict()

    def take(self, part: Allocated) -> None:
        parts = self._told.setdefault(part.slot, {})
        parts[part.bs] = part
        if len(parts) == len(self._graph.stations):
            self._compare(self._told.pop(part.slot).values())
        elif len(self._told) > UNFINISHED_MAX:
            self._told.popitem(last=False)

    def summary(self, reported: Mapping[str, float], now_s: float) -> dict[str, float | None]:
        """Returns the metrics of the allocation; `reported` are counts of the whole run."""
        shares, slots = self.shares, now_s / self.slot_s
        # All that allocate in a slot play as many rounds; some may be down.
        wholes = {
            "mini_rounds": reported.get("allocations", 0.0),
            "messages": slots,
            "bytes": slots,
        }
        per_slot = {
            f"{name}_per_slot": ratio(reported[name], whole)
            for name, whole in wholes.items()
            if name in reported
        }
        return {
            "weight_ratio_mean": math.fsum(shares) / len(shares) if shares else None,
            "weight_ratio_min": min(shares, default=None),
            **per_slot,
        }

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
