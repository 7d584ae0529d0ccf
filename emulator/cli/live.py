"""Verbs for a run that goes on in another process: they only use its HTTP API.

Without `--url` or `--run` they talk to the only one that goes on here.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from emulator import interrupts
from emulator.cli.arguments import fail, run_folder_argument
from emulator.cli.client import Client, Unanswered
from emulator.cli.completion import FaultNumber, FaultType, Parameter, Target
from emulator.cli.fault_types import fault_types
from emulator.cli.groups import Verbs
from emulator.cli.terminal import Terminal


def _of_run(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what says which run is meant, and hands the command its client."""

    @click.option("--url", help="Of the run; default: the one that goes on here.")
    @click.option(
        "--run",
        type=click.Path(path_type=Path),
        help="Folder of the run, where several go on here; NAME/STAMP under runs is enough.",
    )
    @wraps(command)
    def with_client(url: str | None, run: Path | None, **given: Any) -> None:
        command(client=Client(url, run), **given)

    return with_client


@click.group(cls=Verbs)
def fault() -> None:
    """Break a run that goes on, and heal it. With `fresco run quickstart` in another terminal:

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
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def fault_list(client: Client, as_json: bool) -> None:
    """List the faults of the run so far."""
    reported = client.ask("GET", "faults")
    if as_json:
        click.echo(json.dumps(reported["faults"], indent=1))
        return
    Terminal().print(_fault_table(reported["faults"], reported["now_s"]))


@fault.command()
@click.argument("kind", metavar="TYPE", type=FaultType())
@click.argument("target", required=False, type=Target())
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...", type=Parameter())
@click.option(
    "--for", "lasts", default="30s", show_default=True, help="Emulated time: 15s, 2m, 500ms."
)
@click.option("--note", default="", help="Kept in the record.")
@click.option("--dry-run", is_flag=True, help="Only say what would be hit.")
@_of_run
def inject(
    kind: str,
    target: str | None,
    parameters: tuple[str, ...],
    lasts: str,
    note: str,
    dry_run: bool,
    client: Client,
) -> None:
    """Begin a fault now; it heals by itself. TARGET is a node, or several: 'camera-*,!camera-0'.

    With `fresco run quickstart` in another terminal:

    \b
    fresco fault inject blackout bs-0 --for 10s
    fresco fault inject delay 'camera-2->bs-1' delay_s=0.05 jitter_s=0.01
    fresco fault inject partition a='["bs-0"]' b='["rack-*"]'
    fresco fault types                      what there is, with parameters and ranges
    """
    body: dict[str, Any] = {"type": kind, "for_s": _seconds(lasts)}
    if target is not None and "=" in target and ">" not in target:
        parameters, target = (target, *parameters), None
    if target is not None:
        body["target"] = target
    if note:
        body["note"] = note
    body |= _values(parameters)
    if dry_run:
        _say_hit(client.ask("POST", "faults?dry_run=true", body))
        return
    reported = client.ask("POST", "faults", body)
    _say_done(reported, "extended" if reported["extended"] else "began")


@fault.command()
@click.argument("number", type=FaultNumber(), metavar="ID")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...", type=Parameter())
@click.option("--for", "lasts", help="From now on: 15s, 2m, 500ms.  [default: as it was]")
@_of_run
def patch(number: int, parameters: tuple[str, ...], lasts: str | None, client: Client) -> None:
    """Change the active fault ID of `fresco fault list`: parameters, how long it lasts, or both.

    \b
    fresco fault inject loss bs-0 p=0.5     begins fault 1
    fresco fault patch 1 p=0.8
    fresco fault patch 1 --for 1m
    """
    changes = _values(parameters) | ({} if lasts is None else {"for_s": _seconds(lasts)})
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


def _say_hit(reported: dict[str, Any]) -> None:
    known = reported["faults"][0]
    if _is_spared(known):
        return
    more = known["n"] - len(known["resolved"])
    click.echo(f"{known['n']} would be hit:")
    click.echo("\n".join(known["resolved"] + ([f"and {more} more"] if more else [])))


def _is_spared(known: dict[str, Any]) -> bool:
    """Says so where it is."""
    if known["state"] == "spared":
        click.echo("spared: chance has it that this fault does not happen")
        return True
    return False


def _say_done(reported: dict[str, Any], what: str) -> None:
    known = reported["faults"][0]
    if _is_spared(known):
        return
    _must_hold(reported, f"fault {known['id']}")
    done, of = reported["applied"]
    ends = "" if known["until_s"] is None else f"; heals at {known['until_s']:g} s"
    click.echo(
        f"fault {known['id']} {what} at {reported['at_s']} s: {known['n']} hit, "
        f"applied {done}/{of}{ends}"
    )
    _warn(reported)


def _must_hold(reported: dict[str, Any], what: str) -> None:
    """Exits 3 where nothing is in effect yet."""
    if "at_s" not in reported:
        fail(f"{what}: {reported['warning']}", status=3)


def _warn(reported: dict[str, Any]) -> None:
    """Exits 3 where some host does not obey yet."""
    if "warning" in reported:
        click.echo(f"warning: {reported['warning']}", err=True)
        sys.exit(3)


@fault.command()
@click.argument("number", type=FaultNumber(), required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Every active fault.")
@_of_run
def heal(number: int | None, everything: bool, client: Client) -> None:
    """Heal the fault ID, or all."""
    if (number is None) != everything:
        fail("say which: an ID, or --all")
    reported = client.ask("DELETE", "faults" if number is None else f"faults/{number}")
    _must_hold(reported, "healing")
    if not reported["faults"]:
        click.echo("nothing was active")
        return
    done, of = reported["applied"]
    click.echo(f"healed {len(reported['faults'])}, applied {done}/{of}")
    _warn(reported)


@fault.command()
@run_folder_argument
def export(folder: Path) -> None:
    """Print a run with all that was injected by hand as a scenario (default: the latest run)."""
    from emulator.checks import source
    from emulator.live import replay

    click.echo(source.dump(replay.export(folder)), nl=False)


@click.command()
@_of_run
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(client: Client, as_json: bool) -> None:
    """Say how the run that goes on is doing."""
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
    """Watch the run that goes on, in this terminal. Ctrl-C leaves it alone."""
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
        _must_hold(reported, verb)
        click.echo(f"{done} at {reported['at_s']} s")
        _warn(reported)

    return command


pause = _steer("pause", "Hold the run that goes on: emulated time stands still.", "held")
resume = _steer("resume", "Let a held run go on.", "goes on")
stop = _steer("stop", "End the run early: it heals, flushes and reports.", "ended")


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


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * factor
            except ValueError:
                break
    raise click.BadParameter(f"--for {text}: expected a time such as 15s, 2m or 500ms")
