"""What faults do to one link, and how the effects of several combine.

Every fault yields its own `Effect` (`link_types.py`, `radio.py`); each part of an effect combines
by one rule, so that order is nothing and healing all returns exactly to the baseline.
"""

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from agents.reasons import Reason

Distribution = Literal["uniform", "normal", "pareto"]
PARETO_SHAPE = 3.0  # netem's; the heaviest whole one with a standard deviation
_NORMAL = NormalDist()


def deviate(distribution: Distribution, u: float) -> float:
    """Maps a uniform to a deviation of mean 0: of half-width 1, or of standard deviation 1."""
    match distribution:
        case "uniform":
            return 2.0 * u - 1.0
        case "normal":
            return _NORMAL.inv_cdf(min(max(u, 1e-300), 1.0 - 1e-16))
        case "pareto":
            shape = PARETO_SHAPE
            mean = shape / (shape - 1.0)
            deviation = math.sqrt(shape / (shape - 2.0)) / (shape - 1.0)
            return float(((1.0 - u) ** (-1.0 / shape) - mean) / deviation)


class Chance(Struct, frozen=True, kw_only=True):
    """What is drawn anew for each attempt on a link, from a stream that nothing else draws from.

    The stream is named after the link, `stream` and the values of the fields `named_by`; equal
    ones are independent. With a `correlation` each uniform is the one before again with that
    probability.
    """

    stream: ClassVar[str]
    named_by: ClassVar[tuple[str, ...]]
    reason: ClassVar[Reason] = Reason.NONE  # of an attempt that it lets fail

    share: float  # of its strength, where it grows
    correlation: float = 0.0

    @property
    def name(self) -> str:
        return "/".join(str(getattr(self, field)) for field in self.named_by)

    def drawn(self, u: float, size_bits: float) -> float:
        """Maps a uniform to how much later an attempt is, in s; or to 1 where it fails, else 0."""
        raise NotImplementedError


class Effect(Struct, frozen=True):
    """What the active faults do to one link at one instant. The default is the healthy baseline.

    A `share` in a part is how much of its strength a growing fault has; what is drawn for it must
    not depend on that, so the full strength stands beside it.
    """

    blocked_by: Reason = Reason.NONE  # while it is open
    pass_p: float = 1.0  # probability that independent loss faults let an attempt pass
    losses: tuple[Chance, ...] = ()  # of attempts
    bursts: tuple[tuple[float, float, float], ...] = ()  # (p, r, slot_s) of each burst chain
    clean_p: float = 1.0  # probability that what got through is not corrupted
    fade_db: float = 0.0
    shadows: tuple[tuple[float, float], ...] = ()  # (sigma_db, share)
    delay_s: float = 0.0  # of delays that are not drawn
    delays: tuple[Chance, ...] = ()  # of attempts
    lates: tuple[Chance, ...] = ()  # of what arrives: others overtake it
    single_p: float = 1.0  # probability that what arrives is not duplicated
    rate_bps: float = math.inf
    dead_channels: frozenset[int] = frozenset()
    message_drops: tuple[tuple[str, float], ...] = ()  # (message, p)
    message_delays: tuple[tuple[str, float], ...] = ()  # (message, delay_s)


HEALTHY = Effect()


def _product(values: Iterable[float]) -> float:
    return math.prod(sorted(values))  # sorted: a product of floats depends on the order


def _joined(values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(sorted((each for value in values for each in value), key=_key))


def _key(part: Any) -> tuple[Any, ...]:
    if isinstance(part, Chance):  # by name first, so that the order does not change as some grow
        return part.stream, part.name, *msgspec.structs.astuple(part)
    return tuple(part)


RULES: dict[str, Callable[[list[Any]], Any]] = {
    "blocked_by": max,
    "pass_p": _product,
    "clean_p": _product,
    "single_p": _product,
    "fade_db": math.fsum,
    "delay_s": math.fsum,
    "rate_bps": min,
    "dead_channels": lambda values: frozenset().union(*values),
    **dict.fromkeys(("losses", "bursts", "shadows", "delays", "lates"), _joined),
    **dict.fromkeys(("message_drops", "message_delays"), _joined),
}


def combined(effects: list[Effect]) -> Effect:
    """Returns what several do together."""
    parts = {name: rule([getattr(e, name) for e in effects]) for name, rule in RULES.items()}
    effect = Effect(**parts)
    return HEALTHY if effect == HEALTHY else effect
