"""`fresco compare` and `fresco sweep`: many runs in virtual time, paired by seed."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator import interrupts
from emulator.cli.arguments import (
    fail,
    field_options,
    figures_option,
    load,
    out_folder,
    out_option,
    override_options,
    scenario_argument,
    seeds_option,
)
from emulator.cli.terminal import Terminal

if TYPE_CHECKING:
    from emulator.experiments.compare import Comparison, Progress
    from emulator.runtime.session import Verdict
    from emulator.scenario.schema import Scenario

TABLE_WIDTH = 100  # columns; the longest names and intervals fit


@click.command()
@scenario_argument
@field_options
@click.option(
    "--protocols",
    "-P",
    required=True,
    metavar="A,B,...",
    help="The protocols; all others are compared with the first.",
)
@seeds_option
@out_option
@figures_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the comparison as JSON and nothing else."
)
def compare(
    scenario: str,
    protocols: str,
    seeds: int,
    out: Path,
    formats: tuple[str, ...],
    as_json: bool,
    **overrides: Any,
) -> None:
    """Compare protocols on one scenario, seed by seed.

    All runs are in virtual time. At one seed every protocol meets the same channels, arrivals and
    faults, so the intervals of the differences are much narrower than those of the means.

    \b
    fresco compare quickstart -P random,shortest-wait
    fresco compare popec-async -P popec-async,random --seeds 10
    """
    names = [name.strip() for name in protocols.split(",") if name.strip()]
    # Each must be right before the first run starts.
    variants = {name: load(scenario, protocol=name, **overrides) for name in names}
    if not variants:
        fail("--protocols names none, e.g. -P random,shortest-wait")
    name = next(iter(variants.values())).name

    def say(comparison: "Comparison", console: Terminal) -> None:
        if as_json:
            click.echo(json.dumps(comparison.as_dict(), indent=1))
        else:
            console.print(comparison.table())

    def write(comparison: "Comparison", folder: Path) -> Path:
        comparison.write(folder, formats)
        return folder

    _measure(f"{name}-compare", name, variants, seeds, out, say, write, as_json)


@click.command()
@scenario_argument
@partial(override_options, set_names=("-s",))
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="PATH=A,B,...",
    help="The field and its values.",
)
@seeds_option
@out_option
@figures_option
def sweep(
    scenario: str,
    seeds: int,
    out: Path,
    formats: tuple[str, ...],
    sets: tuple[str, ...],
    fields: tuple[str, ...],
    **overrides: Any,
) -> None:
    """Run a scenario with several values of one field.

    All runs are in virtual time; a page shows every metric over the values. The values of the
    field stand after --set, with commas between them. What -s sets holds for all runs.

    \b
    fresco sweep todg --set protocol.V=5,10,20,40,80
    fresco sweep popec-async --set control.channel.loss=0,0.1,0.3 -s duration_s=30
    """
    from emulator.experiments import sweep as sweeping

    swept = [assignment for assignment in fields if _values(assignment)]
    if len(swept) != 1:
        fail("name one field with several values, e.g. --set protocol.V=5,10,20")
    field, values = swept[0].partition("=")[0], _values(swept[0])
    others = (*sets, *(assignment for assignment in fields if assignment != swept[0]))
    variants = {  # each must be right before the first run starts
        value: load(scenario, (*others, f"{field}={value}"), **overrides) for value in values
    }

    def say(comparison: "Comparison", console: Terminal) -> None:
        console.print(comparison.table(field))

    def write(comparison: "Comparison", folder: Path) -> Path:
        comparison.write(folder)
        return sweeping.write(folder, field, values, comparison, formats)

    name = variants[values[0]].name
    _measure(f"{name}-sweep", name, variants, seeds, out, say, write)


def _measure(
    folder_name: str,
    name: str,
    variants: Mapping[str, "Scenario"],
    seed_count: int,
    out: Path,
    say: Callable[["Comparison", Terminal], None],
    write: Callable[["Comparison", Path], Path],
    as_json: bool = False,
) -> None:
    """Runs all variants, says and writes what they give; every run that ended is kept."""
    from emulator.experiments import compare as comparing
    from emulator.runtime import folders
    from emulator.runtime.session import EXIT_STATUS, INTERRUPTED

    console = _console(as_json)
    folder = out_folder(out, folder_name)
    lines = comparing.Lines(folder)
    interrupts.before_leaving(partial(folders.discard, folder))  # before the first run ended
    first_seed = next(iter(variants.values())).seed
    seeds = list(range(first_seed, first_seed + seed_count))
    with _progress(console, len(variants) * seed_count) as on_progress:
        comparison = comparing.measure(name, variants, seeds, on_progress, lines.take)
    say(comparison, console)
    try:
        written = write(comparison, folder)
        folders.name_latest(folder, (folder.parent / folders.LATEST,))
    except OSError as error:
        fail(f"what is above could not be written: {error}", EXIT_STATUS["broken"])
    console.say(f"written: {written}")
    if comparison.cause:
        done = f"{len(comparison.seeds)} of {seed_count} seeds are complete"
        few = "" if comparison.rows else ", too few for an interval"
        kept = "; compare.csv has every run that ended"
        verdict: Verdict = "interrupted" if comparison.cause == INTERRUPTED else "broken"
        fail(f"{comparison.cause}; {done}{few}{kept}", EXIT_STATUS[verdict])


def _console(stderr: bool = False) -> Terminal:
    """Returns what is printed on; where it is no terminal, the table keeps its width."""
    console = Terminal(stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    return console


@contextmanager
def _progress(console: Terminal, total: int) -> Iterator["Progress"]:
    """Yields what is told of finished runs: a bar with the time left on a terminal, else lines."""
    if not console.is_terminal:
        began_s = time.monotonic()

        def say(done: int, of: int) -> None:
            tenth = -(-of // 10)
            if done % tenth == 0 or done == of:
                console.say(f"{done}/{of} runs, {time.monotonic() - began_s:.0f} s")

        yield say
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = ("runs", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("runs", total=total)
        yield lambda done, of: bars.update(bar, completed=done)


def _values(assignment: str) -> list[str]:
    """Returns the values of PATH=A,B,...; nothing where it is a single value, list or mapping."""
    text = assignment.partition("=")[2].strip()
    values = [value.strip() for value in text.split(",")]
    return values if len(values) > 1 and text[0] not in "[{\"'" and all(values) else []
