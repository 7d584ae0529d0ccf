"""What a person sees in the terminal while a run goes on, and the table at its end.

A live table on a terminal, plain lines elsewhere. Everything shown is read from the metrics.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.reasons import Reason
from emulator import interrupts
from emulator.checks.fault_words import Refused
from emulator.results.measures import METRICS
from emulator.results.metric import Metric, Value
from emulator.results.metrics import broken_bounds
from emulator.results.stats import ALL
from emulator.results.units import readable
from emulator.runtime.recorder import Progress, Show
from emulator.runtime.session import INTERRUPTED
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario

PLAIN_EVERY_S = 2.0  # wall; between two lines where there is no terminal
NAMES_MAX = 40  # characters of whom a fault hits
SERVERS_MAX = 8  # in a line

ROWS = [metric for metric in METRICS.values() if metric.short]


def values_of(metric: Metric, metrics: dict[str, Any], names: Sequence[str]) -> list[Value]:
    """Returns a metric for each column; what is of no user group stands in the last."""
    if metric.of == "group":
        return [metrics[name][metric.name] for name in names]
    return [*[None] * (len(names) - 1), metrics[ALL][metric.name]]


def metrics_table(
    metrics: dict[str, dict[str, float | int | None]], scenario: Scenario, title: str
) -> Table:
    """Returns one column per user group, most urgent first; what nobody has is left out."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    groups = sorted(scenario.users, key=lambda group: group.priority)
    names = [group.name for group in groups]
    for group in groups:
        head = f"{group.count} {group.name}\nclass {group.priority}"
        table.add_column(head, justify="right", no_wrap=True)
    if len(groups) > 1:
        names.append(ALL)
        table.add_column("all", justify="right", no_wrap=True)
    for metric in ROWS:
        values = values_of(metric, metrics, names)
        if any(value is not None for value in values):
            table.add_row(metric.label, *(readable(metric.unit, value) for value in values))
    return table


class Display:
    """Shows a run as it goes."""

    def __init__(self, scenario: Scenario, console: Console) -> None:
        self._scenario = scenario
        self._console = console
        self._live: Live | None = None
        self._said_s = 0.0
        self._first_age = True
        self._waited = ""

    @contextmanager
    def open(self) -> Iterator[Show]:
        """Yields what takes the progress; the screen is put right whatever happens."""
        if not self._console.is_terminal:
            yield self._say
            return
        with Live(console=self._console, refresh_per_second=8, transient=True) as self._live:
            yield self._draw

    def waits(self, what: str) -> None:
        """Tells what the run waits for, until the next progress."""
        text = f"{self._scenario.name}: {what}"
        if self._live is not None:
            self._live.update(Text(text))
            return
        # Once for each kind of wait, "starting hosts" say, then as often as progress is told.
        kind = what.partition(":")[0].partition("(")[0]
        if kind != self._waited or time.monotonic() - self._said_s >= PLAIN_EVERY_S:
            self._waited, self._said_s = kind, time.monotonic()
            self._console.print(text, highlight=False, soft_wrap=True)

    def _draw(self, progress: Progress) -> None:
        assert self._live is not None
        self._live.update(self._page(progress))

    def _say(self, progress: Progress) -> None:
        ended = progress.metrics.outcomes.total()
        first = self._first_age and ended > 0
        if not first and time.monotonic() - self._said_s < PLAIN_EVERY_S:
            return
        self._said_s = time.monotonic()
        self._first_age = self._first_age and not first
        numbers = progress.metrics.summary()[ALL]
        parts = [
            f"{metric.short} {readable(metric.unit, numbers[metric.name])}"
            for metric in ROWS
            if numbers[metric.name] is not None
        ]
        self._console.print(f"{self._clock(progress)}  " + "  ".join(parts), soft_wrap=True)

    def _clock(self, progress: Progress) -> str:
        now_s, end_s = progress.step.now_s, self._scenario.duration_s
        left_s = (end_s - now_s) / progress.speed if progress.speed > 0.0 else 0.0
        left = f"  {left_s:.0f} s left" if left_s >= 1.0 else ""
        return f"{now_s:7.2f} / {end_s:g} s{left}"

    def _page(self, progress: Progress) -> RenderableType:
        metrics, step, scenario = progress.metrics, progress.step, self._scenario
        head = Text.assemble(
            (scenario.name, "bold"),
            f"  {scenario.protocol.kind} on {scenario.runtime.kind}, seed {scenario.seed}",
            f"   {self._clock(progress)}  x{progress.speed:.3g} real time",
        )
        bar = ProgressBar(total=scenario.duration_s, completed=step.now_s, width=60)
        lines: list[RenderableType] = [head, bar]
        lines.append(metrics_table(metrics.summary(), scenario, ""))
        backlog = "  ".join(
            f"{name} {server.report.backlog} ({readable('s', server.report.mean_s)})"
            for name, server in sorted(metrics.servers.items())[:SERVERS_MAX]
        )
        lines.append(Text(f"backlog (E[S])  {backlog}"))
        lines += map(Text, _of_servers(metrics.of_servers()))
        loss = readable("ratio", metrics.links.uplink_loss_ratio)
        late = ""
        if step.lateness is not None:
            p50, p99 = step.lateness.quantile_s(0.5), step.lateness.quantile_s(0.99)
            late = f"   lateness p50 {readable('s', p50)}, p99 {readable('s', p99)}"
        lines.append(Text(f"uplink attempts lost  {loss}{late}"))
        if (broken := metrics.bounds_broken) is not None:
            style = "bold red" if any(broken.values()) else ""
            lines.append(Text(broken_bounds(broken), style=style))
        drops = metrics.given_up.most_common(6)
        if drops:
            parts = "  ".join(f"{reason} {count:,}" for reason, count in drops)
            lines.append(Text(f"given up  {parts}"))
        for change in metrics.faults_active.values():
            lines.append(Text("fault  " + describe(change.fault), style="bold red"))
        return Group(*lines)


def _of_servers(found: dict[str, dict[str, Value]]) -> Iterator[str]:
    """Yields a line for each metric of servers."""
    for metric in METRICS.values():
        if metric.of == "server" and metric.short:
            values = [(name, each[metric.name]) for name, each in sorted(found.items())]
            shown = (f"{name} {readable(metric.unit, v)}" for name, v in values[:SERVERS_MAX])
            yield f"{metric.label}: {', '.join(shown)}"


def _short(names: str) -> str:
    """Cuts a list of names that a fault chose to what fits a line."""
    return names if len(names) <= NAMES_MAX else names[: NAMES_MAX - 4].rpartition(",")[0] + ",..."


def describe(fault: dict[str, Any]) -> str:
    """Says a fault in a line: its type, whom, and its parameters."""
    whom, when = ("type", "target", "a", "b"), ("at_s", "for_s")
    if fault["type"] == "partition":
        words = [_short(",".join(fault["a"])), "|", _short(",".join(fault["b"]))]
    else:
        words = [_short(fault["target"])]
    words += [f"{key}={value}" for key, value in fault.items() if key not in (*whom, *when)]
    until = [f"until {fault['at_s'] + fault['for_s']:g} s"] if "for_s" in fault else []
    return " ".join([fault["type"], *words, *until])


def closing(summary: dict[str, Any], scenario: Scenario, console: Console) -> None:
    """Prints the result of a run: the table, the account of tasks, and what went wrong."""
    title = (
        f"{scenario.name}: {summary['protocol']} on {summary['runtime']}, seed {summary['seed']}"
    )
    console.print(metrics_table(summary["metrics"], scenario, title))
    for line in _of_servers(summary["servers"]):
        console.print(line, highlight=False)
    balance = summary["balance"]
    if balance is not None:
        parts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in balance.items() if n)
        console.print(f"tasks: {parts}")
    given_up = sum(map(Counter, summary["given_up"].values()), Counter[str]())
    if given_up:
        console.print("given up, by reason:")
        for reason, count in given_up.most_common():
            says = Reason(reason).says
            console.print(f"{count:>9,} {reason}: {says}", highlight=False, soft_wrap=True)
    console.print(*_per_slot(summary["metrics"][ALL]), sep="", end="", highlight=False)
    details = [
        f"{summary['emulated_s']:g} s emulated in {summary['wall_s']:.3g} s",
        f"uplink attempts lost {readable('ratio', summary['uplink_loss_ratio'])}",
    ]
    if summary["lateness_p99_s"] is not None:
        details.append(f"lateness p99 {readable('s', summary['lateness_p99_s'])}")
    else:
        details.append(f"digest {summary['digest']}")
    if summary["live_to_trace"] is not None:
        details.append(f"live inference took {summary['live_to_trace']:.3g} of its trace")
    console.print("; ".join(details), highlight=False, soft_wrap=True)
    if summary["bounds_broken"] is not None:
        longest = readable("ratio", summary["metrics"][ALL]["sojourn_max_ratio"] or 0.0)
        text = broken_bounds(summary["bounds_broken"])
        console.print(
            f"{text}; the longest sojourn time took {longest} of its deadline", highlight=False
        )
    for each in summary["expect"]:
        mark = "[green]holds[/]" if each["holds"] else "[red]fails[/]"
        console.print(f"expect {mark}: {each['says']}", highlight=False, soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(f"[yellow]warning[/]: {warning}", highlight=False, soft_wrap=True)
    for cause in summary["causes"]:
        console.print(f"[bold red]{summary['verdict']}[/]: ", end="")
        console.print(cause, markup=False, highlight=False, soft_wrap=True)


def _per_slot(numbers: dict[str, float | int | None]) -> Iterator[str]:
    """Yields a line about the allocation of channels, where there is one."""
    if numbers["messages_per_slot"]:
        rounds, messages = numbers["mini_rounds_per_slot"], numbers["messages_per_slot"]
        yield f"per slot: {readable('', rounds)} mini-rounds, {readable('', messages)} messages, "
        yield f"{readable('', numbers['bytes_per_slot'])} bytes"
        if numbers["weight_ratio_mean"] is not None:
            mean, least = (numbers[f"weight_ratio_{which}"] for which in ("mean", "min"))
            yield f"; schedule {readable('ratio', mean)} of the heaviest, "
            yield f"least {readable('ratio', least)}"
        yield "\n"


def stopping(steering: Steering, console: Console) -> Callable[[], None]:
    """Returns what the first interrupt of a live run does: it heals, flushes and reports."""

    is_asked = False

    def ask() -> None:
        with suppress(Refused):  # it has ended meanwhile
            steering.stop(INTERRUPTED)

    def stop() -> None:
        nonlocal is_asked
        if steering.phase == "starting":
            interrupts.leave()
        elif not is_asked:
            is_asked = True
            console.print("stopping: healing, flushing, reporting; Ctrl-C again kills")
            # Not from here: the interrupted thread may hold the lock that asking takes.
            threading.Thread(target=ask, daemon=True).start()

    return stop
