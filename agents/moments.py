"""Running estimates of the first two moments of a random quantity, with change detection.

Used for service times (seconds); success probabilities have `popec/success.py`. All samples
since the last change count alike, so that a steady quantity gets an estimate as steady as its
number of samples allows. A change is seen by two cumulative sums (Page 1954), one for each
direction, of samples cut off at twice the mean: on a real machine a service now and then takes ten
times as long, and rare stalls are no change. The moments themselves cut nothing off.
"""

import math


class Moments:
    """Estimates E[X] and E[X^2] from a prior, which counts as `PRIOR_WEIGHT` samples.

    Many attributes: two moments, each as sum, recent block and reference for the change detection;
    floats of their own because they are on the hot path.
    """

    PRIOR_WEIGHT = 5.0
    WEIGHT_MAX = 2000.0  # samples; beyond it the past fades, so that slow drift is followed
    GAIN = 0.1  # of the short memory that estimates begin anew from
    CUT = 2.0  # means
    # What a sample must differ by to count, and what the sum must reach: in standard deviations of
    # the samples cut off, but in shares of the mean where that is more.
    SLACK_SD, SLACK_SHARE = 0.3, 0.05
    ALARM_SD, ALARM_SHARE = 20.0, 6.0
    THRESHOLDS_EVERY = 8  # samples: a square root for each would be a tenth of the cost

    __slots__ = (
        "_above",
        "_above_for",
        "_alarm",
        "_below",
        "_below_for",
        "_cut_mean",
        "_cut_second",
        "_fast",
        "_fast_second",
        "_limit",
        "_reference",
        "_slack",
        "_until_next",
        "changes",
        "mean",
        "second_moment",
        "weight",
    )

    def __init__(self, mean: float, second_moment: float) -> None:
        self.changes = 0  # seen so far
        self._begin(mean, second_moment, self.PRIOR_WEIGHT)

    def _begin(self, mean: float, second_moment: float, weight: float) -> None:
        self.weight = weight
        self.mean = self._fast = self._cut_mean = self._reference = mean
        self.second_moment = self._fast_second = self._cut_second = second_moment
        self._limit = self.CUT * mean or math.inf
        self._above = self._below = 0.0
        self._above_for = self._below_for = 0  # samples since the sum was last zero
        self._set_thresholds()

    def observe(self, value: float) -> None:
        square = value * value
        self._fast += self.GAIN * (value - self._fast)
        self._fast_second += self.GAIN * (square - self._fast_second)
        cut = value if value < self._limit else self._limit
        apart = cut - self._cut_mean
        slack = self._slack
        above, below = self._above + apart - slack, self._below - apart - slack
        # Written out: this is called for every service, and max() costs as much as all of it.
        if above > 0.0:
            self._above_for += 1
        else:
            above, self._above_for = 0.0, 0
        if below > 0.0:
            self._below_for += 1
        else:
            below, self._below_for = 0.0, 0
        self._above, self._below = above, below
        alarm = self._alarm
        if above > alarm or below > alarm:
            self._restart(self._above_for if above > below else self._below_for)
            return
        weight = self.weight + 1.0 if self.weight < self.WEIGHT_MAX else self.WEIGHT_MAX
        self.mean += (value - self.mean) / weight
        self.second_moment += (square - self.second_moment) / weight
        self._cut_mean += apart / weight
        self._cut_second += (cut * cut - self._cut_second) / weight
        self.weight = weight
        self._until_next -= 1
        if not self._until_next:
            self._set_thresholds()

    def _set_thresholds(self) -> None:
        variance = self._cut_second - self._cut_mean * self._cut_mean
        deviation = math.sqrt(variance) if variance > 0.0 else 0.0
        unsure = max(self.SLACK_SD, 2.0 / math.sqrt(self.weight))
        self._slack = max(unsure * deviation, self.SLACK_SHARE * self._reference)
        self._alarm = max(self.ALARM_SD * deviation, self.ALARM_SHARE * self._reference)
        self._until_next = self.THRESHOLDS_EVERY

    def _restart(self, samples: int) -> None:
        """Begins anew from what the short memory holds of the last `samples`, without what was."""
        kept = (1.0 - self.GAIN) ** samples
        mean = max(0.0, (self._fast - kept * self.mean) / (1.0 - kept))
        second = (self._fast_second - kept * self.second_moment) / (1.0 - kept)
        self._begin(mean, max(second, mean * mean), float(samples))
        self.changes += 1
