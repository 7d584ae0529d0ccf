"""The 240-epoch recipe, end to end for two epochs, through the program, without an accelerator.

CIFAR-100 is not shipped: a data set of random pictures in its python format stands in for it, so
this is about whether everything runs and repeats, not about accuracy.
"""

import csv
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from emulator.cli.models import distill
from models import cifar, data, presets, zoo
from models.distill_options import Options, rate_at


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar, "VAL", 32)
    monkeypatch.setattr(presets, "PRESETS", dict(presets.PRESETS))
    data.load.cache_clear()
    return tmp_path


def write(root: Path, train: int) -> None:
    rng = np.random.default_rng(1)
    folder = root / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", train + 32), ("test", 40)):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        reported = {b"data": pixels, b"fine_labels": rng.integers(0, 100, count).tolist()}
        (folder / name).write_bytes(pickle.dumps(reported, protocol=2))


def run(root: Path, name: str, *extra: str) -> list[dict[str, float]]:
    """Runs `fresco distill` for two epochs; returns the curve."""
    out = root / name
    command = ["--preset", name, "--epochs", "2", "--data-root", str(root), "--out", str(out)]
    done = CliRunner().invoke(distill, [*command, *extra])
    assert done.exit_code == 0, done.output
    with (out / "curve.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def check(root: Path, student: str, teacher: str, train: int) -> None:
    made = presets.preset(student)
    expected = Options(240, batch=64, rate=0.05, schedule="steps", augment="crop")
    assert (made.options, made.teacher, made.recipe) == (expected, teacher, "bdd")
    assert [rate_at(made.options, e / 240) for e in (149, 150, 180, 210)] == pytest.approx(
        [0.05, 0.005, 5e-4, 5e-5]
    )
    write(root, train)

    master = run(root, teacher)
    curve = run(root, student, "--teacher", str(root / teacher))

    # Of two epochs, the second begins at a half and ends after all three drops, as of 240.
    assert [row["rate"] for row in curve] == pytest.approx([0.05, 0.05 * 0.1**3])
    assert [row["rate"] for row in master] == [row["rate"] for row in curve]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0.0 for row in curve)
    shipped = zoo._read(root / student / "manifest.json")
    assert (shipped.epochs, shipped.recipe, shipped.test_images) == (2, "bdd", 40)
    assert shipped.teacher == str(root / teacher)
    zoo.load_from(root / student)


def test_the_recipe_runs_for_two_epochs(root: Path) -> None:
    for name in ("cifar100-resnet56", "cifar100-resnet20"):  # here the recipe, below the depth
        made = presets.PRESETS[name]
        presets.PRESETS[name] = msgspec.structs.replace(made, architecture="plain8")

    check(root, "cifar100-resnet20", "cifar100-resnet56", train=72)


@pytest.mark.slow
def test_a_pair_of_the_literature_runs_for_two_epochs(root: Path) -> None:
    check(root, "cifar100-resnet20", "cifar100-resnet56", train=72)
