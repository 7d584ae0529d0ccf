"""Distributions of positive durations, given by mean and squared coefficient of variation.

One uniform per draw, by inversion, so that a stream's count of draws never depends on the values
drawn, and no tail is cut but by the 2^-53 that a uniform leaves between its last value and 1.
"""

from collections.abc import Callable
from math import exp, log, log1p, sqrt
from statistics import NormalDist
from typing import Literal

Kind = Literal["deterministic", "exponential", "gamma", "lognormal", "hyperexponential"]

# The largest squared coefficient of variation of each distribution that draws can keep. Past 1000
# the cut at 1 - 2^-53 takes more than 0.2 % of a lognormal second moment (of the mean: 2e-8). Past
# 16 a gamma distribution nears quantiles below the least number there is: services of no time.
SCV_MAX: dict[Kind, float] = {"gamma": 16.0, "lognormal": 1000.0, "hyperexponential": 1000.0}
SCV_MIN = 1e-12  # below, all draws are alike but for rounding
UNIFORM_MIN = 2.0**-54  # in place of the 0 that a stream may yield: half of the next one

Draw = Callable[[float], float]
"""Maps a uniform from [0, 1) to a duration in seconds."""


def draw_of(kind: Kind, mean_s: float, scv: float) -> Draw:
    """Returns the distribution's draw. `scv` is the squared coefficient of variation.

    Deterministic has scv 0 and exponential scv 1, whatever is passed.
    """
    match kind:
        case "deterministic":
            return lambda u: mean_s
        case "exponential":
            return lambda u: -mean_s * log(1.0 - u) if u else mean_s * UNIFORM_MIN
        case "hyperexponential":
            return _hyperexponential(mean_s, scv)
        case "lognormal":
            return _lognormal(mean_s, scv)
        case "gamma":
            return _gamma(mean_s, scv)


def second_moment_s2(kind: Kind, mean_s: float, scv: float) -> float:
    """Returns E[S^2] = (1 + scv) E[S]^2."""
    fixed = {"deterministic": 0.0, "exponential": 1.0}
    return (1.0 + fixed.get(kind, scv)) * mean_s * mean_s


def _lognormal(mean_s: float, scv: float) -> Draw:
    variance = log1p(scv)  # of the logarithm
    sigma, median_s = sqrt(variance), mean_s * exp(-0.5 * variance)
    quantile = NormalDist().inv_cdf
    return lambda u: median_s * exp(sigma * quantile(u or UNIFORM_MIN))


def _gamma(mean_s: float, scv: float) -> Draw:
    from scipy.special import (
        gammaincinv,  # 0.3 s to import: only scenarios with such a distribution pay
    )

    shape, scale_s = 1.0 / scv, scv * mean_s
    return lambda u: scale_s * float(gammaincinv(shape, u or UNIFORM_MIN))


def _hyperexponential(mean_s: float, scv: float) -> Draw:
    """Two balanced phases (each carries half the mean); scv >= 1. The uniform is used twice:
    which phase, then, rescaled to [0, 1) within that phase, how long."""
    p = 0.5 * (1.0 + sqrt((scv - 1.0) / (scv + 1.0)))
    first_s, second_s = 0.5 * mean_s / p, 0.5 * mean_s / (1.0 - p)

    def draw(u: float) -> float:
        if u < p:
            return -first_s * log(1.0 - u / p) if u else first_s * UNIFORM_MIN
        within = (u - p) / (1.0 - p)
        return -second_s * log(1.0 - within) if within else second_s * UNIFORM_MIN

    return draw
