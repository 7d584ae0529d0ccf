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
from emulator.results.metrics import Metrics, broken_bounds
from emulator.results.stats import ALL
from emulator.results.tables import thin
from emulator.runtime.recorder import fresh_metrics
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import bounds_s, is_scheduled
from emulator.views import guarantees
from emulator.views.html import page, table
from emulator.views.terminal import ROWS, describe, readable
from models.files import write_whole

STYLES = ("vendor/uPlot.min.css", "report.css")
SCRIPTS = ("vendor/uPlot.iife.min.js", "axes.js", "report.js")
POINTS_MAX = 120  # a curve; more than this and single tasks drown what the curve is about
CURVES_MAX = 6  # a plot; as many as there are colours that everybody can tell apart
LOSS_ROWS_MAX = 40
STAGES = (
    ("generation to server", "uplink_mean_s"),
    ("waiting", "queue_mean_s"),
    ("service", "compute_mean_s"),
    ("way back", "downlink_mean_s"),
)


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
    summary: dict[str, Any]
    bounds_s: dict[str, float] = {}


def read(folder: Path) -> Result:
    """Reads a run folder and folds its journal as it was folded live."""
    scenario = source.load(folder / "scenario.yaml")
    public = plan(scenario, stopwatch=False).frame() if is_scheduled(scenario) else None
    metrics = fresh_metrics(scenario, public)
    for frame in journal.read_frames(folder):
        metrics.fold(frame.records, frame.now_s)
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    bounds = {} if public is None else bounds_s(scenario, public)
    return Result(scenario, metrics, summary, bounds)


def write(folder: Path, result: Result, formats: Sequence[str] = ()) -> Path:
    """Writes report.html into the run folder and returns its path; its figures too, as files of
    these formats."""
    from emulator.views import figures, plots
    from emulator.views.network_map import network_map

    panels = list(_panels(result))
    bands = bands_of(result.metrics)
    map_ = network_map(result.scenario)
    versions = json.dumps(result.summary.get("versions", {}), indent=1)
    text = (folder / "scenario.yaml").read_text(encoding="utf-8")
    body = f"""{_head(result)}
{_tiles(result)}
<div class="cards">
<section class="card wide"><h2>Results</h2>{_results(result)}</section>
<section class="card wide"><h2>Faults</h2>{_faults(bands)}</section>
{guarantees.kept(result.metrics, result.bounds_s)}
{"".join(_card(panel) for panel in panels)}
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
        "panels": [panel["data"] for panel in panels],
        "until_s": result.metrics.now_s,
        "bands": [msgspec.to_builtins(band) for band in bands],
    }
    if formats:
        until_s = result.metrics.now_s
        named = [(band.label, band.from_s, band.to_s) for band in bands]
        found = {"network-map": map_} | {
            figures.file_name(title): plots.curves(
                title, _metric(data["unit"]), data, named, until_s
            )
            for title, data in ((panel["title"], panel["data"]) for panel in panels)
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
        lines.append(f"lateness p99 {readable('_s', late_s)}")
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
    tiles = [(label, readable(key, numbers[key])) for label, key, _ in ROWS]
    loss = result.metrics.uplink_loss_ratio
    tiles.append(("uplink attempts lost", readable("_ratio", loss)))
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
    keys = [(label, key) for label, key, _ in ROWS]
    keys[5:5] = [(f"delay: {stage}, mean", key) for stage, key in STAGES]
    for label, key in keys:
        if any(metrics[name][key] is not None for name in names):
            rows.append([label, *(readable(key, metrics[name][key]) for name in names)])
    return table(rows)


def _account(result: Result) -> str:
    rows: list[Sequence[str]] = [["", "tasks"]]
    balance = result.summary.get("balance")
    counts = balance or dict(result.metrics.series.outcomes)
    rows += [[name.replace("_", " "), f"{count:,}"] for name, count in counts.items()]
    return table(rows)


def losses(metrics: Metrics) -> str:
    rows: list[Sequence[str]] = [["cell, link", "attempts", "lost", "why"]]
    for (bs, kind), attempts in sorted(metrics.attempts.items()):
        reasons = {r: n for (b, k, r), n in metrics.losses.items() if (b, k) == (bs, kind)}
        lost = sum(reasons.values())
        why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        rows.append([f"{bs}, {kind}", f"{attempts:,}", readable("_ratio", lost / attempts), why])
    said = sorted({reason for _, _, reason in metrics.losses})
    note = "".join(f'<p class="soft">{reason}: {escape(reason.says)}</p>' for reason in said)
    more = len(rows) - 1 - LOSS_ROWS_MAX
    note += f'<p class="soft">{more:,} further links are not shown.</p>' if more > 0 else ""
    return table(rows[: LOSS_ROWS_MAX + 1]) + note


def _panels(result: Result) -> Iterator[dict[str, Any]]:
    """Yields what is drawn: title, how many curves are left out, and the data for report.js."""
    metrics, groups = result.metrics, [group.name for group in result.scenario.users]
    columns, count = metrics.series.columns, len(metrics.series.at_s)
    at_s = thin(metrics.series.at_s, POINTS_MAX)
    backlogs = [name for name in columns if name.startswith("backlog/")]
    classes = sorted({group.priority for group in result.scenario.users})
    readings = metrics.series.readings
    logarithmic = {each.about for each in readings if each.log}
    reported = [(each.about, each.unit, "", [f"protocol/{each.name}"]) for each in readings]
    for title, unit, said, names in (
        ("Age of information", "s", "", [f"aoi_s/{group}" for group in groups]),
        ("Peak age by class", "s", "class ", [f"paoi_s/{priority}" for priority in classes]),
        ("Delay", "s", "", ["delay_s/mean", "delay_s/p95"]),
        ("Uplink attempts lost", "ratio", "", ["uplink_loss_ratio"]),
        ("Backlog of servers", "tasks", "", backlogs),
        ("Given up", "per s", "", [name for name in columns if name.startswith("given_up_hz/")]),
        (
            "Longest sojourn time over its deadline",
            "ratio",
            "",
            [f"sojourn_ratio/{g}" for g in groups],
        ),
        ("Utility so far", "", "", ["utility"]),
        ("Broken bounds so far", "", "", ["violations"]),
        ("Weight of the schedule over the heaviest", "ratio", "", ["weight_ratio"]),
        *reported,
    ):
        series: list[dict[str, Any]] = [
            {
                "label": said + (name.partition("/")[2] or "all"),
                "values": thin(_padded(columns.get(name, []), count), POINTS_MAX),
            }
            for name in names[:CURVES_MAX]
        ]
        if any(value is not None for each in series for value in each["values"]):
            data: dict[str, Any] = {"unit": unit, "x": "time", "at": at_s, "series": series}
            data["log"] = title in logarithmic
            yield {"title": title, "more": len(names) - len(series), "data": data}
    delays = {name: metrics.groups[name].delay_s.distribution() for name in groups}
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
        data = {"unit": "ratio", "x": "value", "at": at, "series": shares, "marks": marks}
        title = "Share of results within a delay"
        yield {"title": title, "more": len(delays) - len(shares), "data": data}


def _padded(values: list[float | None], length: int) -> list[float | None]:
    return values + [None] * (length - len(values))


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
    metric = _metric(data["unit"])
    keys = ""
    for number, each in enumerate(data["series"]):
        last = next((v for v in reversed(each["values"]) if v is not None), None)
        shown = readable(metric, last) if data["x"] == "time" else ""
        keys += (
            f'<span class="curve"><span class="key k{number}"></span>{escape(each["label"])} '
            f"<output>{shown}</output></span>"
        )
    if panel["more"]:
        keys += f"and {panel['more']:,} more, not drawn"
    title = escape(panel["title"])
    return (
        f'<section class="card"><h2>{title} <span class="where"></span></h2>'
        f'<p class="last">{keys}</p>'
        f'<div class="plot" role="img" aria-label="{title}"></div></section>'
    )


def _metric(unit: str) -> str:
    """Returns what a metric's name ends with where a panel has this unit."""
    return {"s": "_s", "ratio": "_ratio", "per s": "_hz"}.get(unit, "")


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
