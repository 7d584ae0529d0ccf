"""Verbs for a run in progress in another process: they only use its HTTP API.

Without `--url` or `--run` they talk to the only one in progress here.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from emulator import interrupts
from emulator.cli import completion
from emulator.cli.arguments import fail, run_folder_argument
from emulator.cli.client import Client, Unanswered
from emulator.cli.fault_types import fault_types
from emulator.cli.groups import Verbs
from emulator.cli.terminal import Terminal


def _of_run(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what says which run is meant, and hands the command its client."""

    @click.option("--url", help="Address of the run.  [default: the one in progress here]")
    @click.option(
        "--run",
        type=click.Path(path_type=Path),
        help="Folder of the run, where several are in progress; NAME/STAMP under runs is enough.",
    )
    @wraps(command)
    def with_client(url: str | None, run: Path | None, **given: Any) -> None:
        command(client=Client(url, run), **given)

    return with_client


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * factor
            except ValueError:
                break
    raise click.BadParameter(f"'{text}': expected a time such as 15s, 2m or 500ms")


parameters_argument = click.argument(
    "parameters",
    nargs=-1,
    metavar="[KEY=VALUE]...",
    shell_complete=completion.parameters,
)
number_argument = partial(
    click.argument, "number", type=int, shell_complete=completion.active_faults
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Verbs)
def fault() -> None:
    """Inject faults into a run in progress, and heal them.

    With `fresco run quickstart` in another terminal:

    \b
    fresco fault inject blackout bs-0 --for 10s
    fresco fault inject burst_loss 'camera-*' loss=0.2 burst_length=8
    fresco fault list
    fresco fault patch 2 loss=0.4               stronger, without healing it first
    fresco fault heal --all
    fresco fault watch                          what is broken, as it changes
    fresco fault export > again.yaml            to play it again
    """


@fault.command("list")
@_of_run
@json_option
def fault_list(client: Client, as_json: bool) -> None:
    """List the faults of the run so far."""
    reported = client.ask("GET", "faults")
    if as_json:
        click.echo(json.dumps(reported["faults"], indent=1))
        return
    Terminal().print(_fault_table(reported["faults"], reported["now_s"]))


@fault.command()
@click.argument("kind", metavar="TYPE", shell_complete=completion.fault_types)
@click.argument("target", required=False, shell_complete=completion.targets)
@parameters_argument
@click.option(
    "--for",
    "for_s",
    type=_seconds,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long it lasts, in emulated time: 15s, 2m, 500ms.",
)
@click.option("--note", default="", help="A remark that is kept with it in the run folder.")
@click.option("--dry-run", is_flag=True, help="Only say what it would hit.")
@_of_run
def inject(
    kind: str,
    target: str | None,
    parameters: tuple[str, ...],
    for_s: float,
    note: str,
    dry_run: bool,
    client: Client,
) -> None:
    """Begin a fault now; it heals by itself.

    TARGET is a node, or several of them: 'camera-*,!camera-0'.

    With `fresco run quickstart` in another terminal:

    \b
    fresco fault inject blackout bs-0 --for 10s
    fresco fault inject delay 'camera-2->bs-1' delay_s=0.05 jitter_s=0.01
    fresco fault inject partition a='["bs-0"]' b='["rack-*"]'
    fresco fault types                      what there is, with parameters and ranges
    """
    body: dict[str, Any] = {"type": kind, "for_s": for_s}
    if target is not None and "=" in target and ">" not in target:
        parameters, target = (target, *parameters), None
    if target is not None:
        body["target"] = target
    if note:
        body["note"] = note
    body |= _values(parameters)
    reported = client.ask("POST", "faults?dry_run=true" if dry_run else "faults", body)
    known = reported["faults"][0]
    if known["state"] == "spared":
        click.echo("spared: chance has it that this fault does not happen")
    elif dry_run:
        more = known["n"] - len(known["resolved"])
        click.echo(f"{known['n']} would be hit:")
        click.echo("\n".join(known["resolved"] + ([f"and {more} more"] if more else [])))
    else:
        _say_done(reported, "extended" if reported["extended"] else "began")


@fault.command()
@number_argument(metavar="ID")
@parameters_argument
@click.option(
    "--for",
    "for_s",
    type=_seconds,
    metavar="TIME",
    help="How long it lasts from now on: 15s, 2m, 500ms.  [default: as it was]",
)
@_of_run
def patch(number: int, parameters: tuple[str, ...], for_s: float | None, client: Client) -> None:
    """Change parameters of an active fault, or how long it lasts.

    ID is its number in `fresco fault list`.

    \b
    fresco fault inject loss bs-0 p=0.5     begins fault 1
    fresco fault patch 1 p=0.8
    fresco fault patch 1 --for 1m
    """
    changes = _values(parameters) | ({} if for_s is None else {"for_s": for_s})
    if not changes:
        fail("say what changes: KEY=VALUE, or --for")
    _say_done(client.ask("PATCH", f"faults/{number}", changes), "changed")


def _values(parameters: Sequence[str]) -> dict[str, Any]:
    from emulator.checks import source

    values = {}
    for given in parameters:
        key, equals, text = given.partition("=")
        if not equals:
            fail(f"'{given}': expected KEY=VALUE")
        values[key] = source.value(text)
    return values


def _say_done(reported: dict[str, Any], what: str) -> None:
    known = reported["faults"][0]
    ends = "" if known["until_s"] is None else f"; heals at {known['until_s']:g} s"
    with _in_effect(reported, f"fault {known['id']}") as hosts:
        click.echo(
            f"fault {known['id']} {what} at {reported['at_s']} s: {known['n']} hit, {hosts}{ends}"
        )


@contextmanager
def _in_effect(reported: dict[str, Any], what: str) -> Iterator[str]:
    """Yields how many hosts obey; exits 3 where none does yet, and after it where not all do."""
    if "at_s" not in reported:
        fail(f"{what}: {reported['warning']}", status=3)
    yield "applied {}/{}".format(*reported["applied"])
    if "warning" in reported:
        click.echo(f"warning: {reported['warning']}", err=True)
        sys.exit(3)


@fault.command()
@number_argument(required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Every active fault.")
@_of_run
def heal(number: int | None, everything: bool, client: Client) -> None:
    """Heal one fault by its number in `fresco fault list`, or all."""
    if (number is None) != everything:
        fail("say which: an ID, or --all")
    reported = client.ask("DELETE", "faults" if number is None else f"faults/{number}")
    with _in_effect(reported, "healing") as hosts:
        count = len(reported["faults"])
        click.echo(f"healed {count}, {hosts}" if count else "nothing was active")


@fault.command()
@run_folder_argument
def export(folder: Path) -> None:
    """Print a run, with the faults injected by hand, as a scenario.

    FOLDER is that of the run; by default the latest one's.
    """
    from emulator.checks import source
    from emulator.live import replay

    click.echo(source.dump(replay.export(folder)), nl=False)


@click.command()
@_of_run
@json_option
def status(client: Client, as_json: bool) -> None:
    """Print the state of the run in progress."""
    run = client.ask("GET", "run")
    if as_json:
        click.echo(json.dumps(run, indent=1))
        return
    click.echo(_head(run))
    for label, value in _numbers(client.ask("GET", "topology")["tiles"], run):
        click.echo(f"  {label}: {value}")


@click.command()
@_of_run
def watch(client: Client) -> None:
    """Watch the run in progress. Ctrl-C does not end it."""
    tiles = client.ask("GET", "topology")["tiles"]
    interrupts.on_first(interrupts.interrupt)
    with Live(console=Terminal(), refresh_per_second=4) as live:
        try:
            while (run := client.request("GET", "run"))["phase"] != "ended":
                faults = client.request("GET", "faults")["faults"]
                numbers = Table.grid(padding=(0, 2))
                for label, value in _numbers(tiles, run):
                    numbers.add_row(label, Text(value, style="bold"))
                live.update(Group(_head(run), numbers, _fault_table(faults, run["now_s"])))
                time.sleep(0.5)
        except Unanswered:
            pass
    click.echo("the run ended")


fault.add_command(fault_types)
fault.add_command(watch)


def _steer(verb: str, about: str, done: str) -> click.Command:
    @click.command(verb, help=about)
    @_of_run
    def command(client: Client) -> None:
        reported = client.ask("POST", f"run/{verb}")
        with _in_effect(reported, verb):
            click.echo(f"{done} at {reported['at_s']} s")

    return command


pause = _steer("pause", "Pause the run in progress: emulated time stands still.", "paused")
resume = _steer("resume", "Resume a paused run.", "resumed")
stop = _steer("stop", "End the run in progress early, with its report.", "ended")


def _head(run: dict[str, Any]) -> str:
    ready, of = run["hosts"]
    where = f"{ready}/{of} hosts ready" if run["phase"] == "starting" and of else run["phase"]
    if run["waits_for"]:
        where += f", waits for {run['waits_for']}"
    return (
        f"{run['name']}: {where}, {run['now_s']:.1f} of {run['duration_s']:g} s, "
        f"{run['protocol']} on {run['runtime']}, {run['faults_active']} faults active"
    )


def _numbers(tiles: list[dict[str, str]], run: dict[str, Any]) -> list[tuple[str, str]]:
    from emulator.results.units import readable

    return [
        (tile["label"], readable(tile["unit"], run["numbers"].get(tile["name"]))) for tile in tiles
    ]


def _fault_table(faults: list[dict[str, Any]], now_s: float) -> Table:
    table = Table("id", "state", "type", "what", "from", "left", "hits", "applied", "source")
    for each in faults:
        what = " ".join(
            str(value) if key == "target" else f"{key}={value}"
            for key, value in each["params"].items()
        )
        ends_s = each["until_s"]
        left = "" if each["state"] != "active" or ends_s is None else f"{ends_s - now_s:.1f} s"
        applied = "" if each["applied"] is None else "{}/{}".format(*each["applied"])
        cells = (each["id"], each["state"], each["type"], what, f"{each['at_s']:g} s", left)
        table.add_row(*map(str, (*cells, each["n"], applied, each["source"])))
    return table
