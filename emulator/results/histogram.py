"""Counts of values in bins, and quantiles from buckets.

Memory does not grow with the number of values: quantiles come from buckets 2 % apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class Bins:
    """Counts of values between fixed bounds, and their exact sum.

    Values are put into bins together: ten times cheaper than one by one.
    """

    BATCH = 4096

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        """`bounds` rise; a value on a bound counts as below it."""
        self.bounds = tuple(bounds)
        self._binned = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self._count = 0
        self._total = 0.0
        self._fresh: list[float] = []  # not yet in their bins
        self.add: Callable[[float], None] = self._fresh.append
        """Takes a value in. Whoever adds many calls `settle` now and then."""

    @property
    def count(self) -> int:
        return self._count + len(self._fresh)

    @property
    def total(self) -> float:
        self.settle(1)
        return self._total

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def cumulative(self) -> list[int]:
        """Returns how many values are at most each bound, and last how many there are."""
        self.settle(1)
        return [int(n) for n in np.cumsum(self._binned)]

    def counts(self) -> list[int]:
        """Returns how many values each bin holds, and last how many lie above all bounds."""
        self.settle(1)
        return [int(n) for n in self._binned]

    def settle(self, at_least: int = BATCH) -> None:
        """Puts the values added since into their bins, once they are that many."""
        fresh = self._fresh
        if len(fresh) >= at_least:
            self._count += len(fresh)
            self._total += math.fsum(fresh)
            self._take(np.array(fresh))
            fresh.clear()

    def _take(self, values: NDArray[np.float64]) -> None:
        places = np.searchsorted(self.bounds, values, side="left")
        self._binned += np.bincount(places, minlength=len(self._binned))


class Histogram(Bins):
    """Bins that also know quantiles within 1 %, from buckets of positive values 2 % apart."""

    GROWTH = math.log(1.02)
    SMALLEST = 1e-9  # anything below counts as it

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        super().__init__(bounds)
        self._buckets: Counter[int] = Counter()  # bucket b holds 1.02^b up to 1.02^(b+1)

    @classmethod
    def merged(cls, others: Iterable["Histogram"]) -> "Histogram":
        """Adds up what several counted, their bins left out: bounds may differ."""
        everything = cls()
        for other in others:
            everything.merge(other)
        return everything

    def merge(self, other: "Histogram") -> None:
        for histogram in (self, other):
            histogram.settle(1)
        self._buckets.update(other._buckets)
        self._count += other._count
        self._total += other._total

    def quantile(self, q: float) -> float | None:
        """Returns the middle of the bucket that holds the quantile; None when empty."""
        self.settle(1)
        below, count = 0, self.count
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= q * count:
                return math.exp((bucket + 0.5) * self.GROWTH)
        return None

    def distribution(self) -> list[tuple[float, float]]:
        """Returns (upper edge, share of values below it) of every bucket in use, rising."""
        self.settle(1)
        below, count = 0, self.count
        points = []
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            points.append((math.exp((bucket + 1) * self.GROWTH), below / count))
        return points

    def _take(self, values: NDArray[np.float64]) -> None:
        if self.bounds:
            super()._take(values)
        logs = np.log(np.maximum(values, self.SMALLEST))
        buckets, counts = np.unique(np.floor(logs / self.GROWTH), return_counts=True)
        self._buckets.update(dict(zip(map(int, buckets), map(int, counts), strict=True)))
