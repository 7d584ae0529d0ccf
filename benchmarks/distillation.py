"""What distillation is worth: every recipe on the same student, data order and seeds.

`python -m benchmarks.distillation digits` and `... scenes` need nothing and take a minute or two,
and about ten minutes of two cores;
`python -m benchmarks.distillation cifar --data-root DIR` needs CIFAR-100 on disk and about half an
hour of two cores. Both print tables in Markdown and, with --log, a line of JSON per run.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from msgspec import Struct

from models import data, zoo
from models.distill import Epoch, Options, accuracy_of, fresh, ship, train
from models.presets import PRESETS
from models.recipes import RECIPES

WORKERS = 2
SCRATCH, KD, BDD = "scratch", "kd", "bdd"
PAIRS = (
    (KD, SCRATCH),
    (BDD, SCRATCH),
    (BDD, KD),
    (BDD, "kd-heavy"),
    (BDD, "forward-twice"),
    ("dkd-bdd", "dkd"),
    ("dkd-bdd", "dkd-twice"),
    ("at", SCRATCH),
    ("at-bdd", BDD),
    ("at-bdd", "at-kd"),
    ("at-bdd", "at-forward-twice"),
)
FEATURES = ("at", "at-kd", "at-bdd", "at-forward-twice")


class Setting(Struct, frozen=True):
    """One comparison. The teacher is trained once, or is shipped under the name `shipped`."""

    dataset: str
    teacher: str
    teacher_options: Options
    student: str
    options: Options
    seeds: int
    recipes: tuple[str, ...]
    shipped: str = ""


DIGITS = Setting(
    dataset="digits",
    teacher="digits-conv48",
    teacher_options=Options(40, batch=50, rate=0.05, augment="shift", seed=0),
    student="digits-conv4",
    options=Options(30, batch=50, rate=0.05, labelled=150),
    seeds=10,
    recipes=(SCRATCH, KD, "kd-heavy", BDD, "forward-twice", *FEATURES),
)
CIFAR = Setting(
    dataset="cifar100",
    teacher="teacher24",
    teacher_options=Options(7, rate=0.1, schedule="one-cycle", augment="flip", seed=0),
    student="plain16",
    options=Options(3, rate=0.1, schedule="one-cycle", augment="flip"),
    seeds=5,
    recipes=tuple(recipe for recipe in RECIPES if recipe not in FEATURES),
)
SCENES = Setting(
    dataset="scenes",
    teacher="psp-plain24",
    teacher_options=PRESETS["scenes-teacher"].options,
    student="psp-plain4",
    options=Options(8, batch=16, rate=0.05, schedule="one-cycle", augment="flip"),
    seeds=5,
    recipes=(SCRATCH, KD, "kd-heavy", BDD, "forward-twice"),
    shipped="scenes-teacher",
)
SETTINGS = {"digits": DIGITS, "cifar": CIFAR, "scenes": SCENES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--models", type=Path, help="Where the teacher is kept between runs.")
    parser.add_argument("--log", type=Path, help="What it has is not run again.")
    chosen = parser.parse_args()
    setting = SETTINGS[chosen.setting]
    folder = (chosen.models or Path("runs")) / f"{setting.dataset}-{setting.teacher}"
    if setting.shipped:
        folder = zoo.folder(setting.shipped)
    began_s = time.monotonic()
    if not (folder / "manifest.json").exists():
        _teach(setting, folder, chosen.data_root)
    made = json.loads((folder / "manifest.json").read_text())
    measure = made.get("measure", "top-1")
    print(f"`python -m benchmarks.distillation {chosen.setting}`\n")
    score = f"{measure} {100.0 * made['test_accuracy']:.2f} %"
    print(f"Teacher {setting.teacher}: {score} on test images.")
    found = _logged(chosen.setting, chosen.log)
    every = [(r, seed) for seed in range(1, setting.seeds + 1) for r in setting.recipes]
    jobs = [job for job in every if job not in found]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_one, setting, folder, chosen.data_root, *job) for job in jobs]
        for (recipe, seed), future in zip(jobs, futures, strict=True):
            found[recipe, seed] = future.result()
            if chosen.log:
                line = {"setting": chosen.setting, "recipe": recipe, "seed": seed}
                with chosen.log.open("a") as log:
                    log.write(json.dumps(line | {"test_accuracy": found[recipe, seed]}) + "\n")
    _print(setting, found, measure)
    print(f"\n{setting.seeds} seeds, {(time.monotonic() - began_s) / 60.0:.0f} minutes.")


def _logged(setting: str, log: Path | None) -> dict[tuple[str, int], float]:
    """Returns the runs that a log has: repeated, they would give the same."""
    if log is None or not log.exists():
        return {}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        (line["recipe"], line["seed"]): line["test_accuracy"]
        for line in lines
        if line["setting"] == setting
    }


def _teach(setting: Setting, folder: Path, root: Path | None) -> None:
    splits = data.load(setting.dataset, root)
    options = setting.teacher_options

    def reported(epoch: Epoch) -> None:
        print(f"teacher, epoch {epoch.number}: val {epoch.val_accuracy:.4f}", flush=True)

    network = fresh(setting.teacher, splits.classes, options.seed)
    network = train(network, splits, SCRATCH, options, on_epoch=reported)
    ship(
        folder,
        network,
        splits,
        options,
        architecture=setting.teacher,
        dataset=setting.dataset,
        recipe=SCRATCH,
        teacher="",
        command="python -m benchmarks.distillation",
    )


def _one(setting: Setting, folder: Path, root: Path | None, recipe: str, seed: int) -> float:
    """Trains one student; the last epoch counts, and the test images are looked at once."""
    splits = data.load(setting.dataset, root)
    values = {name: getattr(setting.options, name) for name in Options.__struct_fields__}
    options = Options(**(values | {"seed": seed}))
    teacher = zoo.load_from(folder)
    student = train(fresh(setting.student, splits.classes, seed), splits, recipe, options, teacher)
    return accuracy_of(student, splits.test, splits)


def _print(setting: Setting, found: dict[tuple[str, int], float], measure: str) -> None:
    seeds = range(1, setting.seeds + 1)
    by = {r: [100.0 * found[r, seed] for seed in seeds] for r in setting.recipes}
    print(f"\n| recipe | what | test {measure}, % |\n| --- | --- | --- |")
    for recipe, values in by.items():
        print(f"| {recipe} | {RECIPES[recipe].about} | {_spread(values)} |")
    print("\n| difference, paired | points | wins |\n| --- | --- | --- |")
    for a, b in PAIRS:
        if a in by and b in by:
            gaps = [x - y for x, y in zip(by[a], by[b], strict=True)]
            wins = sum(gap > 0.0 for gap in gaps)
            print(f"| {a} - {b} | {_spread(gaps, sign='+')} | {wins}/{len(gaps)} |")


def _spread(values: Sequence[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.2f} ± {np.std(values, ddof=1):.2f}"


if __name__ == "__main__":
    main()
