"""What a metric is: one declaration, from which everything that shows it is made.

A declaration gives name, unit, words, how it folds and where it is shown. From it come the table in
the terminal, the report, the curves of report and live page, the gauge in Prometheus, `compare`,
`sweep`, `expect`, `summary.json`, the schema, and the table in `docs/scenarios.md` (by a test).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from emulator.results.units import SUFFIXES

Value = float | int | None
"""None where nothing was seen to measure."""


class Span(Struct, frozen=True):
    """The time that counts: up to `now_s`, `counted_s` long; 0 before the warm-up is over."""

    now_s: float
    counted_s: float


class Curve(Struct, frozen=True):
    """How a metric goes over time: in each step the gain of one sum over the gain of another.

    `sums` returns both, of one group or server, from the beginning of the run to an instant.
    """

    title: str
    sums: Callable[[Any, float], tuple[float, float]]
    column: str = ""  # of the series, before the slash; "": the metric's name


class Metric(Struct, frozen=True, kw_only=True):
    """A number of a run. `fold` returns it for some of what it is `of`: one, or all together."""

    name: str
    about: str
    label: str  # what people call it
    unit: str = ""
    fold: Callable[[Sequence[Any], Span], Value]
    of: Literal["group", "server", "network"] = "group"
    more_is_better: bool = False
    short: str = ""  # in the terminal's lines; "": it is not in the terminal
    is_compared: bool = False  # by `compare` and `sweep`
    is_gauge: bool = False  # in Prometheus, where no counter or histogram tells it
    curve: Curve | None = None

    @property
    def column(self) -> str:
        """What its columns of the series begin with."""
        return (self.curve.column if self.curve is not None else "") or self.name

    @property
    def gauge(self) -> str:
        """Its name in Prometheus: with the base unit last."""
        stem = self.name
        for ending in ("_s", "_hz", "_ratio"):
            stem = stem.removesuffix(ending)
        return f"fresco_{stem}{SUFFIXES.get(self.unit, '')}"


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def ratio_of_sums(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Adds parts and wholes up: what several groups or servers have together."""
    found = list(pairs)
    return ratio(math.fsum(part for part, _ in found), math.fsum(whole for _, whole in found))
