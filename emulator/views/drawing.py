"""Drawings that need no script: the map of a network, and means with their intervals, as SVG.

Not the plots over time, which uPlot draws. Colours are the variables of report.css, so a drawing
follows the light or dark of its page. The map shows `USERS_DRAWN_MAX` users at most.
"""

from collections.abc import Sequence
from html import escape

from msgspec import Struct

from agents.messages import NodeId
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import Layout, build, layout, members

USERS_DRAWN_MAX = 400
USERS_NAMED_MAX = 40  # more names than this cover the map
COLOURS = 6  # --c0 to --c5 in report.css
BAR_PX, NAME_PX, VALUE_PX, LINE_PX = 300.0, 120.0, 140.0, 30.0
POINT = tuple[float, float]


class Mean(Struct, frozen=True):
    """One line of `intervals`; `text` is the value as people read it."""

    label: str
    mean: float
    half_width: float
    text: str


def network_map(scenario: Scenario) -> str:
    """Draws users by class, base stations and servers at their places, and who hears whom."""
    tables = layout(build(scenario), scenario.backhaul.delay_s)
    class_of = {name: group.priority for name, group in members(scenario.users)}
    classes = sorted(set(class_of.values()))
    place = _placed(tables)
    users = list(tables.cells)[:USERS_DRAWN_MAX]
    many = len(users) > USERS_NAMED_MAX
    shapes = [
        _line(place[bs], place[server], "wire")
        for bs, servers in tables.servers.items()
        for server, _ in servers
    ]
    for user in users:
        for number, (bs, _) in enumerate(tables.cells[user]):
            shapes.append(_line(place[user], place[bs], "further" if number else "nearest"))
    for user in users:
        x, y = place[user]
        shapes.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2.5 if many else 5.5}" '
            f'fill="var(--c{classes.index(class_of[user]) % COLOURS})">'
            f"<title>{escape(user)}, class {class_of[user]}</title></circle>"
        )
        if not many:
            shapes.append(_name(user, (x, y)))
    for bs in tables.servers:
        x, y = place[bs]
        points = f"{x:.1f},{y - 10:.1f} {x - 10:.1f},{y + 8:.1f} {x + 10:.1f},{y + 8:.1f}"
        shapes.append(f'<polygon class="site" points="{points}"/>{_name(bs, place[bs])}')
    for server in tables.base_stations:
        x, y = place[server]
        box = f'x="{x - 9:.1f}" y="{y - 9:.1f}" width="18" height="18" rx="3"'
        shapes.append(f'<rect class="site" {box}/>{_name(server, place[server])}')
    keys = "".join(
        f'<span class="key k{number % COLOURS}"></span>users of class {priority}'
        for number, priority in enumerate(classes)
    )
    more = len(tables.cells) - len(users)
    note = f" {more:,} further users are not drawn." if more else ""
    head = '<svg class="map" viewBox="0 0 560 400" role="img" aria-label="Map of the network">'
    return (
        f'{head}{"".join(shapes)}</svg><p class="soft">{keys}; triangles: base stations; '
        f"squares: servers; bold line: nearest cell.{note}</p>"
    )


def intervals(means: Sequence[Mean]) -> str:
    """Draws a bar from zero to each mean, and its confidence interval on top."""
    longest = max((each.mean + each.half_width for each in means), default=0.0)
    scale = BAR_PX / longest if longest > 0.0 else 0.0
    shapes = []
    for number, each in enumerate(means):
        y = LINE_PX * number + LINE_PX / 2
        end = NAME_PX + scale * max(each.mean, 0.0)
        low = NAME_PX + scale * max(each.mean - each.half_width, 0.0)
        high = NAME_PX + scale * max(each.mean + each.half_width, 0.0)
        shapes.append(
            f'<text x="{NAME_PX - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(each.label)}</text>"
            f'<rect x="{NAME_PX:.0f}" y="{y - 8:.1f}" width="{end - NAME_PX:.1f}" height="16" '
            f'rx="2" fill="var(--c{number % COLOURS})"/>'
            f'<path class="whisker" d="M{low:.1f},{y:.1f}H{high:.1f}'
            f'M{low:.1f},{y - 5:.1f}v10M{high:.1f},{y - 5:.1f}v10"/>'
            f'<text x="{high + 8:.1f}" y="{y + 4:.1f}">{escape(each.text)}</text>'
        )
    width, height = NAME_PX + BAR_PX + VALUE_PX, LINE_PX * len(means)
    said = escape("; ".join(f"{each.label} {each.text}" for each in means))
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{said}">'
        f"{''.join(shapes)}</svg>"
    )


def _line(a: POINT, b: POINT, kind: str) -> str:
    (x1, y1), (x2, y2) = a, b
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _name(name: NodeId, at: POINT) -> str:
    """Names a node, on the side where there is room."""
    x, y = at
    left = x > 400.0
    side = 'text-anchor="end"' if left else ""
    return (
        f'<text x="{x - 13 if left else x + 13:.1f}" y="{y + 4:.1f}" {side}>{escape(name)}</text>'
    )


def _placed(tables: Layout) -> dict[NodeId, POINT]:
    """Scales positions to the picture."""
    xs = [x for x, _ in tables.position_m.values()]
    ys = [y for _, y in tables.position_m.values()]
    x0, y0 = min(xs), min(ys)
    width, height = max(max(xs) - x0, 1e-9), max(max(ys) - y0, 1e-9)
    return {
        name: (20 + 520 * (x - x0) / width, 20 + 360 * (y - y0) / height)
        for name, (x, y) in tables.position_m.items()
    }
