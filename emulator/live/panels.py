"""What the live page shows of a run: which tiles, and which curves go together in one plot.

Made once from the plan, so the page knows no protocol and no unit by heart. `recent.py` and
`feed.py` fill the columns named here.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from agents.policy import Reading
from emulator.build.plan import Plan
from emulator.results.stats import ALL, STAGES
from emulator.scenario.schema import ServerGroup
from emulator.scenario.slots import is_scheduled, readings_of
from emulator.scenario.topology import members

CURVES_MAX = 6  # a plot; as many as there are colours that everybody can tell apart
# Readings that say more in one plot; every other reading gets a plot of its own.
TOGETHER = {
    "ADMM residuals": ("primal", "dual"),
    "Tasks waiting": ("waiting_users", "waiting_servers"),
    "Virtual queues": ("persistence", "admission"),
}


class Curve(Struct, frozen=True):
    """A column of the history and what people call it."""

    column: str
    label: str


class Mark(Struct, frozen=True):
    """A level that a curve is judged by, drawn across the plot."""

    value: float
    label: str


class Panel(Struct, frozen=True):
    """One plot over emulated time. `left_out` curves are not drawn, for want of colours."""

    title: str
    unit: str
    curves: list[Curve]
    marks: list[Mark] = []
    log: bool = False
    left_out: int = 0


class Tile(Struct, frozen=True):
    """One number of the page's top row; the frame carries its value under `name`."""

    name: str
    label: str
    unit: str


def tiles(plan: Plan) -> list[Tile]:
    """Names the numbers of the top row."""
    chosen = plan.scenario
    urgent = min(group.priority for group in chosen.users)
    readings = {reading.name for reading in readings_of(chosen)}
    return [
        Tile("age_mean", "age, mean over users", "s"),
        Tile("age_p95", "age, 95th percentile", "s"),
        Tile("peak_p95", f"peak age of class {urgent}, 95th percentile", "s"),
        Tile("delay_p95", "delay, 95th percentile", "s"),
        Tile("lost", "tasks lost", "per s"),
        Tile("loss", "uplink attempts lost", "ratio"),
        *([Tile("primal", "primal residual", "")] if "primal" in readings else []),
        *([Tile("overdue", "late tasks and broken bounds", "")] if is_scheduled(chosen) else []),
        Tile("faults", "faults active", ""),
        Tile("lateness", "lateness of this machine, p99", "s"),
    ]


def panels(plan: Plan) -> list[Panel]:
    """Names the plots, most asked for first."""
    return list(_panels(plan))


def _panels(plan: Plan) -> Iterator[Panel]:
    chosen = plan.scenario
    groups = [group.name for group in chosen.users]
    everyone = [*groups, ALL] if len(groups) > 1 else groups
    yield _plot("Age of information", "s", [(f"aoi_s/{name}", name) for name in everyone])
    classes = sorted({group.priority for group in chosen.users})
    yield _plot("Peak age by class", "s", [(f"paoi_s/{k}", f"class {k}") for k in classes])
    parts = [("delay_s/p95", "total"), *((f"part_s/{stage}", stage) for stage in STAGES)]
    yield _plot("Delay and its parts, 95th percentile", "s", parts, _deadlines(plan, "deadline"))
    if is_scheduled(chosen):
        sojourns = [(f"sojourn_s/{name}", name) for name in groups]
        yield _plot("Longest sojourn time, and its bound", "s", sojourns, _deadlines(plan, "bound"))
    cells = [name for name, _ in members(chosen.base_stations)]
    yield _plot("Uplink attempts lost", "ratio", [(f"loss_ratio/{bs}", bs) for bs in cells])
    lost = [(f"lost_hz/{outcome}", outcome) for outcome in ("dropped", "expired")]
    yield _plot("Tasks lost", "per s", lost)
    servers = list(members(chosen.servers))
    yield _plot("Backlog", "tasks", [(f"backlog/{name}", name) for name, _ in servers])
    runs = [(f"service_s/{name}", f"{model_of(group)} on {name}") for name, group in servers]
    yield _plot("Inference latency", "s", runs)
    yield from _of_protocol(readings_of(chosen))


def _of_protocol(readings: Sequence[Reading]) -> Iterator[Panel]:
    known = {reading.name: reading for reading in readings}
    for title, names in TOGETHER.items():
        found = [known.pop(name) for name in names if name in known]
        if found:
            curves = [(f"protocol/{each.name}", each.about) for each in found]
            yield _plot(title, found[0].unit, curves, log=found[0].log)
    for each in known.values():
        yield _plot(each.about, each.unit, [(f"protocol/{each.name}", "")], log=each.log)


def model_of(group: ServerGroup) -> str:
    """Names the network of a server group's accelerators."""
    return str(getattr(group.accelerator, "model", "fitted"))


def _deadlines(plan: Plan, what: str) -> list[Mark]:
    groups_of: dict[float, list[str]] = {}
    for group in plan.scenario.users:
        if group.deadline_s is not None:
            groups_of.setdefault(group.deadline_s, []).append(group.name)
    return [Mark(at_s, f"{what} of {', '.join(names)}") for at_s, names in groups_of.items()]


def _plot(
    title: str,
    unit: str,
    curves: list[tuple[str, str]],
    marks: list[Mark] | None = None,
    log: bool = False,
) -> Panel:
    shown = [Curve(column, label) for column, label in curves[:CURVES_MAX]]
    return Panel(title, unit, shown, marks or [], log, len(curves) - len(shown))
