"""`fresco compare` and `fresco sweep`: many runs in virtual time, paired by seed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from emulator.cli.arguments import (
    fail,
    field_options,
    load,
    out_option,
    override_options,
    scenario_argument,
    seeds_option,
)

if TYPE_CHECKING:
    from emulator.show.compare import Progress

TABLE_WIDTH = 100  # columns; the longest names and intervals fit


@click.command()
@scenario_argument
@field_options
@click.option(
    "--protocols",
    "-P",
    required=True,
    metavar="A,B,...",
    help="The first is the one that others are compared with.",
)
@seeds_option
@out_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the comparison as JSON and nothing else."
)
def compare(
    scenario: str, protocols: str, seeds: int, out: Path, as_json: bool, **overrides: Any
) -> None:
    """Compare protocols on SCENARIO in virtual time, paired by seed.

    Every protocol meets the same weather, arrivals and faults at a seed, so the differences are
    much sharper than the numbers themselves.
    """
    from emulator.runtime.run import new_folder
    from emulator.show import compare as comparing

    names = [name.strip() for name in protocols.split(",") if name.strip()]
    # Each must be right before the first run starts.
    variants = {name: load(scenario, protocol=name, **overrides) for name in names}
    if not variants:
        fail("--protocols names none, e.g. -P random,shortest-wait")
    chosen = next(iter(variants.values()))
    console = _console(as_json)
    with _progress(console, len(variants) * seeds) as on_progress:
        comparison = comparing.measure(
            chosen.name,
            variants,
            list(range(chosen.seed, chosen.seed + seeds)),
            on_progress,
        )
    folder = new_folder(out, f"{chosen.name}-compare")
    comparison.write(folder)
    if as_json:
        click.echo(json.dumps(comparison.as_dict(), indent=1))
    else:
        console.print(comparison.table())
        console.print(f"written: {folder}", highlight=False, soft_wrap=True)


@click.command()
@scenario_argument
@partial(override_options, set_names=("-s",))
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="PATH=A,B,...",
    help="The field that is swept, with its values.",
)
@seeds_option
@out_option
def sweep(
    scenario: str,
    seeds: int,
    out: Path,
    sets: tuple[str, ...],
    fields: tuple[str, ...],
    **overrides: Any,
) -> None:
    """Run SCENARIO in virtual time with each of several values of a field, and draw the curves.

    The field is the one whose --set names values with commas; what -s sets, it sets for all runs,
    commas or not.

    \b
    fresco sweep todg --set protocol.V=5,10,20,40,80
    fresco sweep popec-async --set control.channel.loss=0,0.1,0.3 -s duration_s=30
    """
    from emulator.runtime.run import new_folder
    from emulator.show import compare as comparing
    from emulator.show import sweep as sweeping

    swept = [assignment for assignment in fields if _values(assignment)]
    if len(swept) != 1:
        fail("name one field with several values, e.g. --set protocol.V=5,10,20")
    field, values = swept[0].partition("=")[0], _values(swept[0])
    others = (*sets, *(assignment for assignment in fields if assignment != swept[0]))
    variants = {  # each must be right before the first run starts
        value: load(scenario, (*others, f"{field}={value}"), **overrides) for value in values
    }
    first = variants[values[0]]
    console = _console()
    with _progress(console, len(values) * seeds) as on_progress:
        comparison = comparing.measure(
            first.name,
            variants,
            list(range(first.seed, first.seed + seeds)),
            on_progress,
        )
    folder = new_folder(out, f"{first.name}-sweep")
    comparison.write(folder)
    page = sweeping.write(folder, field, values, comparison)
    console.print(comparison.table(field))
    console.print(f"curves: {page}", highlight=False, soft_wrap=True)


def _console(stderr: bool = False) -> Console:
    """Returns what is printed on; where it is no terminal, the table keeps its width."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    return console


@contextmanager
def _progress(console: Console, total: int) -> Iterator["Progress"]:
    """Yields what is told of finished runs: a bar with the time left on a terminal, else lines."""
    if not console.is_terminal:
        began_s = time.monotonic()

        def say(done: int, of: int) -> None:
            tenth = -(-of // 10)
            if done % tenth == 0 or done == of:
                console.print(
                    f"{done}/{of} runs, {time.monotonic() - began_s:.0f} s", highlight=False
                )

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
