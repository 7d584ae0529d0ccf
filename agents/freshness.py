"""Age of information: the sawtooth of one user, and the exact integral of many.

The age at time t is t minus the birth of the freshest sample received by t. It grows with slope
one and falls at the receipt of a fresher sample; the value just before a fall is a peak. Source:
Kaul, Yates, Gruteser, "Real-time status", INFOCOM 2012; freshness specification, section 10.12.
"""


class AgeTracker:
    """Follows one user's age, which is zero at time zero."""

    __slots__ = ("_born_s",)

    def __init__(self) -> None:
        self._born_s = 0.0  # birth of the freshest sample received

    def age_s(self, now_s: float) -> float:
        return now_s - self._born_s

    def receive(self, born_s: float, now_s: float) -> float | None:
        """Takes a sample in; returns the peak age it ends, None if it brings no news.

        A sample no fresher than the freshest one received was overtaken on its way.
        """
        if born_s <= self._born_s:
            return None
        peak_s = now_s - self._born_s
        self._born_s = born_s
        return peak_s


class AgeIntegral:
    """Integrates the ages of `users` users together, at a cost that does not grow with them.

    Without any receipt each age is t. A receipt at t lowers one age by a fall for good, so the
    integral to T is users T^2 / 2 - sum of fall (T - t): two sums, in whatever order they come.
    """

    def __init__(self, users: int) -> None:
        self.users = users
        self._falls_s = 0.0
        self._fall_instants_s2 = 0.0  # the sum of fall times its instant

    def fall(self, fall_s: float, at_s: float) -> None:
        """Takes in that one age fell by `fall_s` at `at_s`."""
        self._falls_s += fall_s
        self._fall_instants_s2 += fall_s * at_s

    def until_s2(self, now_s: float) -> float:
        """Returns the integral from zero to `now_s`, no earlier than any fall taken in."""
        return 0.5 * self.users * now_s * now_s - self._falls_s * now_s + self._fall_instants_s2

    def add(self, other: "AgeIntegral") -> None:
        """Takes in the users of another integral and all their falls."""
        self.users += other.users
        self._falls_s += other._falls_s
        self._fall_instants_s2 += other._fall_instants_s2
