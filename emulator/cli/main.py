"""The command line: verbs only. What a verb does stands in the module it calls.

Exit status: 0 good, 1 an expectation failed, 2 bad input, 3 the run broke or is invalid,
130 interrupted.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource

from emulator import interrupts
from emulator.cli import compare, completion, import_onnx, live, models, profile
from emulator.cli.arguments import (
    counted,
    fail,
    figures_option,
    out_folder,
    out_option,
    override_options,
    read,
    run_folder_argument,
    scenario_argument,
    token,
    warn,
)
from emulator.cli.groups import Verbs
from emulator.cli.terminal import Terminal
from models.files import write_whole

if TYPE_CHECKING:
    from emulator.live.service import Service
    from emulator.runtime.session import Session


@click.group(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="fresco")
def fresco() -> None:
    """Fresco emulates edge computing and measures how old information gets.

    \b
    fresco run quickstart                               a small network, live on Ray
    fresco run quickstart --runtime loop --seed 7       in virtual time, repeatable
    fresco compare quickstart -P random,shortest-wait   two protocols at equal seeds
    fresco fault inject blackout bs-0                   while a run is in progress
    """


@fresco.command()
@scenario_argument
@override_options
@click.option(
    "--runtime",
    type=click.Choice(["loop", "ray"]),
    help="loop: one process, in virtual time, as fast as it can. ray: Ray actors, in real time.  "
    "[default: as the scenario says]",
)
@click.option(
    "--address",
    metavar="auto|HOST:PORT",
    envvar="RAY_ADDRESS",
    help="Use a Ray cluster that is already running.",
)
@click.option("--paced", is_flag=True, help="With --runtime loop: keep to the wall clock.")
@click.option(
    "--accelerator",
    type=click.Choice(["live", "replay"]),
    help="How long an inference takes: as long as it does in this run (live), or as in the "
    "network's measured trace (replay).  [default: live in real time, replay in virtual time]",
)
@out_option
@click.option("--csv", is_flag=True, help="Write the tables as CSV files too.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve Prometheus metrics at this port of 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--metrics-per-user", is_flag=True, help="Add the age of each user, of the first 200."
)
@click.option(
    "--dashboard/--no-dashboard",
    default=None,
    help="Serve a page to watch and steer the run.  [default: in real time only]",
)
@click.option(
    "--dashboard-host",
    default="127.0.0.1",
    show_default=True,
    help="Address that the dashboard listens on.",
)
@click.option(
    "--dashboard-port",
    type=click.IntRange(0, 65535),
    help="Port of the dashboard.  [default: 7373, or any where that is taken]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def run(
    scenario: str,
    runtime: str | None,
    address: str | None,
    paced: bool,
    accelerator: str | None,
    out: Path,
    csv: bool,
    metrics_port: int | None,
    metrics_per_user: bool,
    dashboard: bool | None,
    dashboard_host: str,
    dashboard_port: int | None,
    as_json: bool,
    quiet: bool,
    **overrides: Any,
) -> None:
    """Run a scenario and write its results.

    SCENARIO is a YAML file, or the name of one that comes with Fresco, such as quickstart.

    \b
    fresco run quickstart                               on Ray, in real time
    fresco run quickstart --runtime loop --seed 1       in virtual time, repeatable
    fresco run my.yaml --address auto                   on a Ray cluster that is running here
    fresco run my.yaml -s users.0.count=200 -p random   with changes
    """
    from emulator.live.prometheus import Exporter
    from emulator.runtime import folders
    from emulator.runtime.connect import RunError
    from emulator.runtime.muster import Carrier, StartWatch
    from emulator.runtime.recorder import Progress
    from emulator.runtime.session import EXIT_STATUS, Session
    from emulator.views.terminal import Display, closing, stopping

    context = click.get_current_context()
    if runtime is not None:
        overrides["sets"] = (*overrides["sets"], f"runtime.kind={runtime}")
    reading = read(scenario, **overrides)
    chosen, skipped = reading.expecting()
    on_ray = chosen.runtime.kind == "ray"
    is_live = on_ray or paced
    if not on_ray and context.get_parameter_source("address") is ParameterSource.COMMANDLINE:
        fail("--address needs the Ray runtime: add --runtime ray")
    if paced and on_ray:
        fail("--paced is for the loop: the Ray runtime always keeps to the wall clock")
    if dashboard and not is_live:
        fail("virtual time is over before anybody could watch: add --paced for a dashboard")
    console = Terminal(stderr=as_json, quiet=quiet or as_json, soft_wrap=False)
    if accelerator == "live" and not is_live:
        console.print("note: the stopwatch times inference; the digest will differ from run to run")
    if not quiet:
        warn(reading.warnings())
        if skipped:
            click.echo(f"note: {skipped}", err=True)
    folder = out_folder(out, chosen.name)
    refused = partial(folders.discard_unbegun, folder)
    interrupts.before_leaving(refused)
    context.call_on_close(refused)
    display = Display(chosen, console)
    audience: list[Exporter | Service] = []
    if metrics_port is not None:
        exporter = Exporter(chosen, metrics_per_user)
        try:
            url, server = exporter.serve(metrics_port)
        except OSError as error:
            fail(f"--metrics-port {metrics_port}: {error.strerror}; 0 takes a free one")
        context.call_on_close(server.shutdown)
        audience.append(exporter)
        console.say(f"metrics: {url}")
    service = None

    class Watch(StartWatch):
        def waits(self, what: str) -> None:
            display.waits(what)

        def ready(self, hosts: int, of: int) -> None:
            if service is not None:
                service.ready(hosts, of)

        def started(self, carriers: list[Carrier]) -> None:
            packed = msgspec.json.format(msgspec.json.encode(carriers), indent=1)
            write_whole(folder / "hosts.json", packed)

    session = Session(
        chosen,
        folder,
        latest=True,
        paced=paced,
        stopwatch=None if accelerator is None else accelerator == "live",
        address=address,
        watch=Watch(),
    )
    end = stopping(session.steering, console) if is_live else interrupts.interrupt
    interrupts.on_first(end)
    if is_live and dashboard is not False:
        place = (dashboard_host, dashboard_port)
        service = _dashboard(session, folder, *place, per_user=metrics_per_user)
        context.call_on_close(service.stop)
        audience.append(service)
        console.say(f"dashboard: {service.url}")
    with display.open() as show:

        def shown(progress: Progress) -> None:
            for each in audience:  # first: what people see here is then there too
                each.take(progress)
            show(progress)

        try:
            summary = session.run(shown)
            # A run that broke in its middle is not over: who scrapes is to notice.
            if summary["verdict"] != "broken" or summary["emulated_s"] >= chosen.duration_s:
                for each in audience:
                    each.finish()
        except RunError as error:
            fail(str(error), status=3)
    closing(summary, chosen, console)
    status = EXIT_STATUS[summary["verdict"]]
    try:
        with console.status("writing tables and report") if console.is_terminal else nullcontext():
            report_path = _results(folder, csv)
        console.say(f"report: {report_path}")
    except OSError as error:
        status = EXIT_STATUS["broken"]
        again = f"once there is room, `fresco report {folder}` writes them"
        click.echo(f"fresco: no tables and no report: {error}; {again}", err=True)
    if as_json:
        click.echo(json.dumps({**summary, "folder": str(folder)}, indent=1))
    sys.exit(status)


@fresco.command("check")
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@override_options
def check_scenarios(scenarios: tuple[str, ...], **overrides: Any) -> None:
    """Check scenarios without running them."""
    console = Terminal()
    failed = False
    for name in scenarios:
        try:
            reading = read(name, **overrides)
        except SystemExit:
            failed = True
            continue
        chosen = reading.scenario
        sizes = {
            "user": sum(group.count for group in chosen.users),
            "base station": sum(group.count for group in chosen.base_stations),
            "server": sum(group.count for group in chosen.servers),
        }
        counts = ", ".join(counted(number, what) for what, number in sizes.items())
        faults = counted(len(chosen.faults), "fault")
        console.say(
            f"[green]good[/]: {chosen.name}: {counts}; {chosen.protocol.kind} on "
            f"{chosen.runtime.kind} for {chosen.duration_s:g} s, {faults}"
        )
        warn(reading.warnings())
    sys.exit(2 if failed else 0)


@fresco.command()
@run_folder_argument
@click.option("--csv", is_flag=True, help="Write the tables as CSV files too.")
@figures_option
def report(folder: Path, csv: bool, formats: tuple[str, ...]) -> None:
    """Write report and tables of a run again.

    FOLDER is that of the run; by default the latest one's.
    """
    try:
        click.echo(f"report: {_results(folder, csv, formats)}")
    except OSError as error:
        fail(f"{folder}: tables and report cannot be written: {error}")


@fresco.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from emulator.scenario.schema import Scenario

    click.echo(json.dumps(Scenario.model_json_schema(), indent=1))


@fresco.command()
@click.option("--ray", "with_ray", is_flag=True, help="Start Ray and a host too.")
def doctor(with_ray: bool) -> None:
    """Check that this machine can run Fresco."""
    from emulator.cli.doctor import examine

    sys.exit(0 if examine(Terminal(), with_ray) else 3)


def _dashboard(
    session: "Session", folder: Path, host: str, port: int | None, per_user: bool
) -> "Service":
    """Starts the control service of a run; complains and exits 2 where it cannot listen."""
    from emulator.live.service import Service

    try:
        service = Service(
            session.plan, session.steering, folder, host, port, token(), per_user=per_user
        )
        service.start()
    except OSError as error:
        free = "; leave --dashboard-port out, and any free one is taken"
        fail(f"dashboard: {error.strerror or error}{free if port else ''}")
    except ValueError as error:
        fail(f"dashboard: {error}")
    return service


def _results(folder: Path, csv: bool, formats: Sequence[str] = ()) -> Path:
    """Writes tables and report from a run folder; returns the report's path."""
    from emulator.results import tables
    from emulator.views import report as reporting

    result = reporting.read(folder)
    tables.write(folder, result.metrics, csv)
    return reporting.write(folder, result, formats)


for verb in (
    compare.compare,
    compare.sweep,
    models.distill,
    import_onnx.import_onnx,
    profile.profile,
    live.fault,
    live.status,
    live.watch,
    live.pause,
    live.resume,
    live.stop,
    completion.completion,
):
    fresco.add_command(verb)
