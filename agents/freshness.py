"""Age of information: the sawtooth of one user, the exact integral of many, and expected waiting.

The age at time t is t minus the birth of the freshest sample received by t. It grows with slope
one and falls at the receipt of a fresher sample; the value just before a fall is a peak. Source:
Kaul, Yates, Gruteser, "Real-time status", INFOCOM 2012.

The expected wait is Cobham's for one server with Poisson arrivals, one non-preemptive queue and
first come first served inside a class (Cobham, 1954). With class 0 the most urgent:

| symbol | meaning | unit |
| --- | --- | --- |
| a_k | arrival rate of class k | 1/s |
| s_k, s2_k | E[S], E[S^2] of class k | s, s^2 |
| sigma_k | a_0 s_0 + .. + a_k s_k, the load of classes no less urgent than k | 1 |
| R | sum over all classes of a_k s2_k / 2, the mean residual service | s |
| W_k | R / ((1 - sigma_{k-1}) (1 - sigma_k)), sigma_{-1} = 0 | s |

The peak age of a user in a network of such servers is in `reference/problem.py`.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class AgeTracker:
    """Follows one user's age, which is zero at time zero."""

    def __init__(self) -> None:
        self._born_s = 0.0  # birth of the freshest sample received
        self.is_present = True
        self.peaks = 0  # those that whoever follows the age has counted,
        self.peaks_s = 0.0  # and their sum
        self.on_time = 0  # results by their deadline, the same

    def age_s(self, now_s: float) -> float:
        """Returns the age; 0 while the user is away, as nobody counts it then."""
        return now_s - self._born_s if self.is_present else 0.0

    def leave(self, now_s: float) -> float:
        """Ends the age of a user that goes; returns what it was."""
        age_s = self.age_s(now_s)
        self.is_present = False
        return age_s

    def join(self, now_s: float) -> None:
        """Lets the age of a user that comes begin at zero; older samples are no news to it."""
        self._born_s = now_s
        self.is_present = True

    def paoi_mean_s(self, now_s: float) -> float:
        """Returns the mean of the peaks counted; before any, the age."""
        return self.peaks_s / self.peaks if self.peaks else self.age_s(now_s)

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
    integral to T is users T^2 / 2 - sum of fall (T - t): two sums, in whatever order they come. A
    user that joins at t adds (T - t)^2 / 2, one that leaves takes as much away; its age falls to
    zero first.
    """

    def __init__(self, users: int) -> None:
        self.users = users
        self._falls_s = 0.0
        self._fall_instants_s2 = 0.0  # the sum of fall times its instant
        self._absence_s = 0.0  # sum of the instants of joining, less those of leaving

    def fall(self, fall_s: float, at_s: float) -> None:
        self._falls_s += fall_s
        self._fall_instants_s2 += fall_s * at_s

    def leave(self, age_s: float, at_s: float) -> None:
        self.fall(age_s, at_s)
        self._change(-1, at_s)

    def join(self, at_s: float) -> None:
        self._change(1, at_s)

    def _change(self, users: int, at_s: float) -> None:
        self.users += users
        self._absence_s += users * at_s
        # (T - t)^2 / 2 = T^2 / 2 - t (T - t / 2): as a fall of t at t / 2
        self.fall(users * at_s, 0.5 * at_s)

    def presence_s(self, now_s: float) -> float:
        """Returns how long all users together were there, from zero to `now_s`."""
        return self.users * now_s - self._absence_s

    def until_s2(self, now_s: float) -> float:
        """Returns the integral from zero to `now_s`, no earlier than any fall taken in."""
        return 0.5 * self.users * now_s * now_s - self._falls_s * now_s + self._fall_instants_s2

    def add(self, other: "AgeIntegral") -> None:
        """Takes in the users of another integral and all their falls."""
        self.users += other.users
        self._falls_s += other._falls_s
        self._fall_instants_s2 += other._fall_instants_s2
        self._absence_s += other._absence_s


class Waiting(Struct, frozen=True, eq=False):
    """Expected waiting times of K classes and how they answer to the arrival rates.

    With leading axes, such as one for servers, every shape is preceded by them.
    """

    wait_s: Floats  # (K,): W_k
    slope: Floats  # (K, K): dW_k / da_j, in s^2
    curvature: Floats  # (K, K, K): d2W_k / da_i da_j, in s^3


def load(rates_hz: Floats, mean_s: Floats) -> Floats:
    """Returns the load sigma_{K-1} of a server, for arrays (..., K): an array (...)."""
    total: Floats = np.einsum("...k,...k->...", rates_hz, mean_s)
    return total


def _headroom(rates_hz: Floats, mean_s: Floats) -> tuple[Floats, Floats]:
    """Returns 1 - sigma_{k-1} and 1 - sigma_k, each (..., K)."""
    after = 1.0 - np.cumsum(rates_hz * mean_s, axis=-1)
    before = np.ones_like(after)
    before[..., 1:] = after[..., :-1]
    return before, after


def waiting_s(rates_hz: Floats, mean_s: Floats, second_moment_s2: Floats) -> Floats:
    """Returns the expected wait W of each class, for arrays (..., K); a rate may be zero.

    At a load of one or more it is inf for all classes: urgent ones could still be served then, but
    the residual R would no longer be that of the arrivals.
    """
    before, after = _headroom(rates_hz, mean_s)
    residual_s = 0.5 * np.einsum("...k,...k->...", rates_hz, second_moment_s2)[..., None]
    # Beyond load one the product may turn positive again and the wait look excellent.
    stable = after[..., -1:] > 0.0
    product = np.where(stable, before * after, 1.0)
    return np.where(stable, residual_s / product, np.inf)


def waiting(rates_hz: Floats, mean_s: Floats, second_moment_s2: Floats) -> Waiting:
    """Differentiates the expected waits of a stable server, for arrays (..., K) as `waiting_s`.

    Raises ValueError at a load of one or more, where no derivative exists.
    """
    before, after = _headroom(rates_hz, mean_s)
    if not (after[..., -1] > 0.0).all():
        msg = f"waiting times have no derivative at load {np.max(load(rates_hz, mean_s)):.4f} >= 1"
        raise ValueError(msg)
    residual_s = 0.5 * np.einsum("...k,...k->...", rates_hz, second_moment_s2)[..., None]
    gain = 1.0 / (before * after)
    # Relative slopes of the two factors of the gain: s_j / (1 - sigma) where class j is in sigma.
    urgent = np.tri(rates_hz.shape[-1])  # row k: classes no less urgent than k
    of_after = urgent * mean_s[..., None, :] / after[..., :, None]
    of_before = np.tril(urgent, -1) * mean_s[..., None, :] / before[..., :, None]
    of_gain = of_after + of_before

    wait_s = residual_s * gain
    half_s2 = 0.5 * second_moment_s2[..., None, :]  # dR / da_j
    slope = half_s2 * gain[..., None] + wait_s[..., None] * of_gain
    mixed = (half_s2 * gain[..., None])[..., :, None] * of_gain[..., None, :]  # [k, i, j]
    squares = (
        of_gain[..., :, None] * of_gain[..., None, :]
        + of_after[..., :, None] * of_after[..., None, :]
        + of_before[..., :, None] * of_before[..., None, :]
    )
    curvature = mixed + mixed.swapaxes(-1, -2) + wait_s[..., None, None] * squares
    return Waiting(wait_s, slope, curvature)
