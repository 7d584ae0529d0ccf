"""Figures for pages and papers: what they draw is the data, can be read, and is kept as a file."""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from test_report import SPEC, play_into

from agents.messages import TaskEnd
from emulator.cli.main import fresco
from emulator.results.stats import SOJOURN_BINS, Group, GroupStats
from emulator.scenario.schema import Scenario
from emulator.views import figures, plots, report
from emulator.views.network_map import NAMED_MAX, network_map

SVG = "{http://www.w3.org/2000/svg}"
OVER_TIME = {
    "unit": "s",
    "x": "time",
    "at": [1.0, 2.0, 3.0, 4.0, 5.0],
    "series": [
        {"label": "urgent", "values": [0.1, 0.2, None, 0.4, None]},
        {"label": "calm", "values": [0.3, 0.25, 0.2, 0.1, 0.05]},
    ],
}
WITHIN = {
    "unit": "ratio",
    "x": "value",
    "at": [0.05, 0.2, 3.0],
    "series": [{"label": "urgent", "values": [0.0, 0.5, 1.0]}],
    "marks": [{"value": 0.5, "label": "deadline"}],
}
BANDS = [("blackout bs-0", 1.5, 2.5), ("loss bs-1-and-its-neighbours p=0.3", 2.0, 4.0)]
SAMPLES_S = {
    "torch": [[0.001 * n for n in range(1, 101)], [0.002 * n for n in range(1, 101)]],
    "onnx": [[0.0005 * n for n in range(1, 101)], [0.0007 * n for n in range(1, 101)]],
}
HOSTILE = '<script>alert("$x^2$ & co")</script>'


def curves(**changes: Any) -> Figure:
    return plots.curves("Age of information", "s", OVER_TIME | changes, BANDS, 6.0)


def stays(finished: dict[float, int], given_up: dict[float, int]) -> GroupStats:
    """Makes the numbers of a group whose deadline is 2 s; counts are by sojourn time."""
    stats = GroupStats(Group(0, deadline_s=2.0))
    for outcome, counts in (("completed", finished), ("expired", given_up)):
        for sojourn_s, count in counts.items():
            for _ in range(count):
                end = TaskEnd("user-0", 0, 0, 0.0, 2.0, sojourn_s, outcome, finished_s=sojourn_s)
                stats.stays.count(end)
    return stats


def sojourns(longest_s: float = 1.2) -> Figure:
    kept = stays({0.51: 30, longest_s: 2}, {0.01: 1})
    late = stays({0.1: 4}, {3.0: 2, 7.0: 1})
    return plots.sojourns({"alarm": kept, "survey": late}, {"alarm": 1.9})


def trade(**changes: Any) -> Figure:
    points: dict[str, Any] = {"xs": [1.0, 2.0, 30.0], "ys": [0.5, 0.7, 0.6]}
    points |= {"half_widths": [0.0, 0.1, 0.2], "names": ["a", "b", "c"]}
    axes = {"across": plots.Axis("messages"), "up": plots.Axis("delay, mean", "s")}
    return plots.trade(**points | axes | changes)


def bars(**more: tuple[float, float, str]) -> Figure:
    means = {"random": (0.2, 0.05, "200 ms ± 50 ms"), "nearest": (0.1, 0.2, "100 ms ± 200 ms")}
    return plots.bars("delay, mean", "s", means | more)


def training() -> Figure:
    panels = [("Validation top-1", "ratio", [0.5, 0.75, 0.9]), ("Loss", "", [2.0, 1.0, 0.5])]
    return plots.training([1, 2, 3], panels)


def spreads() -> Figure:
    return plots.spreads(SAMPLES_S, "images in a batch", "thread-CPU time")


def the_map(count: int = 3) -> Figure:
    users = [SPEC["users"][0] | {"count": count}, *SPEC["users"][1:]]
    return network_map(Scenario.model_validate(SPEC | {"users": users}))


KINDS: list[Callable[[], Figure]] = [
    curves,
    lambda: plots.curves("Share of results within a delay", "ratio", WITHIN, (), 6.0),
    sojourns,
    trade,
    bars,
    training,
    spreads,
    the_map,
]


def said(axes: Axes) -> tuple[str, str]:
    return axes.get_xlabel().replace("\n", " "), axes.get_ylabel().replace("\n", " ")


def named(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_over_time_are_the_data_with_gaps_lone_values_and_faults() -> None:
    figure = curves()

    (axes,) = figure.axes
    urgent, lone, calm, _ = axes.lines
    assert list(urgent.get_xdata()) == OVER_TIME["at"]
    np.testing.assert_allclose(urgent.get_ydata(), [100.0, 200.0, math.nan, 400.0, math.nan])
    assert (list(lone.get_xdata()), list(lone.get_ydata())) == ([4.0], [400.0])
    np.testing.assert_allclose(calm.get_ydata(), [300.0, 250.0, 200.0, 100.0, 50.0])
    assert said(axes) == ("time (s)", "Age of information (ms)")
    assert axes.get_xlim() == (0.0, 6.0)
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches] == [(1.5, 2.5), (2, 4)]
    assert set(named(figure)) == {"blackout bs-0", "loss bs-1-and-its-neighbo...", "urgent", "calm"}
    assert urgent.get_linestyle() != calm.get_linestyle()  # colours are not all that differs


def test_a_curve_over_delays_marks_the_deadline() -> None:
    (axes,) = plots.curves("Share", "ratio", WITHIN, BANDS, 6.0).axes

    curve, _, deadline = axes.lines
    assert (axes.get_xscale(), said(axes)) == ("log", ("delay (s)", "Share (%)"))
    assert list(curve.get_ydata()) == [0.0, 50.0, 100.0]
    assert set(deadline.get_xdata()) == {0.5}
    assert axes.patches[:] == []  # a fault is no span of delays


def test_residuals_have_a_logarithmic_axis_that_one_small_value_does_not_rule() -> None:
    series = [{"label": "primal", "values": [100.0, 1e-3, 1e-14, 1.0, 0.1]}]

    (axes,) = curves(unit="", series=series, log=True).axes

    low, high = axes.get_ylim()
    assert axes.get_yscale() == "log"
    assert 1e-5 < low < 1e-3
    assert high > 100.0


def test_many_faults_share_one_name() -> None:
    bands = [(f"blackout bs-{n}", float(n), n + 0.5) for n in range(5)]

    figure = plots.curves("Age", "s", OVER_TIME, bands, 6.0)

    assert len(figure.axes[0].patches) == 5
    assert sorted(named(figure)) == ["calm", "faults", "urgent"]


def test_bars_and_intervals_are_in_proportion() -> None:
    (axes,) = bars().axes

    assert [bar.get_width() for bar in axes.patches] == pytest.approx([200.0, 100.0])
    ends = [each.get_segments()[0][:, 0] for each in axes.collections]
    np.testing.assert_allclose(ends, [[150.0, 250.0], [-100.0, 300.0]])
    assert said(axes)[0] == "delay, mean (ms)"
    assert axes.get_xlim()[0] <= -100.0
    assert bars_of_nothing().get_xlim()[0] == 0.0


def bars_of_nothing() -> Axes:
    (axes,) = plots.bars("drops", "drop_ratio", {"a": (0.0, 0.0, "0 % ± 0 %")}).axes
    return axes


def test_a_trade_off_has_its_points_intervals_and_names() -> None:
    (axes,) = trade().axes

    line = axes.lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 30], [500, 700, 600])
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [[500, 500], [600, 800], [400, 800]])
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    assert axes.get_xscale() == "log"  # more than a decade, all above zero
    assert said(axes) == ("messages", "delay, mean (ms)")


def test_a_swept_field_names_its_values_at_the_axis() -> None:
    words = {0.0: "greedy", 1.0: "random", 2.0: "fair"}

    figure = trade(xs=list(words), across=plots.Axis("policy", words=words))

    FigureCanvasAgg(figure).draw()
    ticks = figure.axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == list(words.values())
    assert list(figure.axes[0].texts) == []


def test_a_histogram_of_sojourn_times_counts_up_and_down() -> None:
    kept, late = sojourns().axes

    drawn = {round(bar.get_x(), 3): bar.get_height() for bar in kept.patches if bar.get_height()}
    width_s = 2.0 / SOJOURN_BINS
    expected = {10 * width_s: 30, 23 * width_s: 2, 0.0: -1}
    assert drawn == {round(at, 3): count for at, count in expected.items()}
    assert kept.get_title(loc="left") == "alarm: longest 1.2 s, 60 % of the deadline; bound 1.9 s"
    # What broke its deadline has one bar right of it, and its mark inside the picture.
    assert min(bar.get_height() for bar in late.patches if bar.get_x() >= 2.0) == -3
    (mark,) = [line for line in late.lines if line.get_marker() == "D"]
    assert 2.0 < mark.get_xdata()[0] <= late.get_xlim()[1]
    assert "350 % of the deadline" in late.get_title(loc="left")


def test_spreads_are_the_quantiles_of_the_samples() -> None:
    (axes,) = spreads().axes

    boxes = [patch.get_path().vertices[:, 1] for patch in axes.patches]
    quarters = [[min(ys), max(ys)] for ys in boxes]
    samples = [np.array(each) * 1e3 for groups in SAMPLES_S.values() for each in groups]
    np.testing.assert_allclose(quarters, [np.percentile(each, [25, 75]) for each in samples])
    dots = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots, [np.percentile(each, 99) for each in samples])


def test_training_curves_share_their_epochs() -> None:
    accuracy, loss = training().axes

    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50.0, 75.0, 90.0])
    assert list(loss.lines[0].get_ydata()) == [2.0, 1.0, 0.5]
    assert said(accuracy)[1] == "Validation top-1 (%)"
    assert said(loss) == ("epoch", "Loss")


def test_a_map_names_nodes_where_there_is_room() -> None:
    few, many = the_map(3).axes[0], the_map(NAMED_MAX).axes[0]

    assert {"urgent-0", "calm-2"} <= {text.get_text() for text in few.texts}
    names = {text.get_text() for text in many.texts}
    assert "urgent-0" not in names
    assert any(name.startswith("bs-") for name in names)


@pytest.mark.parametrize("make", KINDS)
def test_no_text_is_cut_off_or_too_small(make: Callable[[], Figure]) -> None:
    figure = make()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()

    box, (width_in, height_in) = (
        figure.get_tightbbox(canvas.get_renderer()),
        figure.get_size_inches(),
    )
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < width_in + 0.01
    assert box.y1 < height_in + 0.01
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 7.0


@pytest.mark.parametrize("make", KINDS)
def test_equal_figures_are_equal_files_and_hold_their_fonts(make: Callable[[], Figure]) -> None:
    for form in ("pdf", "svg", "png"):
        assert figures.drawn(make(), form) == figures.drawn(make(), form)

    pdf, svg = figures.drawn(make(), "pdf"), figures.drawn(make(), "svg").decode()
    assert pdf.startswith(b"%PDF-1.")
    assert b"/FontFile2" in pdf  # TrueType
    assert b"/CreationDate" not in pdf
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert list(root.iter(f"{SVG}text")) == []  # outlines: no font to look for
    assert "date" not in svg
    image = Image.open(io.BytesIO(figures.drawn(make(), "png")))
    assert image.format == "PNG"
    assert image.width >= 1500  # 300 dots an inch


@pytest.mark.parametrize("make", KINDS)
def test_a_page_takes_a_figure_in_with_its_own_colours(make: Callable[[], Figure]) -> None:
    found = [figures.embedded(make(), name) for name in ("one", "another")]

    ids: list[str] = []
    for text in found:
        root = ElementTree.fromstring(text)
        ids += [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
        # A page's policy allows no style inside; all colours are the page's, light or dark.
        assert not [each for each in root.iter() if "style" in each.attrib]
        assert not list(root.iter("style"))
        paints = {each.attrib.get(key) for each in root.iter() for key in ("fill", "stroke")}
        paints = {each for each in paints if each and not each.startswith("url")}  # a hatching
        assert paints <= {"none"} | {f"var({v})" for v in figures.OF_PAGE.values()}
        assert list(root.iter("text"))
        pointed = re.findall(r'(?:href="|url\()#([^")]+)', text)
        assert set(pointed) <= set(ids)
    assert len(ids) == len(set(ids))


def test_names_are_shown_as_they_are() -> None:
    figure = plots.bars("delay", "s", {HOSTILE: (1.0, 0.1, HOSTILE)})

    text = figures.embedded(figure, HOSTILE)

    assert "<script" not in text
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == HOSTILE
    assert [each.text for each in root.iter("text")].count(HOSTILE) == 2


def test_a_persons_own_style_changes_nothing() -> None:
    import matplotlib

    before = figures.drawn(bars(), "svg")

    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30.0}):
        assert figures.drawn(bars(), "svg") == before
        assert matplotlib.rcParams["font.size"] == 30.0


def test_report_writes_every_figure_that_it_shows(tmp_path: Path) -> None:
    folder = play_into(tmp_path, SPEC)

    done = CliRunner().invoke(
        fresco, ["report", str(folder), "--figures", "pdf", "--figures", "png"]
    )

    assert done.exit_code == 0, done.output
    page = report.write(folder, report.read(folder)).read_text()
    plotted = re.findall(r'class="plot" role="img" aria-label="([^"]+)"', page)
    names = {figures.file_name(title) for title in plotted} | {"network-map", "sojourn-times"}
    assert {"age-of-information", "peak-age-by-class", "tasks-lost"} <= names
    kept = {file.name for file in (folder / "figures").iterdir()}
    assert kept == {f"{name}.{form}" for name in names for form in ("pdf", "png")}
    assert page.count("<svg") == 2


@pytest.mark.parametrize("verb", ["report", "compare", "sweep", "distill", "profile"])
def test_another_format_is_refused_with_those_that_there_are(verb: str) -> None:
    done = CliRunner().invoke(fresco, [verb, "--figures", "bmp"])

    assert done.exit_code == 2
    assert "'bmp' is not one of 'pdf', 'svg', 'png'" in done.output
