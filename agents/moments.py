"""Running estimates of the first two moments of a random quantity, with change detection.

Used for service times (seconds) and, as samples 0 and 1, for success probabilities. All samples
since the last change count alike, so that a steady quantity gets an estimate as steady as its
number of samples allows; a change is seen by a short memory that leaves the long one behind.
Source: distillation specification, section 7; the rule is a Shewhart chart on an exponentially
weighted average (Roberts 1959).
"""


class Moments:
    """Estimates E[X] and E[X^2] from a prior, which counts as `PRIOR_WEIGHT` samples."""

    PRIOR_WEIGHT = 5.0
    WEIGHT_MAX = 2000.0  # samples; beyond it the past fades, so that slow drift is followed
    GAIN = 0.1  # of the short memory: about 19 samples
    ALARM_SE = 5.0  # standard errors between the two memories that make a change
    ALARM_SHARE = 0.05  # but never less than this share of the mean
    _VARIANCE_GAIN = ALARM_SE**2 * GAIN / (2.0 - GAIN)

    __slots__ = ("_fast", "_fast_second", "changes", "mean", "second_moment", "weight")

    def __init__(self, mean: float, second_moment: float) -> None:
        self.weight = self.PRIOR_WEIGHT
        self.mean = self._fast = mean
        self.second_moment = self._fast_second = second_moment
        self.changes = 0  # seen so far

    def observe(self, value: float) -> None:
        square = value * value
        mean = self.mean
        self._fast += self.GAIN * (value - self._fast)
        self._fast_second += self.GAIN * (square - self._fast_second)
        apart = (self._fast - mean) ** 2
        variance = self.second_moment - mean * mean
        floor = self.ALARM_SHARE * mean
        if apart > self._VARIANCE_GAIN * variance and apart > floor * floor:
            # Part of the short memory is from before; what follows outweighs it soon.
            self.weight = 1.0 / self.GAIN
            self.mean, self.second_moment = self._fast, self._fast_second
            self.changes += 1
        weight = min(self.weight + 1.0, self.WEIGHT_MAX)
        self.mean += (value - self.mean) / weight
        self.second_moment += (square - self.second_moment) / weight
        self.weight = weight
