"""Recorded inputs: arrival instants and channel traces, read once by the driver.

Text as people's tools write it: UTF-8 with or without a byte order mark, any line ends, blank
lines, spaces around values. Whatever is left over is an error that names its line.
"""

import csv
import math
from pathlib import Path

from msgspec import Struct

COLUMNS = ("t_s", "success", "rate_bps")


class ChannelTrace(Struct, frozen=True):
    """Rows held until the next; the last row's time is the length of the loop."""

    times_s: tuple[float, ...]
    success: tuple[float, ...]
    rates_bps: tuple[float, ...]


def read_times(path: Path) -> tuple[float, ...]:
    """Reads one instant a line, rising; ValueError names the line that is wrong."""
    times_s: list[float] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            at_s = _number(line, path, number)
            if at_s < 0.0:
                raise ValueError(f"{path.name}:{number}: {at_s} is before the run begins, at 0")
            if times_s and at_s < times_s[-1]:
                raise ValueError(f"{path.name}:{number}: {at_s} is earlier than the line before")
            times_s.append(at_s)
    return tuple(times_s)


def read_channel(path: Path) -> ChannelTrace:
    """Reads a CSV with columns t_s, success, rate_bps; ValueError names the line that is wrong."""
    lines = csv.reader(read_text(path).splitlines(), skipinitialspace=True)
    rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(row)]
    if not rows:
        raise ValueError(f"{path.name}: is empty; its columns must be {','.join(COLUMNS)}")
    (first, names), *rows = rows
    if sorted(names) != sorted(COLUMNS):
        text = f"the columns must be {','.join(COLUMNS)}, not '{','.join(names)}'"
        raise ValueError(f"{path.name}:{first}: {text}")
    if len(rows) < 2:
        raise ValueError(f"{path.name}: needs two rows at least; the last one ends the loop")
    order = [names.index(column) for column in COLUMNS]
    values: list[tuple[float, ...]] = []
    for number, row in rows:
        if len(row) != len(COLUMNS):
            text = f"{len(row)} values for {len(COLUMNS)} columns: '{','.join(row)[:60]}'"
            raise ValueError(f"{path.name}:{number}: {text}")
        values.append(tuple(_number(row[column], path, number) for column in order))
        _check(values, f"{path.name}:{number}")
    times_s, success, rates_bps = zip(*values, strict=True)
    if not any(rates_bps[:-1]):
        text = "rate_bps is 0 in every row that is held: nothing would ever be sent"
        raise ValueError(f"{path.name}: {text}")
    return ChannelTrace(times_s, success, rates_bps)


def _check(values: list[tuple[float, ...]], place: str) -> None:
    at_s, p, rate_bps = values[-1]
    if len(values) == 1 and at_s != 0.0:
        raise ValueError(f"{place}: the first t_s must be 0, not {at_s}")
    if len(values) > 1 and at_s <= values[-2][0]:
        raise ValueError(f"{place}: t_s must rise, {at_s} follows {values[-2][0]}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{place}: success must lie in [0, 1], not {p}")
    if rate_bps < 0.0:
        raise ValueError(f"{place}: rate_bps must not be negative, not {rate_bps}")


def read_text(path: Path) -> str:
    """Returns a file as text; ValueError says that it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: is not UTF-8 text: {error.reason}") from None


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{path.name}:{line}: '{text.strip()}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{path.name}:{line}: '{text.strip()}' is not a finite number")
    return value
