"""Recorded inputs: arrival instants and channel traces, read once by the driver."""

import csv
import math
from itertools import pairwise
from pathlib import Path

from msgspec import Struct


class ChannelTrace(Struct, frozen=True):
    """Rows held until the next; the last row's time is the length of the loop."""

    times_s: tuple[float, ...]
    success: tuple[float, ...]
    rates_bps: tuple[float, ...]


def read_times(path: Path) -> tuple[float, ...]:
    """Reads one instant a line, rising; ValueError names the line that is wrong."""
    times_s: list[float] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip():
            at_s = _number(line, path, number)
            if at_s < (times_s[-1] if times_s else 0.0):
                raise ValueError(f"{path.name}:{number}: {at_s} is earlier than the line before")
            times_s.append(at_s)
    return tuple(times_s)


def read_channel(path: Path) -> ChannelTrace:
    """Reads a CSV with columns t_s, success, rate_bps; ValueError names the line that is wrong."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        columns = ("t_s", "success", "rate_bps")
        if tuple(rows.fieldnames or ()) != columns:
            raise ValueError(f"{path.name}:1: the columns must be {','.join(columns)}")
        values = [
            tuple(_number(row[column] or "", path, number) for column in columns)
            for number, row in enumerate(rows, start=2)
        ]
    if len(values) < 2:
        raise ValueError(f"{path.name}: needs two rows at least; the last one ends the loop")
    times_s, success, rates_bps = zip(*values, strict=True)
    if times_s[0] != 0.0:
        raise ValueError(f"{path.name}:2: the first t_s must be 0, not {times_s[0]}")
    for number, (before_s, at_s) in enumerate(pairwise(times_s), start=3):
        if at_s <= before_s:
            raise ValueError(f"{path.name}:{number}: t_s must rise, {at_s} follows {before_s}")
    for number, (p, rate_bps) in enumerate(zip(success, rates_bps, strict=True), start=2):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{path.name}:{number}: success must lie in [0, 1], not {p}")
        if rate_bps <= 0.0:
            raise ValueError(f"{path.name}:{number}: rate_bps must be positive, not {rate_bps}")
    return ChannelTrace(times_s, success, rates_bps)


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{path.name}:{line}: '{text.strip()}' is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{path.name}:{line}: '{text.strip()}' is not a finite number")
    return value
