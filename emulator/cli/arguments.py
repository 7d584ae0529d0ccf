"""What verbs share: the scenario that they are given, its overrides, and how they refuse."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem
from msgspec import structs

if TYPE_CHECKING:
    from emulator.checks.source import Problem, Reading
    from emulator.scenario.schema import Scenario

from emulator import interrupts

RUNS = Path("runs")
SET_NAMES = ("--set", "-s")


def _complete_scenario(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers what Fresco comes with, and to the shell that it may be a file."""
    from emulator.checks import shipped

    names = [CompletionItem(name) for name in shipped.names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def _complete_protocol(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from agents.protocols import PROTOCOLS

    return [name for name in PROTOCOLS if name.startswith(incomplete)]


scenario_argument = click.argument(
    "scenario", metavar="SCENARIO", shell_complete=_complete_scenario
)


def token() -> str | None:
    """Returns the secret of the control service: FRESCO_TOKEN, or what FRESCO_TOKEN_FILE holds.

    ValueError where that file cannot be read or is empty.
    """
    if (reported := os.environ.get("FRESCO_TOKEN")) or not (
        path := os.environ.get("FRESCO_TOKEN_FILE")
    ):
        return reported
    try:
        held = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"FRESCO_TOKEN_FILE {path}: {why}; whoever runs this must be able to read it"
        ) from None
    if not held:
        raise ValueError(f"FRESCO_TOKEN_FILE {path} is empty: write a secret into it")
    return held


def _with_journal(ctx: click.Context, param: click.Parameter, folder: Path) -> Path:
    if not (folder / "journal.msgpack").exists():
        fail(f"{folder} is no run folder: it has no journal.msgpack")
    return folder


run_folder_argument = click.argument(
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=RUNS / "latest",
    callback=_with_journal,
)


def warn(problems: Sequence["Problem"]) -> None:
    """Tells on stderr of what runs, but probably not as meant."""
    for problem in problems:
        click.echo(f"warning: {structs.replace(problem, excerpt='')}", err=True)


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


_protocol_option = click.option(
    "--protocol",
    "-p",
    metavar="NAME",
    help="Use this protocol instead of the scenario's, e.g. random.",
    shell_complete=_complete_protocol,
)
_duration_option = click.option(
    "--duration", type=float, metavar="SECONDS", help="How long to run, in emulated seconds."
)
_seed_option = click.option(
    "--seed", type=int, help="Seed of all random numbers: equal seeds, equal draws."
)


def override_options(
    command: Callable[..., Any], set_names: tuple[str, ...] = SET_NAMES
) -> Callable[..., Any]:
    """Adds what changes a scenario from the command line, its protocol too."""
    return _protocol_option(field_options(command, set_names))


def field_options(
    command: Callable[..., Any], set_names: tuple[str, ...] = SET_NAMES
) -> Callable[..., Any]:
    """Adds what changes a scenario but its protocol."""
    set_option = click.option(
        *set_names,
        "sets",
        multiple=True,
        metavar="PATH=VALUE",
        help="Change a field of the scenario, e.g. users.0.count=50. Repeatable.",
    )
    return _seed_option(_duration_option(set_option(command)))


def load(name: str, *args: Any, **changes: Any) -> "Scenario":
    """Returns a scenario with the command line's changes, as `read` reads it."""
    return read(name, *args, **changes).scenario


def read(
    name: str,
    sets: tuple[str, ...] = (),
    protocol: str | None = None,
    duration: float | None = None,
    seed: int | None = None,
) -> "Reading":
    """Reads a scenario with the command line's changes; complains and exits 2 where it is bad."""
    from emulator.checks import shipped, source

    overrides: dict[str, Any] = {}
    for assignment in sets:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            fail(f"--set {assignment}: expected PATH=VALUE, e.g. users.0.count=50")
        overrides[path] = source.value(text)
    for path, given in (("duration_s", duration), ("seed", seed)):
        if given is not None:
            overrides[path] = given
    try:
        file = shipped.find(name)
    except LookupError as error:
        fail(str(error.args[0]))
    try:
        return source.read(file, overrides, protocol)
    except source.ScenarioError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def fail(message: str, status: int = 2) -> NoReturn:
    click.echo(f"fresco: {message}", err=True)
    sys.exit(status)


def out_folder(root: Path, name: str) -> Path:
    """Makes a run folder; complains and exits 2 where results cannot be written."""
    from emulator.runtime import folders

    try:
        return folders.new_folder(root, name)
    except folders.Unwritable as error:
        fail(str(error))


def room_in(folder: Path, *elsewhere: str) -> None:
    """Makes a folder unless it is there; complains and exits 2 where results cannot be written.

    One that the verb leaves empty goes again.
    """
    from emulator.runtime import folders

    with interrupts.held():  # else one that comes between leaves the folder
        try:
            is_new = folders.make(folder, *elsewhere)
        except folders.Unwritable as error:
            fail(str(error))
        if is_new:
            tidy = partial(folders.discard_empty, folder)
            interrupts.before_leaving(tidy)
            click.get_current_context().call_on_close(tidy)


@contextmanager
def results(folder: Path) -> Iterator[None]:
    """Complains and exits 3 where what a verb found cannot be written to `folder`."""
    from emulator.runtime import folders

    try:
        yield
    except OSError as error:
        fail(str(folders.unwritable(folder, error)), status=3)


figures_option = click.option(
    "--figures",
    "formats",
    type=click.Choice(("pdf", "svg", "png")),
    multiple=True,
    help="Write every figure as a file of this format too, into figures/. Repeatable.",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RUNS,
    show_default=True,
    help="Write the results into a new folder below this one.",
)
seeds_option = click.option(
    "--seeds",
    type=click.IntRange(2, 1000),
    default=5,
    show_default=True,
    help="How many seeds to run, counting up from the scenario's seed.",
)
