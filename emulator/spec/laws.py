"""Probability laws of positive durations, given by mean and squared coefficient of variation.

One uniform per draw, by inversion or table, so that a stream's count of draws never depends on
the values drawn.
"""

from collections.abc import Callable
from functools import lru_cache
from math import log, sqrt
from typing import Literal

import numpy as np

Kind = Literal["deterministic", "exponential", "gamma", "lognormal", "hyperexponential"]
TABLE_LEN = 20_000  # equally likely values; the far tail beyond the last one is cut

Draw = Callable[[float], float]
"""Maps a uniform from [0, 1) to a duration in seconds."""


def draw_of(kind: Kind, mean_s: float, scv: float) -> Draw:
    """Returns the law's draw. `scv` is the squared coefficient of variation.

    Deterministic has scv 0 and exponential scv 1, whatever is passed.
    """
    match kind:
        case "deterministic":
            return lambda u: mean_s
        case "exponential":
            return lambda u: -mean_s * log(1.0 - u)
        case "hyperexponential":
            return _hyperexponential(mean_s, scv)
        case "gamma" | "lognormal":
            table = _quantiles(kind, scv)
            return lambda u: mean_s * table[int(u * TABLE_LEN)]


def second_moment_s2(kind: Kind, mean_s: float, scv: float) -> float:
    """Returns E[S^2] = (1 + scv) E[S]^2."""
    fixed = {"deterministic": 0.0, "exponential": 1.0}
    return (1.0 + fixed.get(kind, scv)) * mean_s * mean_s


def _hyperexponential(mean_s: float, scv: float) -> Draw:
    """Two balanced phases (each carries half the mean); scv >= 1. The uniform is used twice:
    which phase, then, rescaled to [0, 1) within that phase, how long."""
    p = 0.5 * (1.0 + sqrt((scv - 1.0) / (scv + 1.0)))
    first_s, second_s = 0.5 * mean_s / p, 0.5 * mean_s / (1.0 - p)

    def draw(u: float) -> float:
        if u < p:
            return -first_s * log(1.0 - u / p)
        return -second_s * log(1.0 - (u - p) / (1.0 - p))

    return draw


@lru_cache(maxsize=64)
def _quantiles(kind: str, scv: float) -> tuple[float, ...]:
    """Tabulates equally likely values of mean one whose first two moments are exact."""
    from scipy import stats  # 0.5 s to import: only scenarios with such a law pay

    law = (
        stats.gamma(1.0 / scv, scale=scv)
        if kind == "gamma"
        else stats.lognorm(sqrt(np.log1p(scv)), scale=1.0 / sqrt(1.0 + scv))
    )
    levels = (np.arange(TABLE_LEN) + 0.5) / TABLE_LEN
    values = law.ppf(levels)
    # The midpoint rule misses a little of the tails; put mean and second moment right.
    spread = sqrt(scv / values.var())
    values = 1.0 + (values - values.mean()) * spread
    return tuple(np.maximum(values, 0.0).tolist())
