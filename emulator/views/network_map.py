"""The map of a network: users by class, base stations and servers at their places, who hears whom.

Import it where you draw: it loads matplotlib.
"""

from itertools import cycle
from typing import Any

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from emulator.scenario.schema import Scenario
from emulator.scenario.topology import build, layout, members
from emulator.views import figures
from emulator.views.figures import COLOURS, INK, SOFT, blank, styled

USERS_DRAWN_MAX = 400
NAMED_MAX = 12  # of users, or of base stations or servers; more names cover each other
MARKERS = "oXPvd*"


@styled
def network_map(scenario: Scenario) -> Figure:
    """Draws at most `USERS_DRAWN_MAX` users, and says how many it leaves out."""
    tables = layout(build(scenario), scenario.backhaul.delay_s)
    class_of = {name: group.priority for name, group in members(scenario.users)}
    place = tables.position_m
    users = list(tables.cells)[:USERS_DRAWN_MAX]
    (axes,) = blank(row_in=4.0)
    links = [(user, n, bs) for user in users for n, (bs, _) in enumerate(tables.cells[user])]
    wires = [(bs, 0, server) for bs, servers in tables.servers.items() for server, _ in servers]
    kinds: tuple[tuple[str, list[tuple[str, int, str]], dict[str, Any]], ...] = (
        ("further cell", [each for each in links if each[1]], {"lw": 0.5, "alpha": 0.3}),
        ("nearest cell", [each for each in links if not each[1]], {"lw": 1.2, "alpha": 0.6}),
        ("wire", wires, {"lw": 1.0, "ls": "--"}),
    )
    for label, chosen, look in kinds:
        if chosen:
            lines = [(place[a], place[b]) for a, _, b in chosen]
            axes.add_collection(LineCollection(lines, colors=SOFT, label=label, zorder=1.0, **look))
    classes = sorted(set(class_of.values()))
    sorts = [
        (f"user of class {each}", [user for user in users if class_of[user] == each], mark, colour)
        for each, mark, colour in zip(classes, cycle(MARKERS), cycle(COLOURS), strict=False)
    ]
    sorts += [
        ("base station", list(tables.servers), "^", INK),
        ("server", list(tables.base_stations), "s", INK),
    ]
    for label, nodes, mark, colour in sorts:
        if nodes:
            xs, ys = zip(*(place[node] for node in nodes), strict=True)
            size = 12.0 if colour != INK and len(users) > NAMED_MAX else 36.0
            axes.scatter(xs, ys, size, color=colour, marker=mark, label=label, zorder=2.0)
        for node in nodes if len(users if colour != INK else nodes) <= NAMED_MAX else ():
            beside: dict[str, Any] = {"xytext": (5.0, 4.0), "textcoords": "offset points"}
            axes.annotate(node, place[node], fontsize=7.0, **beside)
    if (more := len(tables.cells) - len(users)) > 0:
        axes.set_title(f"{more:,} further users are not drawn", loc="right", fontsize=8.0)
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")
    figures.name_axis(axes, "x", "x", "m")
    figures.name_axis(axes, "y", "y", "m")
    figures.legend(figures.figure_of(axes))
    return figures.figure_of(axes)
