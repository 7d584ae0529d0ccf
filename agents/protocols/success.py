"""An estimate of a success probability, steady while nothing changes, and quick when it does.

All outcomes since the last change count alike. A change is seen when two probabilities, one before
and one after it, explain the outcomes so much better than a single one that chance is no
explanation: a likelihood ratio test (Wilks 1938) of the newest outcomes against all before them.
Unlike a test by standard errors it holds for links that hardly ever lose, or hardly ever do not.
"""

import math


class SuccessEstimate:
    """Estimates P(success); what was known before, `nominal`, counts as one more outcome."""

    MEMORY = 2000  # outcomes; beyond it the past is dropped, so that slow drift is followed
    NEWEST = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # outcomes that may be of a new kind
    OLDER_MIN = 8
    ALARM = 12.0  # ln of the likelihood ratio; by chance once in some 200,000 outcomes

    __slots__ = ("_nominal", "_sums", "losses_in_a_row")

    def __init__(self, nominal: float) -> None:
        self._nominal = nominal
        self._sums = [0]  # successes among the first 0, 1, 2, ... outcomes since the last change
        self.losses_in_a_row = 0

    @property
    def weight(self) -> float:
        return len(self._sums)

    @property
    def mean(self) -> float:
        return (self._sums[-1] - self._sums[0] + self._nominal) / len(self._sums)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        weight = self.weight
        smooth = (self.mean * weight + 1.0) / (weight + 2.0)  # Laplace: none is surely 0 or 1
        return math.sqrt(smooth * (1.0 - smooth) / weight)

    def observe(self, got_through: bool) -> None:
        sums = self._sums
        sums.append(sums[-1] + got_through)
        self.losses_in_a_row = 0 if got_through else self.losses_in_a_row + 1
        if len(sums) > 2 * self.MEMORY:
            del sums[: self.MEMORY]  # by halves: to move all by one each time costs too much
        if newest := self._changed():
            del sums[: -1 - newest]

    def _changed(self) -> int:
        """Returns how many of the newest outcomes are of another kind than the older; 0: none."""
        sums = self._sums
        count, first, last = len(sums) - 1, sums[0], sums[-1]
        same = _log_likelihood(count, last - first)
        best, changed = self.ALARM, 0
        for newest in self.NEWEST:
            older = count - newest
            if older < self.OLDER_MIN:
                break
            middle = sums[older]
            apart = _log_likelihood(newest, last - middle) + _log_likelihood(older, middle - first)
            if apart - same > best:
                best, changed = apart - same, newest
        return changed


def _log_likelihood(count: int, successes: int) -> float:
    """Returns the log-likelihood of outcomes under the probability that explains them best."""
    if successes in (0, count):
        return 0.0
    p = successes / count
    return successes * math.log(p) + (count - successes) * math.log(1.0 - p)
