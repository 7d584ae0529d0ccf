"""What is drawn of a run over time: which curves go together in one plot, on page and in report.

Made from the scenario, so neither knows a protocol or a unit by heart. `results/window.py` and
`results/metrics.py` fill the columns named here.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from agents.policy import Reading
from agents.protocols import PROTOCOLS
from emulator.results.measures import METRICS
from emulator.results.stats import ALL, STAGES
from emulator.scenario.schema import Scenario, ServerGroup
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


def panels(chosen: Scenario, reasons: Sequence[str] = ()) -> list[Panel]:
    """Names the plots, most asked for first; `reasons` are those for which tasks were given up."""
    return list(_panels(chosen, reasons))


def _panels(chosen: Scenario, reasons: Sequence[str]) -> Iterator[Panel]:
    groups = [group.name for group in chosen.users]
    yield from _of_metrics("group", groups)
    classes = sorted({group.priority for group in chosen.users})
    yield _plot("Peak age by class", "s", [(f"paoi_s/{k}", f"class {k}") for k in classes])
    parts = [("delay_s/p95", "total"), *((f"part_s/{stage}", stage) for stage in STAGES)]
    yield _plot("Delay and its parts, 95th percentile", "s", parts, _deadlines(chosen, "deadline"))
    bounded = [group.name for group in chosen.users if group.deadline_s is not None]
    if bounded:
        what = "bound" if is_scheduled(chosen) else "deadline"
        sojourns = [(f"sojourn_s/{name}", name) for name in bounded]
        yield _plot(
            f"Longest sojourn time, and its {what}", "s", sojourns, _deadlines(chosen, what)
        )
        yield _plot("Utility so far", "", [("utility", "")])
    cells = [name for name, _ in members(chosen.base_stations)]
    yield _plot(
        "Uplink attempts lost",
        "ratio",
        [
            *([("uplink_loss_ratio", ALL)] if len(cells) > 1 else []),
            *((f"loss_ratio/{bs}", bs) for bs in cells),
        ],
    )
    lost = [(f"lost_hz/{outcome}", outcome) for outcome in ("dropped", "expired")]
    yield _plot("Tasks lost", "per s", lost)
    if reasons:
        given_up = [(f"given_up_hz/{reason}", reason) for reason in reasons]
        yield _plot("Given up, by reason", "per s", given_up)
    servers = list(members(chosen.servers))
    yield _plot("Backlog", "tasks", [(f"backlog/{name}", name) for name, _ in servers])
    yield from _of_metrics("server", [name for name, _ in servers])
    runs = [(f"service_s/{name}", f"{model_of(group)} on {name}") for name, group in servers]
    yield _plot("Inference latency", "s", runs)
    if PROTOCOLS[chosen.protocol.kind].bounded:
        yield _plot("Broken bounds so far", "", [("violations", "")])
    if is_scheduled(chosen):
        yield _plot("Weight of the schedule over the heaviest", "ratio", [("weight_ratio", "")])
    yield from _of_protocol(readings_of(chosen))


def _of_metrics(of: Literal["group", "server"], names: Sequence[str]) -> Iterator[Panel]:
    everyone = [*names, ALL] if len(names) > 1 else names
    for metric in METRICS.values():
        if metric.curve is not None and metric.of == of:
            curves = [(f"{metric.column}/{name}", name) for name in everyone]
            yield _plot(metric.curve.title, metric.unit, curves)


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


def _deadlines(chosen: Scenario, what: str) -> list[Mark]:
    groups_of: dict[float, list[str]] = {}
    for group in chosen.users:
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
