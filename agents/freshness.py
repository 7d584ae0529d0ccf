"""Age of information: the sawtooth of one user, integrated exactly.

The age at time t is t minus the birth of the freshest sample received by t. It grows with slope
one and falls at the receipt of a fresher sample; the value just before a fall is a peak. Source:
Kaul, Yates, Gruteser, "Real-time status", INFOCOM 2012; freshness specification, section 10.12.
"""


class AgeTracker:
    """Follows one user's age from `start_s` on, when it is taken as fresh (age zero)."""

    __slots__ = ("_area_s2", "_born_s", "_last_s")

    def __init__(self, start_s: float = 0.0) -> None:
        self._born_s = start_s  # birth of the freshest sample received
        self._last_s = start_s  # the instant of its receipt: the integral reaches to it
        self._area_s2 = 0.0

    def age_s(self, now_s: float) -> float:
        return now_s - self._born_s

    def receive(self, born_s: float, now_s: float) -> float | None:
        """Takes a sample in; returns the peak age it ends, None if it brings no news.

        A sample no fresher than the freshest one received was overtaken on its way.
        """
        if born_s <= self._born_s:
            return None
        # A trapezoid since the last receipt: the age rose from last - born with slope one.
        self._area_s2 = self.area_until_s2(now_s)
        self._last_s = now_s
        peak_s = now_s - self._born_s
        self._born_s = born_s
        return peak_s

    def area_until_s2(self, now_s: float) -> float:
        """Returns the integral of the age from the start to `now_s`: differences give windows."""
        elapsed_s = now_s - self._last_s
        return self._area_s2 + elapsed_s * (0.5 * (self._last_s + now_s) - self._born_s)
