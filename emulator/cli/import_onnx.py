"""`fresco import-onnx`: a network of one's own making, ready for scenarios."""

import os
import shlex
from functools import partial
from pathlib import Path

import click
import msgspec

from emulator import interrupts
from emulator.cli.arguments import fail, room_in
from emulator.cli.models import DATA_ROOT
from emulator.cli.terminal import Terminal

ENGINES = ("onnx", "onnx-int8")


@click.command("import-onnx")
@click.argument("file", metavar="FILE.onnx", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--data",
    "dataset",
    required=True,
    metavar="NAME|folder:PATH",
    help="What it was trained for: digits, cifar100, ..., or a folder with one folder a class.",
)
@DATA_ROOT
@click.option("--name", help="Its name in scenarios. Default: the file's.")
@click.option("--mean", help="Of the pixels it was trained on, 0 to 1, by channel: 0.49,0.48,0.45.")
@click.option("--deviation", help="Likewise. Default: those of the data set.")
@click.option("--rounds", type=click.IntRange(8, 100_000), default=512, show_default=True)
@click.option(
    "--out",
    "shelf",
    type=click.Path(path_type=Path),
    envvar="FRESCO_MODELS",
    help="Where your networks are kept. Default: $FRESCO_MODELS, which scenarios look in.",
)
def import_onnx(
    file: Path,
    dataset: str,
    data_root: Path | None,
    name: str | None,
    mean: str | None,
    deviation: str | None,
    rounds: int,
    shelf: Path | None,
) -> None:
    """Import an ONNX file as a network for scenarios.

    Its accuracy is measured on a data set, and its latency on this machine.

    \b
    export FRESCO_MODELS=~/models
    fresco import-onnx mine.onnx --data cifar100
    fresco run vision-cifar -s servers.0.accelerator.model=mine -s servers.0.accelerator.engine=onnx
    """
    from rich.progress import Progress

    from emulator.runtime.folders import discard
    from models import data, engines, latency, zoo
    from models.splits import DataError

    console = Terminal()
    if shelf is None:
        fail("say where your networks are kept: export FRESCO_MODELS=~/models, or --out FOLDER")
    own = name or file.stem
    folder = shelf / own
    if folder.exists() or own in zoo.names():
        fail(f"there is a network '{own}' already; choose another --name, or remove {folder}")
    try:
        engines.require(engines.ONNX)
        from models import onnx_import

        taught = data.full_name(dataset)
        splits = data.load(taught, data_root)
        channels = len(splits.mean)
        splits = msgspec.structs.replace(
            splits,
            mean=_numbers("--mean", mean, channels) or splits.mean,
            deviation=_numbers("--deviation", deviation, channels) or splits.deviation,
        )
        command = f"fresco import-onnx {shlex.quote(str(file.resolve()))}"
        command += f" --data {shlex.quote(taught)} --name {shlex.quote(own)}"
        packed = onnx_import.read(file)
        room_in(folder)
        # Else the next try would find half a network of this name.
        interrupts.before_leaving(partial(discard, folder))
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task(f"judging {own}", total=1.0)
            made = onnx_import.write(
                folder,
                packed,
                splits,
                dataset=taught,
                command=command,
                on_part=lambda share: progress.update(bar, completed=share),
            )
            # Where what measures it has to look:
            os.environ[zoo.OWN_VARIABLE] = str(shelf)
            if data_root is not None:
                os.environ[data.ROOT_VARIABLE] = str(data_root)
            bar = progress.add_task(f"measuring {own}", total=rounds)
            for measured in latency.measure(
                own, rounds, 1, lambda done: progress.update(bar, completed=done), ENGINES
            ):
                latency.write(own, measured)
            interrupts.before_leaving(lambda: None)
    except (zoo.ModelError, DataError) as error:
        fail(f"{file}: {error}")
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}; choose another folder with --out")
    console.say(
        f"{own}: {made.parameters:,} parameters, {made.measure} on val "
        f"{100.0 * made.val_accuracy:.2f} %, on test {100.0 * made.test_accuracy:.2f} %"
    )
    for engine in ENGINES:
        mean_s, _ = latency.moments(own, 1, engine)
        console.say(f"{engine}: one image takes {1e3 * mean_s:.3f} ms here")
    console.say(f"network: {folder}")
    console.print(f"in a scenario: accelerator: {{kind: live, model: {own}, engine: onnx}}")


def _numbers(option: str, text: str | None, channels: int) -> tuple[float, ...] | None:
    """Reads one number for each channel."""
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        fail(f"{option} {text}: expected numbers with commas between them, e.g. 0.49,0.48,0.45")
    if len(found) != channels:
        fail(f"{option} {text}: the data set has {channels} channels, these are {len(found)}")
    if option == "--deviation" and min(found) <= 0.0:
        fail(f"{option} {text}: a deviation is above 0")
    return found
