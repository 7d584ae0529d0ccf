"""One self-contained page about a run, made from its folder alone.

No request leaves the page: uPlot, styles and data are inside. A run that broke gets its page too,
and says so on top.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from emulator.build.planning import plan
from emulator.checks import source
from emulator.results import journal
from emulator.results.measures import METRICS
from emulator.results.metrics import Metrics, broken_bounds
from emulator.results.series import Series
from emulator.results.stats import ALL
from emulator.results.tables import thin
from emulator.results.units import readable
from emulator.runtime.recorder import fresh_metrics
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import bounds_s, is_scheduled
from emulator.views import guarantees
from emulator.views.html import page, table
from emulator.views.panels import CURVES_MAX, panels
from emulator.views.terminal import ROWS, describe, values_of
from models.files import write_whole

STYLES = ("vendor/uPlot.min.css", "report.css")
SCRIPTS = ("vendor/uPlot.iife.min.js", "axes.js", "report.js")
POINTS_MAX = 120  # a curve; more than this and single tasks drown what the curve is about
LOSS_ROWS_MAX = 40


class Band(Struct, frozen=True):
    """The span of a fault, shaded in every plot over time."""

    from_s: float
    to_s: float
    label: str


class Result(Struct, frozen=True):
    """What a run folder holds, folded again. `summary` is empty where the run never ended.

    `bounds_s` is how long a task of a user group may stay, where the protocol proves it.
    """

    scenario: Scenario
    metrics: Metrics
    details: Series  # what is drawn besides the series of the metrics
    summary: dict[str, Any]
    bounds_s: dict[str, float] = {}


def read(folder: Path) -> Result:
    """Reads a run folder and folds its journal as it was folded live."""
    scenario = source.load(folder / "scenario.yaml")
    public = plan(scenario, stopwatch=False).frame() if is_scheduled(scenario) else None
    metrics = fresh_metrics(scenario, public)
    details = Series()
    for frame in journal.read_frames(folder):
        before_s = metrics.now_s
        metrics.fold(frame.records, frame.now_s)
        if metrics.now_s > before_s:
            details.add(metrics.now_s, metrics.window.details(metrics.servers))
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    bounds = {} if public is None else bounds_s(scenario, public)
    return Result(scenario, metrics, details, summary, bounds)


def write(folder: Path, result: Result, formats: Sequence[str] = ()) -> Path:
    """Writes report.html into the run folder and returns its path; its figures too, as files of
    these formats."""
    from emulator.views import figures, plots
    from emulator.views.network_map import network_map

    drawn = list(_panels(result))
    bands = bands_of(result.metrics)
    map_ = network_map(result.scenario)
    versions = json.dumps(result.summary.get("versions", {}), indent=1)
    text = (folder / "scenario.yaml").read_text(encoding="utf-8")
    body = f"""{_head(result)}
{_tiles(result)}
<div class="cards">
<section class="card wide"><h2>Results</h2>{_results(result)}</section>
<section class="card wide"><h2>Faults</h2>{_faults(bands)}</section>
<section class="card wide"><h2>Servers</h2>{_servers(result.metrics)}</section>
{guarantees.kept(result.metrics, result.bounds_s)}
{"".join(_card(panel) for panel in drawn)}
<section class="card"><h2>Topology</h2>{figures.embedded(map_, "Map of the network")}</section>
<section class="card"><h2>Tasks</h2>{_account(result)}</section>
<section class="card wide"><h2>Given up, by reason</h2>
{guarantees.given_up(result.metrics)}</section>
<section class="card wide"><h2>Attempts lost</h2>{losses(result.metrics)}</section>
</div>
<section class="card"><details><summary>Scenario and versions</summary>
<pre>{escape(text)}</pre>
<pre>{escape(versions)}</pre></details></section>"""
    embedded = {
        "panels": [panel["data"] for panel in drawn],
        "until_s": result.metrics.now_s,
        "bands": [msgspec.to_builtins(band) for band in bands],
    }
    if formats:
        until_s = result.metrics.now_s
        named = [(band.label, band.from_s, band.to_s) for band in bands]
        found = {"network-map": map_} | {
            figures.file_name(title): plots.curves(title, data["unit"], data, named, until_s)
            for title, data in ((panel["title"], panel["data"]) for panel in drawn)
        }
        if groups := guarantees.staying(result.metrics):
            found["sojourn-times"] = plots.sojourns(groups, result.bounds_s)
        figures.save(folder, found, formats)
    path = folder / "report.html"
    write_whole(path, page(result.scenario.name, body, STYLES, SCRIPTS, embedded))
    return path


def _head(result: Result) -> str:
    scenario, summary = result.scenario, result.summary
    verdict = summary.get("verdict", "broken")
    causes = summary.get(
        "causes", ["the driver ended before the run did; this is what it recorded"]
    )
    expectations = "".join(
        f'<li class="{"holds" if each["holds"] else "fails"}">{escape(each["says"])}</li>'
        for each in summary.get("expect", [])
    )
    lines = [
        f"{scenario.protocol.kind} on {scenario.runtime.kind}, seed {scenario.seed}, "
        f"{result.metrics.now_s:g} of {scenario.duration_s:g} s"
    ]
    if (late_s := summary.get("lateness_p99_s")) is not None:
        lines.append(f"lateness p99 {readable('s', late_s)}")
    elif summary:
        lines.append(f"digest {summary['digest']}")
    if (pace := summary.get("live_to_trace")) is not None:
        lines.append(f"live inference took {pace:.3g} of its trace")
    if (broken := summary.get("bounds_broken")) is not None:
        lines.append(broken_bounds(broken))
    mark = "good" if verdict == "good" else "bad"
    return (
        f'<h1>{escape(scenario.name)} <span class="verdict {mark}">{escape(verdict)}</span></h1>'
        + "".join(f'<p class="alert" role="alert">{escape(cause)}</p>' for cause in causes)
        + "".join(f'<p class="alert">{escape(text)}</p>' for text in summary.get("warnings", []))
        + f"<p>{escape(scenario.about)}</p>"
        f'<p class="soft">{escape("; ".join(lines))}</p>'
        + (f'<ul class="expect">{expectations}</ul>' if expectations else "")
    )


def _tiles(result: Result) -> str:
    numbers = result.metrics.summary()[ALL]
    tiles = [(metric.label, readable(metric.unit, numbers[metric.name])) for metric in ROWS]
    loss = result.metrics.links.uplink_loss_ratio
    tiles.append(("uplink attempts lost", readable("ratio", loss)))
    shown = [
        f'<div class="tile">{label}<b>{value}</b></div>' for label, value in tiles if value != "-"
    ]
    return f'<div class="tiles">{"".join(shown)}</div>'


def _results(result: Result) -> str:
    metrics = result.metrics.summary()
    groups = sorted(result.scenario.users, key=lambda group: group.priority)
    names = [group.name for group in groups] + ([ALL] if len(groups) > 1 else [])
    rows: list[Sequence[str]] = [
        ["", *(f"{g.count} {g.name}, class {g.priority}" for g in groups), *names[len(groups) :]]
    ]
    for metric in METRICS.values():
        values = values_of(metric, metrics, names)
        if metric.of != "network" and any(value is not None for value in values):
            rows.append([metric.label, *(readable(metric.unit, value) for value in values)])
    return table(rows)


def _servers(metrics: Metrics) -> str:
    """Tables the metrics of servers."""
    of_servers = [metric for metric in METRICS.values() if metric.of == "server"]
    rows: list[Sequence[str]] = [["server", *(metric.label for metric in of_servers)]]
    for name, found in metrics.of_servers().items():
        rows.append([name, *(readable(each.unit, found[each.name]) for each in of_servers)])
    return table(rows)


def _account(result: Result) -> str:
    rows: list[Sequence[str]] = [["", "tasks"]]
    balance = result.summary.get("balance")
    counts = balance or dict(result.metrics.outcomes)
    rows += [[name.replace("_", " "), f"{count:,}"] for name, count in counts.items()]
    return table(rows)


def losses(metrics: Metrics) -> str:
    rows: list[Sequence[str]] = [["cell, link", "attempts", "lost", "why"]]
    for (bs, kind), attempts in sorted(metrics.links.attempts.items()):
        reasons = {r: n for (b, k, r), n in metrics.links.losses.items() if (b, k) == (bs, kind)}
        lost = sum(reasons.values())
        why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        rows.append([f"{bs}, {kind}", f"{attempts:,}", readable("ratio", lost / attempts), why])
    said = sorted({reason for _, _, reason in metrics.links.losses})
    note = "".join(f'<p class="soft">{reason}: {escape(reason.says)}</p>' for reason in said)
    more = len(rows) - 1 - LOSS_ROWS_MAX
    note += f'<p class="soft">{more:,} further links are not shown.</p>' if more > 0 else ""
    return table(rows[: LOSS_ROWS_MAX + 1]) + note


def _panels(result: Result) -> Iterator[dict[str, Any]]:
    """Yields what is drawn: title, how many curves are left out, and the data for report.js."""
    metrics, groups = result.metrics, [group.name for group in result.scenario.users]
    columns = metrics.series.columns | result.details.columns
    count = len(metrics.series.at_s)
    at_s = thin(metrics.series.at_s, POINTS_MAX)
    for panel in panels(result.scenario, sorted(metrics.given_up)):
        series: list[dict[str, Any]] = [
            {
                "label": curve.label or "all",
                "values": thin(columns.get(curve.column, [None] * count), POINTS_MAX),
            }
            for curve in panel.curves
        ]
        if any(value is not None for each in series for value in each["values"]):
            data: dict[str, Any] = {"unit": panel.unit, "x": "time", "at": at_s, "series": series}
            data |= {"log": panel.log, "marks": msgspec.to_builtins(panel.marks)}
            yield {"title": panel.title, "more": panel.left_out, "data": data}
    delays = {name: metrics.groups[name].delays.total_s.distribution() for name in groups}
    at = sorted({value for points in delays.values() for value, _ in points})
    if at:
        at.insert(0, at[0] / 1.02)  # the lower edge of the first bucket, where the share is 0
        shares: list[dict[str, Any]] = [
            {"label": name, "values": _steps(points, at)}
            for name, points in list(delays.items())[:CURVES_MAX]
        ]
        deadlines_s = {group.deadline_s for group in result.scenario.users if group.deadline_s}
        marks = sorted(due_s for due_s in deadlines_s if due_s > at[0])
        at += [due_s for due_s in marks if due_s > at[-1]]
        for each in shares:
            each["values"] += [each["values"][-1]] * (len(at) - len(each["values"]))
        data = {"unit": "ratio", "x": "value", "at": at, "series": shares}
        data["marks"] = [{"value": due_s, "label": "deadline"} for due_s in marks]
        title = "Share of results within a delay"
        yield {"title": title, "more": len(delays) - len(shares), "data": data}


def _steps(points: Sequence[tuple[float, float]], at: Sequence[float]) -> list[float]:
    """Reads a cumulative distribution at all of `at`."""
    shares = dict(points)
    share, values = 0.0, []
    for value in at:
        share = shares.get(value, share)
        values.append(share)
    return values


def _card(panel: dict[str, Any]) -> str:
    """Titles a plot with its curves and their last values; report.js shows others on hover."""
    data = panel["data"]
    keys = ""
    for number, each in enumerate(data["series"]):
        last = next((v for v in reversed(each["values"]) if v is not None), None)
        shown = readable(data["unit"], last) if data["x"] == "time" else ""
        keys += (
            f'<span class="curve"><span class="key k{number}"></span>{escape(each["label"])} '
            f"<output>{shown}</output></span>"
        )
    for mark in data["marks"] if data["x"] == "time" else ():
        shown = readable(data["unit"], mark["value"])
        keys += f'<span class="curve limit">{escape(mark["label"])} {shown}</span>'
    if panel["more"]:
        keys += f"and {panel['more']:,} more, not drawn"
    title = escape(panel["title"])
    return (
        f'<section class="card"><h2>{title} <span class="where"></span></h2>'
        f'<p class="last">{keys}</p>'
        f'<div class="plot" role="img" aria-label="{title}"></div></section>'
    )


def bands_of(metrics: Metrics) -> list[Band]:
    """Returns the spans of all faults that began."""
    bands: list[Band] = []
    open_at: dict[int, int] = {}  # fault -> its band that has no end yet
    for change in metrics.fault_log:
        if change.op == "extend":
            continue
        if change.number in open_at:
            ended = open_at.pop(change.number)
            bands[ended] = msgspec.structs.replace(bands[ended], to_s=change.at_s)
        if change.op != "heal":
            open_at[change.number] = len(bands)
            reported = {key: value for key, value in change.fault.items() if key != "for_s"}
            bands.append(Band(change.at_s, metrics.now_s, describe(reported)))
    return bands


def _faults(bands: Sequence[Band]) -> str:
    if not bands:
        return '<p class="soft">none</p>'
    rows: list[Sequence[str]] = [["shaded in every plot over time", "from", "to"]]
    rows += [
        [f"{number}  {band.label}", f"{band.from_s:g} s", f"{band.to_s:g} s"]
        for number, band in enumerate(bands, start=1)
    ]
    return table(rows)
