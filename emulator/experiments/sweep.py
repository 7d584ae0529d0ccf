"""One field of a scenario over several values: every metric against the value, and the trade-offs.

The runs are those of `compare.py`, one variant a value, paired by seed in virtual time.
"""

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path

from emulator.experiments.compare import Comparison, Row, said
from emulator.results.stats import METRICS
from emulator.views.curve import Axis, Point, curve
from emulator.views.html import page, table
from emulator.views.terminal import NAMES, readable
from models.files import whole, write_whole

Rows = dict[tuple[str, str], Row]
"""By metric and value."""
TRADE_OFFS = (
    ("backlog_mean", "utility"),
    ("delay_mean_s", "utility"),
    ("drop_ratio", "utility"),
    ("messages_per_slot", "weight_ratio_mean"),
    ("messages_per_slot", "utility"),
    ("aoi_mean_s", "accuracy"),
    ("aoi_mean_s", "fresh_correct_hz"),
)


def write(folder: Path, field: str, values: Sequence[str], comparison: Comparison) -> Path:
    """Writes sweep.csv and sweep.html; returns the page. `values` name the variants, in order."""
    rows = {(row.metric, row.protocol): row for row in comparison.rows}
    metrics = list(dict.fromkeys(row.metric for row in comparison.rows))
    with whole(folder / "sweep.csv") as fresh, fresh.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow((field, "metric", "mean", "half_width"))
        for metric in metrics:
            for value in values:
                found = rows[metric, value].estimate
                lines.writerow((value, metric, found.mean, found.half_width))
    cards = _card("Values", "mean ± half of the 95 % interval", _values(values, metrics, rows))
    for across, up in TRADE_OFFS:
        if {across, up} <= set(metrics):
            means = [rows[across, value].estimate.mean for value in values]
            if len({readable(up, rows[up, value].estimate.mean) for value in values}) == 1:
                continue  # this field does not trade it
            picture = curve(_points(means, values, up, rows), _axis(across), _axis(up))
            title = f"{NAMES[up]} against {NAMES[across]}"
            cards += _card(title, f"each point one value of {field}", picture)
    numbers = [_number(value, place) for place, value in enumerate(values)]
    words = dict(zip(numbers, values, strict=True))
    swept = Axis(field, words.__getitem__, numbers)
    for metric in metrics:
        picture = curve(_points(numbers, values, metric, rows), swept, _axis(metric))
        cards += _card(NAMES[metric], METRICS[metric], picture)
    seeds = ", ".join(map(str, comparison.seeds))
    cause = escape(comparison.cause)
    alert = f'<p class="alert" role="alert">{cause}</p>' if cause else ""
    body = (
        f"<h1>{escape(comparison.scenario)}: {escape(field)} from {escape(values[0])} to "
        f'{escape(values[-1])}</h1><p class="soft">Means over the seeds {seeds}. Whiskers: 95 % '
        f"interval of the difference to {escape(field)} = {escape(values[0])}, paired by seed, as "
        "all values meet the same arrivals, channels and faults; the first has none.</p>"
        f"{alert}"
        f'<div class="cards">{cards}</div>'
    )
    path = folder / "sweep.html"
    text = page(f"{comparison.scenario}, swept", body, styles=("report.css",))
    write_whole(path, text)
    return path


def _points(xs: Sequence[float], values: Sequence[str], metric: str, rows: Rows) -> list[Point]:
    points = []
    for x, value in zip(xs, values, strict=True):
        row = rows[metric, value]
        half_width = 0.0 if row.difference is None else row.difference.half_width
        points.append(Point(x, row.estimate.mean, half_width, value))
    return points


def _values(values: Sequence[str], metrics: Sequence[str], rows: Rows) -> str:
    """Tables every metric, a column per value of the field."""
    lines: list[Sequence[str]] = [["", *values]]
    for metric in metrics:
        found = [rows[metric, value].estimate for value in values]
        lines.append([NAMES[metric], *(said(metric, each) for each in found)])
    return table(lines)


def _axis(metric: str) -> Axis:
    return Axis(NAMES[metric], lambda value: readable(metric, value))


def _number(value: str, place: int) -> float:
    """Returns what a value is worth on the axis: itself, or its place where it is a word."""
    try:
        return float(value)
    except ValueError:
        return float(place)


def _card(title: str, about: str, picture: str) -> str:
    wide = " wide" if "<table" in picture else ""
    return (
        f'<section class="card{wide}"><h2>{escape(title)}</h2><p class="soft">{escape(about)}</p>'
        f"{picture}</section>"
    )
