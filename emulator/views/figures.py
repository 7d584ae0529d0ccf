"""Figures for pages and papers: the style of all of them, and how they are kept.

The only module that loads matplotlib, which takes a second: others import it where they draw.
Pages take a figure in, with their own colours and fonts; a file holds the fonts that it needs.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from textwrap import fill

from cycler import cycler
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from emulator.results.units import scaled
from models.files import write_whole

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a05195", "#8a6d00", "#2f9bd6")
"""Those of report.css on white; the colour-blind tell them apart, and dashes do without colours."""
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")
INK, SOFT, LINE = "#1b2430", "#5b6878", "#dde3ea"
OF_PAGE = {INK: "--ink", SOFT: "--soft", LINE: "--line"} | {
    colour: f"--c{number}" for number, colour in enumerate(COLOURS)
}
WIDTH_IN, WIDE_IN, HEIGHT_IN = 5.0, 7.0, 3.0  # a text column, and two
LEGEND_COLUMNS_IN = 1.7  # width of each
TITLE_MAX = 40  # characters beside an axis; more go to the next line
STYLE = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "text.color": INK,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=DASHES),
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "errorbar.capsize": 3.0,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300,
    "svg.hashsalt": "fresco",  # equal figures have equal names inside
    "pdf.fonttype": 42,  # whole fonts, which printers and editors take
}
UNDATED = {  # equal figures are equal files
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
styled = style.context(STYLE, after_reset=True)  # whatever this person's matplotlibrc says


@styled
def blank(rows: int = 1, width_in: float = WIDTH_IN, row_in: float = HEIGHT_IN) -> list[Axes]:
    """Returns the axes of a new figure, one below the other."""
    figure = Figure(figsize=(width_in, rows * row_in))
    axes: list[Axes] = list(figure.subplots(rows, squeeze=False)[:, 0])
    return axes


def figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def name_axis(axes: Axes, which: str, title: str, unit: str = "") -> None:
    """Says what an axis shows, and in which unit."""
    shown = f"1{unit}" if unit.startswith("/") else unit
    text = f"{title} ({shown})" if shown else title
    axes.set(**{f"{which}label": fill(text, TITLE_MAX) if which == "y" else text})


def measure(unit: str, values: Iterable[float | None]) -> tuple[float, str]:
    """Returns what values in a unit are multiplied by on an axis, and what it says then."""
    return scaled(unit, max((abs(v) for v in values if v is not None), default=0.0))


def log_axis(axes: Axes, which: str) -> None:
    """Makes an axis logarithmic, with numbers on it that people write."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        if high < 100.0 * low
        else FuncFormatter(lambda value, _: "")
    )


def legend(figure: Figure) -> None:
    """Names what is drawn, above it, where it covers nothing; each name once."""
    named: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        columns = max(1, int(figure.get_figwidth() / LEGEND_COLUMNS_IN))
        figure.legend(
            list(named.values()),
            list(named),
            loc="outside upper left",
            ncols=min(columns, len(named)),
        )


def file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def save(folder: Path, figures: Mapping[str, Figure], formats: Sequence[str]) -> None:
    """Writes figures by name into the folder `figures` of a folder, in each of some formats."""
    if formats:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        for each in formats:
            write_whole(folder / "figures" / f"{name}.{each}", drawn(figure, each))


def drawn(figure: Figure, form: str, **changes: object) -> bytes:
    """Returns a figure as the file of a format."""
    file = io.BytesIO()
    with style.context(STYLE | changes, after_reset=True):
        figure.savefig(file, format=form, metadata=UNDATED[form])
    return file.getvalue()


def embedded(figure: Figure, said: str) -> str:
    """Returns a figure as an element of a page, which reads out what is `said`.

    Text stays text; colours are the page's, light or dark. The page's policy allows no styles
    inside elements, so they become attributes; names inside are made different from figure to
    figure.
    """
    changes = {"svg.fonttype": "none", "savefig.facecolor": "none"}
    text = drawn(figure, "svg", **changes).decode()
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' style="([^"]*)"', lambda found: _attributes(found[1]), text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{file_name(said)}-", text)
    for colour, variable in OF_PAGE.items():
        text = text.replace(f'"{colour}"', f'"var({variable})"')
    size = re.findall(r'viewBox="[^"]*"', text)[0]
    head = f'<svg {size} role="img" aria-label="{escape(said)}" stroke-linejoin="round">'
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)


def _attributes(styles: str) -> str:
    pairs = (each.partition(":") for each in styles.split(";") if each.strip())
    kept = ((name.strip(), value.strip()) for name, _, value in pairs)
    return "".join(f' {name}="{value}"' for name, value in kept if name != "font-family")
