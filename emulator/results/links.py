"""Attempts on radio and backhaul links, and how many of them were lost, by cell."""

from collections import Counter

from agents.reasons import Reason
from emulator.results.journal import LinkCount
from emulator.results.metric import ratio


class Links:
    """Counts of a run, or of a part of it; `window.py` has those of a step."""

    def __init__(self) -> None:
        self.attempts: Counter[tuple[str, str]] = Counter()  # (base station, link kind)
        self.losses: Counter[tuple[str, str, Reason]] = Counter()  # the same and the reason
        self.bits = 0.0

    def take(self, count: LinkCount) -> None:
        self.attempts[count.bs, count.kind] += count.attempts
        self.bits += count.bits
        for reason, losses in count.losses.items():
            self.losses[count.bs, count.kind, reason] += losses

    def uplinks(self) -> dict[str, tuple[int, int]]:
        """Returns the attempts on each cell's uplinks, and how many of them were lost."""
        losses: Counter[str] = Counter()
        for (bs, kind, _), count in self.losses.items():
            if kind == "uplink":
                losses[bs] += count
        return {bs: (n, losses[bs]) for (bs, kind), n in self.attempts.items() if kind == "uplink"}

    @property
    def uplink_loss_ratio(self) -> float | None:
        """The share of uplink attempts that were lost; None before any."""
        counts = self.uplinks().values()
        return ratio(sum(losses for _, losses in counts), sum(n for n, _ in counts))
