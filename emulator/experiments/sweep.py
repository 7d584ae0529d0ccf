"""One field of a scenario over several values: every metric against the value, and the trade-offs.

The runs are those of `compare.py`, one variant a value, paired by seed in virtual time.
"""

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.experiments.compare import Comparison, Row, said
from emulator.results.measures import METRICS
from emulator.results.units import readable
from emulator.views.html import page, table
from models.files import whole, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def write(
    folder: Path,
    field: str,
    values: Sequence[str],
    comparison: Comparison,
    formats: Sequence[str] = (),
) -> Path:
    """Writes sweep.csv and sweep.html; returns the page. `values` name the variants, in order.

    Its figures are written too, as files of these formats.
    """
    from emulator.views import figures
    from emulator.views.plots import Axis, trade

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
    drawn: dict[str, Figure] = {}

    def points(metric: str) -> tuple[list[float], list[float]]:
        """Returns the mean at each value, and the half width of its interval."""
        found = [rows[metric, value] for value in values]
        halves = [0.0 if row.difference is None else row.difference.half_width for row in found]
        return [row.estimate.mean for row in found], halves

    for across, up in ((METRICS[across], METRICS[up]) for across, up in TRADE_OFFS):
        if {across.name, up.name} <= set(metrics):
            means, _ = points(across.name)
            if len({readable(up.unit, mean) for mean in points(up.name)[0]}) == 1:
                continue  # this field does not trade it
            axes = (Axis(across.label, across.unit), Axis(up.label, up.unit))
            figure = trade(means, *points(up.name), values, *axes)
            title = f"{up.label} against {across.label}"
            drawn[f"{up.name}-against-{across.name}"] = figure
            picture = figures.embedded(figure, title)
            cards += _card(title, f"each point one value of {field}", picture)
    numbers = [_number(value, place) for place, value in enumerate(values)]
    words = dict(zip(numbers, values, strict=True))
    swept = Axis(field, words=words)
    for each in (METRICS[name] for name in metrics):
        axes = (swept, Axis(each.label, each.unit))
        drawn[each.name] = trade(numbers, *points(each.name), values, *axes)
        picture = figures.embedded(drawn[each.name], f"{each.label} against {field}")
        cards += _card(each.label, each.about, picture)
    figures.save(folder, drawn, formats)
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


def _values(values: Sequence[str], metrics: Sequence[str], rows: Rows) -> str:
    """Tables every metric, a column per value of the field."""
    lines: list[Sequence[str]] = [["", *values]]
    for metric in metrics:
        found = [rows[metric, value].estimate for value in values]
        lines.append([METRICS[metric].label, *(said(metric, each) for each in found)])
    return table(lines)


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
