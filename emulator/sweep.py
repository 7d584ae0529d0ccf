"""One field of a scenario over several values: every metric against the value, and the trade-offs.

The runs are those of `compare.py`, one variant a value, paired by seed in virtual time.
"""

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path

from emulator.compare import Comparison, Row
from emulator.dashboard.curve import Point, curve
from emulator.dashboard.page import page
from emulator.display import readable
from emulator.stats import METRICS

TRADE_OFFS = (
    ("backlog_mean", "utility"),
    ("delay_mean_s", "utility"),
    ("drop_ratio", "utility"),
    ("aoi_mean_s", "accuracy"),
    ("aoi_mean_s", "fresh_correct_hz"),
)


def write(folder: Path, field: str, values: Sequence[str], comparison: Comparison) -> Path:
    """Writes sweep.csv and sweep.html; returns the page. `values` name the variants, in order."""
    rows = {(row.metric, row.protocol): row for row in comparison.rows}
    metrics = list(dict.fromkeys(row.metric for row in comparison.rows))
    with (folder / "sweep.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow((field, "metric", "mean", "half_width"))
        for metric in metrics:
            for value in values:
                found = rows[metric, value].estimate
                lines.writerow((value, metric, found.mean, found.half_width))
    cards = ""
    for across, up in TRADE_OFFS:
        if {across, up} <= set(metrics):
            points = [
                _point(rows[across, value].estimate.mean, value, rows[up, value], across)
                for value in values
            ]
            about = f"each point one value of {field}"
            cards += _card(f"{up} against {across}", about, curve(points, across, up))
    for metric in metrics:
        cards += _card(metric, METRICS[metric], _over(field, values, metric, rows))
    seeds = ", ".join(map(str, comparison.seeds))
    body = (
        f"<h1>{escape(comparison.scenario)}: {escape(field)} from {escape(values[0])} to "
        f'{escape(values[-1])}</h1><p class="soft">Means with 95 % confidence intervals over the '
        f'seeds {seeds}.</p><div class="cards">{cards}</div>'
    )
    path = folder / "sweep.html"
    text = page(f"{comparison.scenario}, swept", body, styles=("report.css",))
    path.write_text(text, encoding="utf-8")
    return path


def _over(field: str, values: Sequence[str], metric: str, rows: dict[tuple[str, str], Row]) -> str:
    points = [
        _point(_number(value, place), value, rows[metric, value], "")
        for place, value in enumerate(values)
    ]
    return curve(points, field, metric)


def _point(x: float, value: str, row: Row, across: str) -> Point:
    """Returns a point of a row's metric; `across` is the metric on the other axis, if it is one."""
    found = row.estimate
    x_text = readable(across, x) if across else value
    y_text = readable(row.metric, found.mean)
    return Point(x, found.mean, found.half_width, value, x_text, y_text)


def _number(value: str, place: int) -> float:
    """Returns what a value is worth on the axis: itself, or its place where it is a word."""
    try:
        return float(value)
    except ValueError:
        return float(place)


def _card(title: str, about: str, picture: str) -> str:
    return (
        f'<section class="card"><h2>{escape(title)}</h2><p class="soft">{escape(about)}</p>'
        f"{picture}</section>"
    )
