"""An estimate of a success probability, steady while nothing changes, and quick when it does.

All outcomes since the last change count alike. A change is seen when two probabilities, one before
and one after it, explain the outcomes so much better than a single one that chance is no
explanation: a likelihood ratio test (Wilks 1938) of the newest outcomes against all before them.
Unlike a test by standard errors it holds for links that hardly ever lose, or hardly ever do not.

Channels of one slot fade together: what was sent at one time is taken for one outcome's worth of
evidence, though every outcome counts in the mean.
"""

import math


class SuccessEstimate:
    """Estimates P(success); what was known before, `nominal`, counts as one more outcome."""

    MEMORY = 2000  # outcomes; beyond it the past is dropped, so that slow drift is followed
    NEWEST = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # outcomes that may be of a new kind
    OLDER_MIN = 8
    ALARM = 10.0  # ln of the likelihood ratio; by chance once in some 50,000 outcomes

    GAIN = 0.05  # of the running mean of how many were sent at one time

    def __init__(self, nominal: float) -> None:
        self._nominal = nominal
        self.sums = [0]  # successes among the first 0, 1, 2, ... outcomes since the last change
        self.losses_in_a_row = 0.0  # of independent ones
        self._at_s = -1.0  # of the last outcome,
        self._same = 0  # and how many have been of that time
        self._together = 1.0  # mean of that, as an outcome finds it

    @property
    def weight(self) -> float:
        return len(self.sums)

    @property
    def mean(self) -> float:
        return (self.sums[-1] - self.sums[0] + self._nominal) / len(self.sums)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        weight = self.weight
        smooth = (self.mean * weight + 1.0) / (weight + 2.0)  # Laplace: none is surely 0 or 1
        return math.sqrt(smooth * (1.0 - smooth) / weight * self._together)

    def observe(self, got_through: bool, at_s: float) -> None:
        """Counts an outcome; `at_s` names when it was sent."""
        if at_s != self._at_s:
            # Weighed by their number: an outcome is more likely to be one of many.
            for _ in range(self._same):
                self._together += self.GAIN * (self._same - self._together)
            self._at_s, self._same = at_s, 0
        self._same += 1
        sums = self.sums
        sums.append(sums[-1] + got_through)
        row = self.losses_in_a_row + 1.0 / self._together
        self.losses_in_a_row = 0.0 if got_through else row
        if len(sums) > 2 * self.MEMORY:
            del sums[: self.MEMORY]  # by halves: to move all by one each time costs too much
        if newest := self._changed():
            del sums[: -1 - newest]

    def _changed(self) -> int:
        """Returns how many of the newest outcomes are of another kind than the older; 0: none."""
        sums = self.sums
        count, first, last = len(sums) - 1, sums[0], sums[-1]
        same = _log_likelihood(count, last - first)
        best, changed = self.ALARM * self._together, 0
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
