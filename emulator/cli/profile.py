"""`fresco profile`: measure how long a network takes here, on each engine, and keep that."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emulator.cli.arguments import fail, figures_option, results, room_in
from emulator.cli.terminal import Terminal
from models.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.latency import Latency, Profile

FEW_ROUNDS = 100  # below, the 99th percentile is the largest sample
HEADS = ("batch", "engine", "E[S] ms", "E[S²] ms²", "p50 ms", "p95 ms", "p99 ms", "c²")


@click.command()
@click.argument("name", metavar="NETWORK")
@click.option(
    "--engine",
    "engine",
    default="torch",
    show_default=True,
    metavar="A,B,...",
    help="torch, onnx, onnx-int8, several of them side by side, or all.",
)
@click.option(
    "--batch",
    "batch_max",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Batches of 1 up to so many images.",
)
@click.option("--rounds", type=click.IntRange(8, 100_000), default=512, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--write", "writes", is_flag=True, help="Keep the trace beside the network.")
@figures_option
def profile(
    name: str,
    engine: str,
    batch_max: int,
    rounds: int,
    threads: int,
    writes: bool,
    formats: tuple[str, ...],
) -> None:
    """Measure the inference latency of a network here.

    It is the CPU time of the computing thread.

    Batch sizes and engines in turn, so that a drift of the machine hits them alike; each batch is
    run twice and the second run is timed, or the lesser of two where it is short, as in a live run.

    \b
    fresco profile digits-s
    fresco profile digits-s --engine all --batch 4
    fresco profile mine --engine onnx --write
    """
    from rich.progress import Progress
    from rich.table import Table

    from models import latency, zoo
    from models.engines import ENGINES, require
    from models.splits import DataError

    console = Terminal()
    engines = ENGINES if engine == "all" else tuple(engine.split(","))
    for each in engines:
        if each not in ENGINES:
            fail(f"unknown engine '{each}' (known: {', '.join(ENGINES)}, or all)")
    folder = Path("runs") / "models" / name
    try:
        zoo.manifest(name)
        for each in engines:
            require(each)
        if writes:
            room_in(zoo.folder(name), "put a copy of the network under $FRESCO_MODELS")
        room_in(folder, "run it in another folder")
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task(f"measuring {name}", total=rounds)
            measured = latency.measure(
                name,
                rounds,
                threads,
                lambda done: progress.update(bar, completed=done),
                engines,
                batch_max,
            )
    except (zoo.ModelError, DataError) as error:
        fail(str(error))
    rows = _rows(measured)
    table = Table(title=f"{name} on {measured[0].processor}", title_justify="left")
    for head in HEADS:
        table.add_column(head, justify="left" if head == "engine" else "right")
    for number, row in enumerate(rows):
        table.add_row(*row, end_section=(number + 1) % len(engines) == 0)
    console.print(table)
    for line in _conditions(measured[0], rounds):
        console.say(line)
    picture = folder / "latency.html"
    from emulator.views import figures, plots

    with results(folder):
        if writes:
            for each_measured in measured:
                console.say(f"written: {latency.write(name, each_measured)}")
        samples_s = {each.engine: each.samples_s for each in measured}
        figure = plots.spreads(samples_s, "images in a batch", "thread-CPU time")
        write_whole(picture, _page(name, measured, rounds, figure))
        figures.save(folder, {"latency": figure}, formats)
    console.say(f"picture: {picture}")


def _rows(measured: "Sequence[Latency]") -> list[tuple[str, ...]]:
    """Returns the table's rows: engines beside each other within a batch size."""
    from models import latency

    by_engine = [latency.profiles(each) for each in measured]
    return [
        (str(row.batch), each.engine, *_numbers(row))
        for size in zip(*by_engine, strict=True)
        for each, row in zip(measured, size, strict=True)
    ]


def _numbers(row: "Profile") -> tuple[str, ...]:
    times = (f"{1e3 * value:.3f}" for value in (row.p50_s, row.p95_s, row.p99_s))
    return (
        f"{1e3 * row.mean_s:.3f}",
        f"{1e6 * row.second_moment_s2:.4f}",
        *times,
        f"{row.scv:.3f}",
    )


def _conditions(measured: "Latency", rounds: int) -> list[str]:
    """Says how it was measured, and what to doubt."""
    from models.engine import SHORT_S, WARM_UP_RUNS

    said = [
        f"{rounds} rounds after {WARM_UP_RUNS} for each batch size to warm up; every batch run "
        f"twice, the second timed, and repeated below {1e3 * SHORT_S:g} ms; torch {measured.torch}"
    ]
    if measured.load is not None:
        said.append(f"load average while measuring: {measured.load:g}")
    if measured.threads > 1:
        said.append(
            f"{measured.threads} threads: only the calling thread's CPU time is in the table, not "
            "its helpers'"
        )
    if rounds < FEW_ROUNDS:
        said.append(f"{rounds} rounds are few: p99 is the slowest of them")
    return said


def _page(name: str, measured: "Sequence[Latency]", rounds: int, figure: "Figure") -> str:
    """Returns a page with the spread of the times by batch size, and the table."""
    from emulator.views.figures import embedded
    from emulator.views.html import page, table

    body = (
        f'<h1>{escape(name)}</h1><p class="soft">{escape(measured[0].processor)}. '
        f"{escape('. '.join(_conditions(measured[0], rounds)))}.</p>"
        '<section class="card"><h2>Thread-CPU time by batch size</h2>'
        f"{embedded(figure, 'Thread-CPU time by batch size')}</section>"
        f'<section class="card">{table([HEADS, *_rows(measured)])}</section>'
    )
    return page(f"{name}, latency", body, styles=("report.css",))
