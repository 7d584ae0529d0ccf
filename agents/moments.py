"""Running estimates of the first two moments of a service time.

Exponentially weighted sums that start from a prior, so that the first reports are usable and a
slow-down shows after about one half-life. Not a change detector. Source: distillation
specification, section 7.
"""


class Moments:
    """Estimates E[S] and E[S^2] in seconds and seconds squared.

    The prior counts as `PRIOR_WEIGHT` samples and fades like any other past.
    """

    HALF_LIFE = 100.0  # services; a 2x slow-down is 50 % visible after as many
    PRIOR_WEIGHT = 5.0

    def __init__(self, prior_mean_s: float, prior_second_moment_s2: float) -> None:
        self._keep = 0.5 ** (1.0 / self.HALF_LIFE)
        self._weight = self.PRIOR_WEIGHT
        self._first = self._weight * prior_mean_s
        self._second = self._weight * prior_second_moment_s2

    def observe(self, service_s: float) -> None:
        keep = self._keep
        self._weight = keep * self._weight + 1.0
        self._first = keep * self._first + service_s
        self._second = keep * self._second + service_s * service_s

    @property
    def mean_s(self) -> float:
        return self._first / self._weight

    @property
    def second_moment_s2(self) -> float:
        return self._second / self._weight
