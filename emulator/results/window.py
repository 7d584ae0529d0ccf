"""What ended in a step of the run, or in several: the curves and tiles are made from it.

A window in which nothing ended has no value, so a curve shows a gap and a tile nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable

from agents.messages import NodeId, TaskEnd
from emulator.results.journal import LinkCount
from emulator.results.links import Links
from emulator.results.metric import ratio
from emulator.results.stats import STAGES


class Window:
    """`span_s` is how long it lasted. Delays and peaks are of results, in the order they came."""

    def __init__(self) -> None:
        self.span_s = 0.0
        self.results: list[TaskEnd] = []
        self.peaks_s: defaultdict[int, list[float]] = defaultdict(list)  # by priority
        self.lost: Counter[str] = Counter()  # tasks, by outcome
        self.given_up: Counter[str] = Counter()  # the same, by reason
        self.stays_max_s: dict[str, float] = {}  # of tasks with a deadline, by user group
        self.counts: list[LinkCount] = []  # of attempts on links

    def end(self, span_s: float) -> None:
        self.span_s = span_s

    @classmethod
    def together(cls, windows: Iterable["Window"]) -> "Window":
        """Adds several up."""
        everything = cls()
        for window in windows:
            everything.span_s += window.span_s
            everything.results += window.results
            for priority, peaks_s in window.peaks_s.items():
                everything.peaks_s[priority] += peaks_s
            everything.lost.update(window.lost)
            everything.given_up.update(window.given_up)
            for group, sojourn_s in window.stays_max_s.items():
                longest_s = everything.stays_max_s.get(group, 0.0)
                everything.stays_max_s[group] = max(longest_s, sojourn_s)
            everything.counts += window.counts
        return everything

    def columns(self) -> dict[str, float | None]:
        """Returns what it comes to, by column of the series."""
        delays_s = self.delays_s()
        return {
            "delay_s/mean": ratio(sum(delays_s), len(delays_s)),
            "delay_s/p95": p95(delays_s),
            **{f"paoi_s/{k}": ratio(sum(each), len(each)) for k, each in self.peaks_s.items()},
            **{f"sojourn_s/{group}": sojourn_s for group, sojourn_s in self.stays_max_s.items()},
            "uplink_loss_ratio": self.uplink_loss_ratio,
            **self._rates("lost_hz", self.lost, ("dropped", "expired")),
            **self._rates("given_up_hz", self.given_up, sorted(self.given_up)),
        }

    def details(self, servers: Container[NodeId]) -> dict[str, float | None]:
        """Returns what page and report show besides; runs in virtual time do not pay for it.

        `servers` are those at the edge: what a user's own CPU does has no column.
        """
        results, links = self.results, Links()
        for count in self.counts:
            links.take(count)
        stages_s = (
            [end.arrived_s - end.born_s for end in results],
            [end.started_s - end.arrived_s for end in results],
            [end.finished_s - end.started_s for end in results],
            [end.ended_s - end.finished_s for end in results],
        )
        served_s: defaultdict[NodeId, list[float]] = defaultdict(list)
        for end in results:
            served_s[end.server].append(end.finished_s - end.started_s)
        return {
            **{f"part_s/{stage}": p95(s) for stage, s in zip(STAGES, stages_s, strict=True)},
            **{f"service_s/{k}": sum(s) / len(s) for k, s in served_s.items() if k in servers},
            **{f"loss_ratio/{bs}": ratio(n, of) for bs, (of, n) in links.uplinks().items()},
        }

    @property
    def uplink_loss_ratio(self) -> float | None:
        """The share of uplink attempts that were lost; None before any."""
        uplinks = [count for count in self.counts if count.kind == "uplink"]
        losses = sum(sum(count.losses.values()) for count in uplinks)
        return ratio(losses, sum(count.attempts for count in uplinks))

    def delays_s(self) -> list[float]:
        """Returns the delays of all results; 0 for one that a clock set back hides the birth of."""
        delays_s = [end.ended_s - end.born_s for end in self.results]
        return delays_s if min(delays_s, default=0.0) >= 0.0 else [max(0.0, s) for s in delays_s]

    def _rates(
        self, column: str, counts: Counter[str], names: Iterable[str]
    ) -> dict[str, float | None]:
        return {f"{column}/{name}": counts[name] / self.span_s for name in names if self.span_s}


def p95(values: list[float]) -> float | None:
    """Returns the 95th percentile, between the two values beside it; None of nothing.

    Sorting few floats is cheaper here than any call of numpy.
    """
    if not values:
        return None
    rising, place = sorted(values), 0.95 * (len(values) - 1)
    low, high = rising[int(place)], rising[min(int(place) + 1, len(rising) - 1)]
    return low + (place - int(place)) * (high - low)
