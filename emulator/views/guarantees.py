"""The part of a report about what was promised: sojourn times against deadlines, what was
given up and why, and how heavy the schedules of a scheduled network were. Empty where nothing has a
deadline.
"""

from collections.abc import Mapping, Sequence
from html import escape

from emulator.results.measures import METRICS
from emulator.results.metrics import Metrics, broken_bounds
from emulator.results.stats import ALL, GroupStats
from emulator.results.units import readable
from emulator.views.html import table

OF_NETWORK = [metric for metric in METRICS.values() if metric.of == "network"]


def given_up(metrics: Metrics) -> str:
    """Tables expired and dropped tasks, warm-up included, so that they add up to the account."""
    drops = metrics.given_up
    if not drops:
        return '<p class="soft">none</p>'
    rows: list[Sequence[str]] = [["", *metrics.groups, ALL, "why"]]
    for reason, count in drops.most_common():
        groups = [f"{stats.drops[reason]:,}" for stats in metrics.groups.values()]
        rows.append([reason, *groups, f"{count:,}", reason.says])
    return table(rows)


def kept(metrics: Metrics, bounds_s: Mapping[str, float]) -> str:
    """Draws the sojourn times of all tasks against their deadlines, and sums up the allocation."""
    cards = ""
    if groups := staying(metrics):
        from emulator.views import figures, plots

        broken = metrics.bounds_broken
        said = f": {broken_bounds(broken)}" if broken is not None else ""
        picture = figures.embedded(plots.sojourns(groups, bounds_s), "How long tasks stayed")
        cards += (
            f'<section class="card wide"><h2>How long tasks stayed{escape(said)}</h2>'
            '<p class="soft">From birth to the end of service, or to being given up; warm-up '
            "included. A bar to the right of the deadline would be a violation.</p>"
            f"{picture}</section>"
        )
    if (allocations := metrics.allocations) is not None:
        numbers = metrics.summary()[ALL]
        rows: list[Sequence[str]] = [["", "value"]]
        found = ((metric, numbers[metric.name]) for metric in OF_NETWORK)
        rows += [[each.about, readable(each.unit, value)] for each, value in found if value]
        reported = len(allocations.shares)
        note = (
            f"The heaviest schedule is computed afterwards, by integer programming, in {reported} "
            "slots drawn from the run."
            if reported
            else "The heaviest schedule was not computed: there are too many users and channels, "
            "or nothing was scheduled."
        )
        cards += (
            '<section class="card wide"><h2>Allocation of channels</h2>'
            f'{table(rows)}<p class="soft">{note}</p></section>'
        )
    return cards


def staying(metrics: Metrics) -> dict[str, GroupStats]:
    """Returns the user groups that have a deadline, and of which a task has ended."""
    return {name: stats for name, stats in metrics.groups.items() if stats.stays.max_s}
