"""One self-contained page about a run, made from its folder alone.

No request leaves the page: uPlot, styles and data are inside. A run that broke gets its page too,
and says so on top.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from msgspec import Struct

from emulator import journal, source
from emulator.display import ROWS, describe, readable
from emulator.metrics import ALL, Metrics
from emulator.run import fresh_metrics
from emulator.scenario import Scenario
from emulator.tables import thin
from emulator.topology import Layout, build, layout

STATIC = Path(__file__).parent / "dashboard" / "static"
POINTS_MAX = 120  # a curve; more than this and single tasks drown what the curve is about
USERS_DRAWN_MAX = 400
STAGES = (
    ("generation to server", "uplink_mean_s"),
    ("waiting", "queue_mean_s"),
    ("service", "compute_mean_s"),
    ("way back", "downlink_mean_s"),
)


class Result(Struct, frozen=True):
    """What a run folder holds, folded again. `summary` is empty where the run never ended."""

    scenario: Scenario
    metrics: Metrics
    summary: dict[str, Any]


def read(folder: Path) -> Result:
    """Reads a run folder and folds its journal as it was folded live."""
    scenario = source.load(folder / "scenario.yaml")
    metrics = fresh_metrics(scenario)
    for frame in journal.read_frames(folder):
        metrics.fold(frame.records, frame.now_s)
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    return Result(scenario, metrics, summary)


def write(folder: Path, result: Result) -> Path:
    """Writes report.html into the run folder and returns its path."""
    panels = list(_panels(result.metrics))
    bands, legend = _bands(result)
    # "<" cannot end the script element early when it is written as an escape.
    data = json.dumps({"panels": [p["data"] for p in panels], "bands": bands})
    data = data.replace("<", "\\u003c")
    vendor = STATIC / "vendor"
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(result.scenario.name)} - Fresco</title>
<link rel="icon" href="data:,">
<style>{(vendor / "uPlot.min.css").read_text()}{(STATIC / "report.css").read_text()}</style>
</head><body><main>
{_head(result)}
{_tiles(result)}
<div class="cards">
<section class="card wide"><h2>Results</h2>{_results(result)}</section>
{"".join(_card(panel) for panel in panels)}
<section class="card"><h2>Topology</h2>{_map(result)}</section>
<section class="card"><h2>Faults</h2>{legend}</section>
<section class="card"><h2>Tasks</h2>{_account(result)}</section>
<section class="card"><h2>Attempts lost</h2>{_losses(result.metrics)}</section>
</div>
<section class="card"><details><summary>Scenario and versions</summary>
<pre>{escape((folder / "scenario.yaml").read_text())}</pre>
<pre>{escape(json.dumps(result.summary.get("versions", {}), indent=1))}</pre></details></section>
</main>
<script type="application/json" id="data">{data}</script>
<script>{(vendor / "uPlot.iife.min.js").read_text()}</script>
<script>{(STATIC / "report.js").read_text()}</script>
</body></html>
"""
    path = folder / "report.html"
    path.write_text(page)
    return path


def _head(result: Result) -> str:
    scenario, summary = result.scenario, result.summary
    verdict = summary.get("verdict", "broken")
    causes = summary.get(
        "causes", ["the driver ended before the run did; this is what it recorded"]
    )
    expectations = "".join(
        f"<li>{'holds' if each['holds'] else 'fails'}: {escape(each['says'])}</li>"
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
    mark = "good" if verdict == "good" else "bad"
    return (
        f'<h1>{escape(scenario.name)} <span class="verdict {mark}">{escape(verdict)}</span></h1>'
        f"<p>{escape(scenario.about)}</p>"
        f'<p class="soft">{escape("; ".join(lines))}</p>'
        + "".join(f"<p><b>{escape(cause)}</b></p>" for cause in causes)
        + (f"<ul>{expectations}</ul>" if expectations else "")
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
    return _table(rows)


def _account(result: Result) -> str:
    rows: list[Sequence[str]] = [["", "tasks"]]
    balance = result.summary.get("balance")
    counts = balance or dict(result.metrics.series.outcomes)
    rows += [[name.replace("_", " "), f"{count:,}"] for name, count in counts.items()]
    drops = result.metrics.everyone().drops
    rows += [[f"given up: {reason}", f"{n:,}"] for reason, n in drops.most_common()]
    return _table(rows)


def _losses(metrics: Metrics) -> str:
    rows: list[Sequence[str]] = [["cell, link", "attempts", "lost", "why"]]
    for (bs, kind), attempts in sorted(metrics.attempts.items()):
        reasons = {r: n for (b, k, r), n in metrics.losses.items() if (b, k) == (bs, kind)}
        lost = sum(reasons.values())
        why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        rows.append([f"{bs}, {kind}", f"{attempts:,}", readable("_ratio", lost / attempts), why])
    return _table(rows[:40])


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _panels(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """Yields what is drawn: title, and the data that report.js draws it from."""
    columns = metrics.series.columns
    at_s = thin(metrics.series.at_s, POINTS_MAX)
    for number, (title, prefix, unit, said) in enumerate(
        (
            ("Age of information", "aoi_s/", "s", ""),
            ("Peak age by class", "paoi_s/", "s", "class "),
            ("Delay", "delay_s/", "s", ""),
            ("Uplink attempts lost", "uplink_loss_ratio", "ratio", ""),
            ("Backlog", "backlog/", "tasks", ""),
        )
    ):
        chosen = [name for name in columns if name.startswith(prefix)][:6]
        if len(chosen) == 2 and prefix == "aoi_s/":
            chosen = chosen[:1]  # one group: `all` is the same curve
        series: list[dict[str, Any]] = [
            {
                "label": said + (name.removeprefix(prefix) or title.lower()),
                "values": thin(_padded(columns[name], len(metrics.series.at_s)), POINTS_MAX),
            }
            for name in chosen
        ]
        if any(value is not None for each in series for value in each["values"]):
            data = {"id": f"p{number}", "unit": unit, "x": "time", "at": at_s, "series": series}
            yield {"title": title, "data": data}
    groups = {n: s.delay_s.distribution() for n, s in metrics.groups.items()}
    at = sorted({value for points in groups.values() for value, _ in points})
    if at:
        at.insert(0, at[0] / 1.02)  # the lower edge of the first bucket, where the share is 0
        shares = [{"label": n, "values": _steps(points, at)} for n, points in groups.items()][:6]
        data = {"id": "cdf", "unit": "ratio", "x": "value", "at": at, "series": shares}
        yield {"title": "Share of results within a delay", "data": data}


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
    data = panel["data"]
    keys = ""
    for each in data["series"]:
        last = next((v for v in reversed(each["values"]) if v is not None), None)
        metric = {"s": "_s", "ratio": "_ratio", "tasks": "completed"}[data["unit"]]
        shown = f" {readable(metric, last)}" if data["x"] == "time" else ""
        keys += f'<span class="key"></span>{escape(each["label"])}{shown}'
    return (
        f'<section class="card" data-panel="{data["id"]}"><h2>{escape(panel["title"])}'
        f'<span class="last">{keys}</span></h2><div class="plot" id="{data["id"]}"></div></section>'
    )


def _bands(result: Result) -> tuple[list[tuple[float, float]], str]:
    """Returns the spans of all faults that began, and a table that names them."""
    healed = {c.number: c.at_s for c in result.metrics.fault_log if c.op == "heal"}
    rows: list[Sequence[str]] = [["fault", "from", "to"]]
    spans: list[tuple[float, float]] = []
    for change in result.metrics.fault_log:
        if change.op == "begin":
            to_s = healed.get(change.number, result.metrics.now_s)
            spans.append((change.at_s, to_s))
            named = describe({k: v for k, v in change.fault.items() if k != "for_s"})
            rows.append([named, f"{change.at_s:g} s", f"{to_s:g} s"])
    if not spans:
        return spans, '<p class="soft">none</p>'
    return spans, _table(rows) + '<p class="soft">Shaded in every plot over time.</p>'


def _map(result: Result) -> str:
    """Draws the topology: users by class, base stations, servers, and who hears whom."""
    scenario = result.scenario
    tables = layout(build(scenario), scenario.backhaul.delay_s)
    classes = {
        f"{group.name}-{n}": group.priority for group in scenario.users for n in range(group.count)
    }
    place = _placed(tables)
    shapes: list[str] = []

    def line(a: str, b: str, colour: str) -> None:
        (x1, y1), (x2, y2) = place[a], place[b]
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        shapes.append(f'<line {ends} stroke="var({colour})" stroke-opacity="0.45"/>')

    users = list(tables.cells)[:USERS_DRAWN_MAX]
    for bs, servers in tables.servers.items():
        for server, _ in servers:
            line(bs, server, "--soft")
    for user in users:
        for number, (bs, _) in enumerate(tables.cells[user]):
            line(user, bs, "--c5" if number == 0 else "--grid")
    many = len(users) > 40
    for user in users:
        x, y = place[user]
        title = f"<title>{escape(user)}, class {classes[user]}</title>"
        fill = f"var(--c{(classes[user] + 1) % 6})"
        size = 2.5 if many else 5
        shapes.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{fill}">{title}</circle>'
        )
        if not many:
            shapes.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(user)}</text>')
    for bs in tables.servers:
        x, y = place[bs]
        points = f"{x:.1f},{y - 10:.1f} {x - 9:.1f},{y + 7:.1f} {x + 9:.1f},{y + 7:.1f}"
        shapes.append(f'<polygon points="{points}" fill="var(--c0)"/>')
        shapes.append(f'<text x="{x + 12:.1f}" y="{y + 4:.1f}">{escape(bs)}</text>')
    for server in tables.base_stations:
        x, y = place[server]
        box = f'x="{x - 8:.1f}" y="{y - 8:.1f}" width="16" height="16" rx="2"'
        shapes.append(f'<rect {box} fill="var(--c2)"/>')
        shapes.append(f'<text x="{x + 12:.1f}" y="{y + 4:.1f}">{escape(server)}</text>')
    more = len(tables.cells) - len(users)
    note = f'<p class="soft">{more:,} further users are not drawn.</p>' if more else ""
    legend = "triangles: base stations; squares: servers; circles: users, coloured by class"
    head = '<svg viewBox="0 0 560 400" role="img" aria-label="Map of the network">'
    return f'{head}{"".join(shapes)}</svg><p class="soft">{legend}</p>{note}'


def _placed(tables: Layout) -> dict[str, tuple[float, float]]:
    """Scales positions to the picture."""
    xs = [x for x, _ in tables.position_m.values()]
    ys = [y for _, y in tables.position_m.values()]
    x0, y0 = min(xs), min(ys)
    width, height = max(max(xs) - x0, 1e-9), max(max(ys) - y0, 1e-9)
    return {
        name: (30 + 440 * (x - x0) / width, 25 + 350 * (y - y0) / height)
        for name, (x, y) in tables.position_m.items()
    }
