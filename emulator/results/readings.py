"""What the nodes of one host tell of themselves over time, added up; some come and go meanwhile."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from agents.messages import NodeId

Read = Callable[[float], dict[str, float]]


class Readout:
    """The sum over nodes. What `counting` names never falls: those that are gone still count."""

    def __init__(self, counting: Collection[str] = ()) -> None:
        self._counting = frozenset(counting)
        self._of: dict[NodeId, Sequence[Read]] = {}
        self._past: defaultdict[str, float] = defaultdict(float)

    def put(self, node: NodeId, reads: Sequence[Read], now_s: float = 0.0) -> None:
        """Reads a node from now on, in place of the one that had its name before."""
        for read in self._of.get(node, ()):
            for name, value in read(now_s).items():
                if name in self._counting:
                    self._past[name] += value
        self._of[node] = reads

    def total(self, now_s: float) -> dict[str, float]:
        values = defaultdict(float, self._past)
        for reads in self._of.values():
            for read in reads:
                for name, value in read(now_s).items():
                    values[name] += value
        return dict(values)
