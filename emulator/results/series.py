"""How things went over time: the curves of a run."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from agents.policy import Reading
from emulator.results.metric import ratio


class Series:
    """One row a step of the run; its values cover that step."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self.readings = readings
        self.at_s: list[float] = []
        self.columns: dict[str, list[float | None]] = {}
        self._counting = {reading.name for reading in readings if reading.counts}
        self._reported: dict[str, float] = {}  # the counts at the last row
        self._sums: dict[str, tuple[float, float]] = {}  # of metrics, the same

    def add(
        self,
        now_s: float,
        row: Mapping[str, float | None],
        sums: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        reported: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Adds the row of the step that ends at `now_s`.

        `sums` are those of the curves of metrics (`metric.py`), by column; `reported` is what nodes
        tell of themselves.
        """
        step_s = now_s - (self.at_s[-1] if self.at_s else 0.0)
        filled = dict(row)
        for column, (part, whole) in sums.items():
            part_before, whole_before = self._sums.get(column, (0.0, 0.0))
            filled[column] = ratio(part - part_before, whole - whole_before)
        for reading in self.readings:
            filled[f"protocol/{reading.name}"] = self._read(reading, reported, step_s)
        self._sums, self._reported = dict(sums), dict(reported)
        for column, value in filled.items():
            if value is not None and column not in self.columns:
                self.columns[column] = [None] * len(self.at_s)
        self.at_s.append(now_s)
        for column, values in self.columns.items():
            values.append(filled.get(column))

    def newest(self, column: str) -> float | None:
        """Returns the value of the last row."""
        values = self.columns.get(column)
        return values[-1] if values else None

    def _read(self, reading: Reading, reported: Mapping[str, float], step_s: float) -> float | None:
        value = reported.get(reading.name)
        if value is None:
            return None
        if reading.counts:
            gain = value - self._reported.get(reading.name, 0.0)
            if reading.per in self._counting:
                return ratio(gain, reported[reading.per] - self._reported.get(reading.per, 0.0))
            rate = gain * reading.every_s / step_s
            return ratio(rate, reported.get(reading.per, 0.0)) if reading.per else rate
        if reading.per:
            share = ratio(value, reported.get(reading.per, 0.0))
            return math.sqrt(share) if reading.root and share is not None else share
        return value
