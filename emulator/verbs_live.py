"""Verbs for a run that goes on in another process: they only use its HTTP API.

Without `--url` they talk to the newest run, whose folder says where it listens.
"""

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.live import Live
from rich.table import Table

from emulator.arguments import fail
from emulator.verbs import Verbs

LATEST = Path("runs/latest")
TIMEOUT_S = 10.0


class Client:
    """Speaks to one run."""

    def __init__(self, url: str | None) -> None:
        if url is None:
            told = LATEST / "control.json"
            if not told.exists():
                fail(f"no run goes on here ({told} is missing); start one, or give --url")
            url = str(json.loads(told.read_text())["url"])
        self.url = url.rstrip("/")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Returns what the run answers; complains and exits 2 where it refuses."""
        headers = {"Content-Type": "application/json", "X-Fresco-Source": "cli"}
        if token := os.environ.get("FRESCO_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except HTTPError as error:
            try:
                message = json.load(error)["error"]
            except (ValueError, KeyError):
                message = error.reason
            fail(str(message))
        except (URLError, OSError) as error:
            fail(f"nobody answers at {self.url}: {getattr(error, 'reason', error)}")


class FaultType(click.ParamType[str]):
    """A fault type, completed by the shell."""

    name = "type"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from emulator.vocabulary import types

        return [CompletionItem(each) for each in types() if each.startswith(incomplete)]


_url = click.option("--url", help="Of the run; default: the newest one here.")


@click.group(cls=Verbs)
def fault() -> None:
    """Break a run that goes on, and heal it.

    \b
    fresco fault inject blackout bs-0 --for 10s
    fresco fault inject burst_loss 'user-*' loss=0.2 burst_length=8
    fresco fault list
    fresco fault heal --all
    fresco fault export > again.yaml
    """


@fault.command("types")
def fault_types() -> None:
    """List what can break, with parameters, ranges and defaults."""
    from emulator.vocabulary import types

    modifiers: dict[str, Any] = {}
    for name, schema in types().items():
        click.secho(name, bold=True, nl=False)
        click.echo(f"  {' '.join(schema['description'].split())}")
        fields: dict[str, Any] = schema["properties"]
        also = {field: spec for field, spec in fields.items() if spec.get("modifier")}
        modifiers |= also
        for field, spec in fields.items():
            if field not in also:
                click.echo(_parameter(field, spec, field in schema["required"]))
        click.echo(f"    also: {', '.join(also)}")
    click.secho("Where a fault takes them also", bold=True)
    for field, spec in modifiers.items():
        click.echo(_parameter(field, spec, False))


@fault.command("list")
@_url
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def fault_list(url: str | None, as_json: bool) -> None:
    """List the faults of the run so far."""
    told = Client(url).ask("GET", "faults")
    if as_json:
        click.echo(json.dumps(told["faults"], indent=1))
        return
    Console().print(_fault_table(told["faults"], told["now_s"]))


@fault.command()
@click.argument("kind", metavar="TYPE", type=FaultType())
@click.argument("target", required=False)
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--for", "lasts", default="30s", show_default=True, help="How long: 15s, 2m, 500ms.")
@click.option("--note", default="", help="Kept in the record.")
@click.option("--dry-run", is_flag=True, help="Only say what would be hit.")
@_url
def inject(
    kind: str,
    target: str | None,
    parameters: tuple[str, ...],
    lasts: str,
    note: str,
    dry_run: bool,
    url: str | None,
) -> None:
    """Begin a fault now. `fresco fault types` tells what there is."""
    from emulator import source

    body: dict[str, Any] = {"type": kind, "for_s": _seconds(lasts)}
    if target is not None and "=" in target and ">" not in target:
        parameters, target = (target, *parameters), None
    if target is not None:
        body["target"] = target
    if note:
        body["note"] = note
    for given in parameters:
        key, equals, text = given.partition("=")
        if not equals:
            fail(f"'{given}': expected KEY=VALUE")
        body[key] = source.value(text)
    told = Client(url).ask("POST", "faults?dry_run=true" if dry_run else "faults", body)
    known = told["faults"][0]
    if known["state"] == "spared":
        click.echo("spared: chance has it that this fault does not happen")
        return
    if dry_run:
        more = known["n"] - len(known["resolved"])
        click.echo(f"{known['n']} would be hit:")
        click.echo("\n".join(known["resolved"] + ([f"and {more} more"] if more else [])))
        return
    done, of = told.get("applied", (0, "?"))
    what = "extended" if told["extended"] else "began"
    click.echo(
        f"fault {known['id']} {what} at {told.get('at_s', '?')} s: {known['n']} hit, "
        f"applied {done}/{of}; heals at {known['until_s']:g} s"
    )
    if "warning" in told:
        click.echo(f"warning: {told['warning']}", err=True)


@fault.command()
@click.argument("number", type=int, required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Every active fault.")
@_url
def heal(number: int | None, everything: bool, url: str | None) -> None:
    """Heal the fault ID, or all."""
    if (number is None) != everything:
        fail("say which: an ID, or --all")
    told = Client(url).ask("DELETE", "faults" if number is None else f"faults/{number}")
    done, of = told.get("applied", (0, "?"))
    click.echo(f"healed {len(told['faults'])}, applied {done}/{of}")


@fault.command()
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=LATEST
)
def export(folder: Path) -> None:
    """Print a run with all that was injected by hand as a scenario (default: the latest run)."""
    from emulator import replay, source

    click.echo(source.dump(replay.export(folder)), nl=False)


@click.command()
@_url
def status(url: str | None) -> None:
    """Say how the run that goes on is doing."""
    run = Client(url).ask("GET", "run")
    ready, of = run["hosts"]
    where = f"{ready}/{of} hosts ready" if run["phase"] == "starting" and of else run["phase"]
    click.echo(
        f"{run['name']}: {where}, {run['now_s']:.1f} of {run['duration_s']:g} s, "
        f"{run['protocol']} on {run['runtime']}, {run['faults_active']} faults active"
    )


@click.command()
@_url
def watch(url: str | None) -> None:
    """Watch the run that goes on, in this terminal. Ctrl-C leaves it alone."""
    client = Client(url)
    with Live(console=Console(), refresh_per_second=4) as live:
        try:
            while (run := client.ask("GET", "run"))["phase"] != "ended":
                faults = client.ask("GET", "faults")["faults"]
                table = _fault_table(faults, run["now_s"])
                table.title = (
                    f"{run['name']} {run['phase']}, {run['now_s']:.1f} of {run['duration_s']:g} s"
                )
                live.update(table)
                time.sleep(0.5)
        except KeyboardInterrupt:
            return


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


def _parameter(field: str, spec: dict[str, Any], required: bool) -> str:
    default = spec.get("default")
    need = "optional" if default in (None, "") else f"default {default}"
    if required:
        need = "required"
    return f"    {field}: {_range(spec)}, {need}. {spec.get('description', '')}".rstrip()


def _range(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return " or ".join(map(str, spec["enum"]))
    low = spec.get("minimum", spec.get("exclusiveMinimum"))
    high = spec.get("maximum", spec.get("exclusiveMaximum"))
    bounds = [
        *([] if low is None else [f"from {low:g}"]),
        *([] if high is None else [f"to {high:g}"]),
    ]
    return " ".join([str(spec.get("type", "value")), *bounds])


def _seconds(text: str) -> float:
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * factor
            except ValueError:
                break
    raise click.BadParameter(f"--for {text}: expected a time such as 15s, 2m or 500ms")
