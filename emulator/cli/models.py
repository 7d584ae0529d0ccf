"""`fresco distill`: make a network."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emulator import interrupts
from emulator.cli.arguments import fail, figures_option, results, room_in
from emulator.cli.terminal import Terminal

if TYPE_CHECKING:
    from torch import nn

DATA = click.option(
    "--data",
    "dataset",
    metavar="NAME|folder:PATH",
    help="Another data set: digits, cifar10, ..., or a folder with one folder of pictures a class.",
)
DATA_ROOT = click.option(
    "--data-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where data sets lie that Fresco does not ship; else $FRESCO_DATA.",
)


@click.command()
@click.option("--preset", "name", help="Name of the network to make, see --list.")
@click.option("--list", "lists", is_flag=True, help="List presets and methods, and end.")
@click.option(
    "--method",
    help="Training method instead of the preset's, e.g. kd; see --list.",
)
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Epochs instead of the preset's.")
@click.option("--seed", type=int, help="Seed instead of the preset's.")
@click.option("--teacher", help="A network by name, or its folder, instead of the preset's.")
@DATA
@DATA_ROOT
@click.option("--download", is_flag=True, help="Fetch the data set if it is not there.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda where there is one.")
@click.option("--resume", is_flag=True, help="Go on from the last epoch that was saved.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the network; default runs/models/NAME. Under $FRESCO_MODELS scenarios find it.",
)
@figures_option
def distill(
    name: str | None,
    lists: bool,
    method: str | None,
    epochs: int | None,
    seed: int | None,
    teacher: str | None,
    dataset: str | None,
    data_root: Path | None,
    download: bool,
    device: str,
    resume: bool,
    out: Path | None,
    formats: tuple[str, ...],
) -> None:
    """Train a network, usually as the student of another.

    \b
    fresco distill --preset digits-s                     under a minute
    fresco distill --preset digits-s --method kd --seed 7
    fresco distill --preset scenes-s                     what labels every pixel
    fresco distill --preset cifar100-m --data-root ~/data
    fresco distill --preset cifar100-m --data folder:pets --method scratch   your own pictures
    """
    import msgspec
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from emulator.views import training_curve
    from models import cifar, data, distill, zoo
    from models.presets import PRESETS, preset
    from models.recipes import RECIPES
    from models.splits import DataError

    console = Terminal()
    if lists or name is None:
        for each, made in PRESETS.items():
            by = f"{made.recipe} from {made.teacher}" if made.teacher else "from labels"
            console.say(f"{each:26} {made.architecture} on {made.dataset}, {by}")
        console.say(f"methods: {', '.join(RECIPES)}")
        if not lists:
            fail("name one of these with --preset")
        return
    chosen = name
    try:
        made = preset(chosen)
        recipe = method or made.recipe
        if recipe not in RECIPES:
            fail(f"unknown method '{recipe}' (known: {', '.join(RECIPES)})")
        changes = {"epochs": epochs, "seed": seed}
        options = msgspec.structs.replace(
            made.options, **{key: value for key, value in changes.items() if value is not None}
        )
        taught_by = teacher or made.teacher
        if RECIPES[recipe].needs_teacher and not taught_by:
            fail(f"'{recipe}' needs a teacher: name one with --teacher")
        if dataset is not None and RECIPES[recipe].needs_teacher and teacher is None:
            fail(
                f"'{taught_by}' was taught {made.dataset}, not {dataset}: name a teacher with "
                "--teacher, or train one from the labels first, with --method scratch"
            )
        taught = data.full_name(dataset or made.dataset)
        if download and taught in cifar.ARCHIVES:
            with console.status(f"fetching {taught}"):
                cifar.download(taught, data_root or Path("data"))
        splits = data.load(taught, data_root)
        master = _network(taught_by) if RECIPES[recipe].needs_teacher else None
    except (zoo.ModelError, DataError) as error:
        fail(str(error))
    if dataset is not None:
        name = f"{made.architecture}-{taught.rpartition(':')[2].rpartition('/')[2]}"
    folder = out or Path("runs") / "models" / name
    checkpoint = folder / "checkpoint.safetensors"
    room_in(folder)
    if not resume:
        checkpoint.unlink(missing_ok=True)
    curve: list[distill.Epoch] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress, results(folder):
        bar = progress.add_task(name, total=options.epochs)

        def reported(epoch: distill.Epoch) -> None:
            with interrupts.held():
                curve.append(epoch)
                said = f"{name}: loss {epoch.loss:.4f}, val {100.0 * epoch.val_accuracy:.2f} %"
                progress.update(bar, completed=epoch.number, description=said)
                if not console.is_terminal and epoch.number % max(1, options.epochs // 10) == 0:
                    console.say(f"epoch {epoch.number}/{options.epochs}  {said}")

        interrupts.on_first(interrupts.interrupt)
        try:
            student = distill.train(
                distill.fresh(made.architecture, splits.classes, options.seed),
                splits,
                recipe,
                options,
                master,
                reported,
                checkpoint,
                device,
            )
        except zoo.ModelError as error:
            fail(str(error))
        except KeyboardInterrupt:
            if not checkpoint.exists():
                fail("interrupted before the first epoch ended", interrupts.STATUS)
            done = f"interrupted; {checkpoint} holds every epoch that ended"
            fail(f"{done}: the same command with --resume goes on from it", interrupts.STATUS)
    interrupts.finish()
    command = f"fresco distill --preset {chosen} --method {recipe} --seed {options.seed}"
    command += f" --epochs {options.epochs}"
    command += f" --data {shlex.quote(taught)}" if dataset is not None else ""
    command += f" --teacher {shlex.quote(teacher)}" if teacher is not None else ""
    with results(folder):
        result = distill.ship(
            folder,
            student,
            splits,
            options,
            architecture=made.architecture,
            dataset=taught,
            recipe=recipe,
            teacher=taught_by if RECIPES[recipe].needs_teacher else "",
            command=command,
        )
        checkpoint.unlink(missing_ok=True)
        written = training_curve.write(folder, name, result.measure, curve, formats)
    console.say(training_curve.bars([epoch.val_accuracy for epoch in curve]))
    console.say(
        f"{name}: {result.parameters:,} parameters, {result.measure} on val "
        f"{100.0 * result.val_accuracy:.2f} %, on test {100.0 * result.test_accuracy:.2f} %"
    )
    if name in zoo.names() and folder.resolve() != zoo.folder(name).resolve():
        stated = zoo.manifest(name)
        console.print(f"the one that is shipped: test {100.0 * stated.test_accuracy:.2f} %")
    drawn = ", ".join(path.name for path in written)
    console.say(f"network: {folder}   curves: {drawn}")


def _network(name: str) -> "nn.Module":
    """Loads a network by name, or from its folder."""
    from models import zoo

    place = Path(name)
    return zoo.load_from(place) if (place / "manifest.json").exists() else zoo.load(name)
