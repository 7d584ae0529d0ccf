"""The kinds of figure: curves with faults, bars and points with intervals, sojourn times, spreads.

Import it where you draw: it loads matplotlib.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from msgspec import Struct

from emulator.results.stats import GroupStats
from emulator.results.units import readable
from emulator.views import figures
from emulator.views.figures import COLOURS, HATCHES, INK, SOFT, WIDE_IN, WIDTH_IN, blank, styled

BANDS_NAMED_MAX = 3  # more faults than these share one name
BAND_NAME_MAX = 28  # characters
BAR_IN, ROW_IN = 0.34, 1.7
BEYOND = 1.08  # of the deadline: where the axis ends, so that what broke it has a place
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95, 0.99)
MARKS_MAX = 4.0  # times the largest value
LOG_DECADES_MAX = 6  # below the largest value; what falls further leaves the plot


class Axis(Struct, frozen=True):
    """What an axis shows: a metric in its unit, or a field, whose values `words` name."""

    title: str
    unit: str = ""
    words: Mapping[float, str] = {}


@styled
def curves(
    title: str,
    unit: str,
    data: Mapping[str, Any],
    bands: Sequence[tuple[str, float, float]],
    until_s: float,
) -> Figure:
    """Draws curves over time, each fault shaded, or over a delay, each deadline marked.

    `data` is what report.js takes; a band is a fault's name, begin and end.
    """
    (axes,) = blank()
    series, over_time = data["series"], data["x"] == "time"
    across, across_unit = (1.0, "s") if over_time else figures.measure("s", data["at"])
    factor, shown = figures.measure(unit, (v for each in series for v in each["values"]))
    at = [across * value for value in data["at"]]
    for number, (name, from_s, to_s) in enumerate(bands if over_time else ()):
        one_by_one = len(bands) <= BANDS_NAMED_MAX
        label = _shortened(name) if one_by_one else "faults" if number == 0 else None
        hatch = HATCHES[1 + number] if one_by_one and number else None
        colours: dict[str, Any] = {"facecolor": COLOURS[1], "edgecolor": SOFT, "alpha": 0.18}
        axes.axvspan(from_s, to_s, lw=0.0, hatch=hatch, label=label, zorder=0.5, **colours)
    for each in series:
        values = [math.nan if v is None else factor * v for v in each["values"]]
        (line,) = axes.plot(at, values, label=each["label"] if len(series) > 1 else None)
        alone = [i for i in range(len(values)) if _is_alone(each["values"], i)]
        axes.plot(
            [at[i] for i in alone], [values[i] for i in alone], ".", color=line.get_color(), ms=4.0
        )
    for mark in data.get("marks", ()):
        if over_time:
            level = factor * mark["value"]
            if level <= MARKS_MAX * axes.dataLim.ymax:  # further up it would flatten the curves
                axes.axhline(level, color=INK, lw=1.0, ls=(0, (2, 2)), label=mark["label"])
            continue
        due_s = mark["value"]
        axes.axvline(across * due_s, color=INK, lw=1.0, ls=(0, (2, 2)), zorder=1.0)
        words = f"{mark['label']} {readable('s', due_s)} "
        place = (across * due_s, 0.04)
        axes.text(*place, words, rotation=90.0, ha="right", transform=axes.get_xaxis_transform())
    if data.get("log"):
        high = max(v for each in series for v in each["values"] if v is not None) or 1.0
        figures.log_axis(axes, "y")
        low, _ = axes.get_ylim()
        axes.set_ylim(bottom=max(low, high / 10.0**LOG_DECADES_MAX))
    else:
        axes.set_ylim(0.0, axes.get_ylim()[1] if axes.dataLim.ymax > 0.0 else 1.0)
    if over_time:
        axes.set_xlim(0.0, until_s)
    else:
        figures.log_axis(axes, "x")
    figures.name_axis(axes, "x", "time" if over_time else "delay", across_unit)
    figures.name_axis(axes, "y", title, shown or unit)
    figures.legend(figures.figure_of(axes))
    return figures.figure_of(axes)


@styled
def bars(title: str, unit: str, means: Mapping[str, tuple[float, float, str]]) -> Figure:
    """Draws a bar from zero to each mean by its label, and the half width of its confidence
    interval on top; then both as text."""
    (axes,) = blank(row_in=0.7 + BAR_IN * len(means))
    ends = [abs(mean) + half for mean, half, _ in means.values()]
    factor, shown = figures.measure(unit, ends)
    for place, (mean, half, text) in enumerate(means.values()):
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(place, factor * mean, 0.62, color=colour, xerr=factor * half, ecolor=INK)
        at = (max(factor * (mean + half), 0.0), place)
        beside: dict[str, Any] = {"xytext": (6.0, 0.0), "textcoords": "offset points"}
        axes.annotate(text, at, va="center", fontsize=8.0, **beside)
    low = factor * min(0.0, *(mean - half for mean, half, _ in means.values()))
    high = factor * max(ends) or 1.0
    axes.set_xlim(low, high + 0.45 * (high - low))  # the texts need room
    axes.set_yticks(range(len(means)), list(means))
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    figures.name_axis(axes, "x", title, shown)
    return figures.figure_of(axes)


@styled
def trade(
    xs: Sequence[float],
    ys: Sequence[float],
    half_widths: Sequence[float],
    names: Sequence[str],
    across: Axis,
    up: Axis,
) -> Figure:
    """Draws points joined in the order given, each with the interval of its y, and with its name
    where the axis does not say it.

    The horizontal axis is logarithmic where positive values span more than a decade.
    """
    (axes,) = blank()
    wide, wide_unit = figures.measure(across.unit, xs)
    tall, tall_unit = figures.measure(up.unit, ys)
    xs, ys = [wide * x for x in xs], [tall * y for y in ys]
    halves = [tall * half for half in half_widths]
    axes.errorbar(xs, ys, halves, marker="o", ms=4.0, ls="-", color=COLOURS[0], ecolor=INK, lw=1.2)
    axes.margins(0.1)
    if min(xs) > 0.0 and max(xs) > 10.0 * min(xs):
        figures.log_axis(axes, "x")
    if across.words:
        axes.set_xticks(list(across.words), list(across.words.values()))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        for name, x, y, then in zip(names, xs, ys, [*ys[1:], ys[-1]], strict=True):
            aside = (5.0, -10.0 if then > y else 5.0)  # not onto the line
            axes.annotate(name, (x, y), aside, textcoords="offset points", fontsize=8.0)
    figures.name_axis(axes, "x", across.title, wide_unit)
    figures.name_axis(axes, "y", up.title, tall_unit)
    return figures.figure_of(axes)


@styled
def sojourns(groups: Mapping[str, GroupStats], bounds_s: Mapping[str, float]) -> Figure:
    """Draws how long tasks stayed: a row per user group, from 0 to its deadline.

    Up: tasks that a server finished; down: those that were given up. Counts are logarithmic,
    because a guarantee is about the last task and not about the many. `bounds_s` is what the
    protocol proves.
    """
    rows = blank(len(groups), WIDE_IN, ROW_IN)
    counted = [(g.stays.finished_s.counts(), g.stays.given_up_s.counts()) for g in groups.values()]
    most = max(max(*finished, *given_up) for finished, given_up in counted)
    for axes, (name, stats), (finished, given_up) in zip(
        rows, groups.items(), counted, strict=True
    ):
        factor, unit = figures.measure("s", [stats.group.deadline_s])
        due, end = factor * stats.group.deadline_s, factor * stats.group.deadline_s * BEYOND
        bins = len(finished) - 1
        left = [due * number / bins for number in range(bins + 1)]
        widths = [due / bins] * bins + [end - due]
        for counts, sign, number, label in (
            (finished, 1, 0, "finished (up)"),
            (given_up, -1, 1, "given up (down)"),
        ):
            heights = [sign * count for count in counts]
            axes.bar(left, heights, widths, align="edge", color=COLOURS[number], label=label)
        axes.axhline(0.0, color=SOFT, lw=0.8)
        axes.axvline(due, color=COLOURS[3], lw=1.6, label="deadline")
        words = readable("ratio", stats.stays.max_s / stats.group.deadline_s)
        words = f"longest {readable('s', stats.stays.max_s)}, {words} of the deadline"
        if (bound_s := bounds_s.get(name)) is not None:
            words += f"; bound {readable('s', bound_s)}"
            axes.axvline(factor * bound_s, color=INK, lw=1.2, ls="--", label="proven bound")
        longest = min(factor * stats.stays.max_s, end)
        axes.plot([longest], [0.0], "D", color=INK, ms=5.0, clip_on=False, label="longest")
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set(xlim=(0.0, end), ylim=(-2.0 * most, 2.0 * most))
        axes.set_yticks(_counts(most))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{name}: {words}", loc="left")
        figures.name_axis(axes, "y", "tasks")
        figures.name_axis(axes, "x", "sojourn time", unit)
    figures.legend(figures.figure_of(rows[0]))
    return figures.figure_of(rows[0])


@styled
def training(epochs: Sequence[int], panels: Sequence[tuple[str, str, Sequence[float]]]) -> Figure:
    """Draws what is measured at each epoch: a panel per title, unit and values."""
    rows = blank(len(panels), WIDTH_IN, 2.0)
    for axes, (title, unit, values) in zip(rows, panels, strict=True):
        factor, shown = figures.measure(unit, values)
        axes.plot(epochs, [factor * value for value in values], marker=".", ms=4.0)
        axes.set_title(f"last: {readable(unit, values[-1])}", loc="right", fontsize=8.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figures.name_axis(axes, "y", title, shown)
    figures.name_axis(rows[-1], "x", "epoch")
    return figures.figure_of(rows[0])


@styled
def spreads(
    samples_s: Mapping[str, Sequence[Sequence[float]]], groups_name: str, title: str
) -> Figure:
    """Draws how seconds spread by kind, for the groups 1, 2, ... of each: 5 to 95 % as whiskers,
    25 to 75 % as a box, the median in it, 99 % as a dot."""
    (axes,) = blank(width_in=WIDE_IN)
    found = {
        kind: [np.quantile(each, QUANTILES).tolist() for each in groups]
        for kind, groups in samples_s.items()
    }
    factor, unit = figures.measure("s", (max(q) for groups in found.values() for q in groups))
    step = 1.0 / (len(found) + 1)
    names = ("whislo", "q1", "med", "q3", "whishi")
    for number, (kind, groups) in enumerate(found.items()):
        scaled = [[factor * value for value in each] for each in groups]
        colour = COLOURS[number % len(COLOURS)]
        line = {"color": colour, "lw": 1.4}
        axes.bxp(
            [{**dict(zip(names, each, strict=False)), "fliers": each[-1:]} for each in scaled],
            positions=[group + 0.5 + (number + 1) * step for group in range(len(groups))],
            widths=min(0.25, 0.7 * step),
            patch_artist=True,
            boxprops={"facecolor": colour, "edgecolor": colour, "label": kind},
            medianprops={"color": INK, "lw": 1.0},
            flierprops={"marker": ".", "markerfacecolor": colour, "markeredgecolor": colour},
            whiskerprops=line,
            capprops=line,
            manage_ticks=False,
        )
    axes.set_xticks(range(1, 1 + max(map(len, found.values()))))
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=False, axis="x")
    axes.set_title("box: 25 to 75 %, line: median; whiskers: 5 to 95 %; dot: 99 %", fontsize=8.0)
    figures.name_axis(axes, "x", groups_name)
    figures.name_axis(axes, "y", title, unit)
    figures.legend(figures.figure_of(axes))
    return figures.figure_of(axes)


def _counts(most: int) -> list[float]:
    """Returns 0 and powers of ten up to `most` and down to its negative, about three a side."""
    top = int(math.log10(most)) if most else 0
    powers = [10.0**power for power in range(0, top + 1, max(1, math.ceil((top + 1) / 3)))]
    return [*(-each for each in reversed(powers)), 0.0, *powers]


def _is_alone(values: Sequence[float | None], i: int) -> bool:
    """Says whether a value stands between two gaps, where no line shows it."""
    beside = (values[i - 1] if i else None, values[i + 1] if i + 1 < len(values) else None)
    return values[i] is not None and beside == (None, None)


def _shortened(name: str) -> str:
    return name if len(name) <= BAND_NAME_MAX else f"{name[: BAND_NAME_MAX - 3]}..."
