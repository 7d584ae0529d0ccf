"""Somebody's ONNX file becomes a network: judged as it is, refused where it does not fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from emulator.checks.devices import network
from emulator.cli.main import fresco as verbs
from emulator.scenario.schema import LiveAccelerator
from models import data, latency, onnx_import, zoo
from models.engine import Engine
from models.onnx_engine import exported
from models.zoo import ModelError

NAME = "digits-s"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of digits-s as an ONNX file, as a stranger would have them."""
    path = tmp_path_factory.mktemp("onnx") / "mine.onnx"
    path.write_bytes(exported(NAME, False))
    return path


def fresco(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emulator", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_an_imported_network_serves_as_the_one_it_was_made_from(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(zoo.OWN_VARIABLE, str(tmp_path))
    words = ["import-onnx", str(file), "--data", "digits", "--rounds", "8"]

    done = fresco(*words)

    assert done.returncode == 0, done.stderr
    made, own = zoo.manifest("mine"), zoo.manifest(NAME)
    assert (made.test_accuracy, made.val_accuracy) == (own.test_accuracy, own.val_accuracy)
    # Batch norms are folded on the way: two numbers of 12 + 24 + 24 + 48 channels become one.
    assert made.parameters == own.parameters - (12 + 24 + 24 + 48)
    images = data.load("digits").test.images
    for engine in ("onnx", "onnx-int8"):
        logits = [Engine(name, kind=engine).logits(images) for name in ("mine", NAME)]
        np.testing.assert_array_equal(*logits)
    assert latency.trace("mine", latency.BATCH_MAX, "onnx-int8").shape == (8,)
    again = fresco(*words)
    assert again.returncode == 2
    assert "there is a network 'mine' already" in again.stderr

    ((where, text, remedy),) = network(("m",), "mine", LiveAccelerator(kind="live", model="mine"))
    assert (where, remedy) == (("m",), "set engine: onnx")
    assert "which torch cannot run" in text
    sets = [f"servers.0.accelerator.{key}" for key in ("model=mine", "engine=onnx", "students=[]")]
    args = [part for each in sets for part in ("-s", each)]
    ran = fresco("run", "vision-digits", "--runtime", "loop", "--duration", "7", *args, "--out",
                 str(tmp_path / "runs"), "-s", "expect=[]")  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_normalisation_that_it_was_trained_with_counts(file: Path, tmp_path: Path) -> None:
    splits = data.load("digits")
    packed = onnx_import.read(file)

    def accuracy(folder: str, mean: float, deviation: float) -> float:
        from msgspec.structs import replace

        seen = replace(splits, mean=(mean,), deviation=(deviation,))
        made = onnx_import.write(tmp_path / folder, packed, seen, dataset="digits", command="")
        assert (made.mean, made.deviation) == ((mean,), (deviation,))
        return made.test_accuracy

    assert accuracy("right", 0.0, 1.0) > 0.98
    assert accuracy("wrong", 5.0, 1.0) < 0.5


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(dim=(2, 3)), x


class Fixed(nn.Module):
    """Says `classes` numbers of an image, all of them `value`."""

    def __init__(self, classes: int, value: float = 0.0) -> None:
        super().__init__()
        self.classes, self.value = classes, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)).expand(-1, self.classes) * 0.0 + self.value


def export(path: Path, made: nn.Module, shape: tuple[int, ...], free: bool = True) -> Path:
    program = torch.onnx.export(
        made.eval(), (torch.zeros(2, *shape),), dynamo=True, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},) if free else None,
    )  # fmt: skip
    assert program is not None
    onnx.save(program.model_proto, path)
    return path


@pytest.mark.parametrize(
    ("made", "shape", "free", "says"),
    [
        (Two(), (1, 8, 8), True, "1 inputs and 2 outputs"),
        (Fixed(10), (1, 8, 8), False, "batches of 2 images only"),
        (Fixed(10), (1, 16, 16), True, "images of 1 x 16 x 16, the data set has 1 x 8 x 8"),
        (Fixed(7), (1, 8, 8), True, "answers 1 images with 1 x 7 numbers, expected 1 x 10"),
        (Fixed(10, float("nan")), (1, 8, 8), True, "not finite"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, made: nn.Module, shape: tuple[int, ...], free: bool, says: str
) -> None:
    packed = onnx_import.read(export(tmp_path / "x.onnx", made, shape, free))

    with pytest.raises(ModelError, match=says):
        onnx_import.write(tmp_path / "x", packed, data.load("digits"), dataset="digits", command="")
    assert not (tmp_path / "x").exists()


def test_slips_are_answered_with_exit_2(file: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    good = ["import-onnx", str(file), "--data", "digits", "--out", str(tmp_path / "shelf")]
    for words, says in (
        ([*good[:1], str(junk), *good[2:]], "no ONNX model that can be read"),
        ([*good[:1], str(tmp_path / "nothing.onnx"), *good[2:]], "no ONNX model that can be read"),
        ([*good[:3], "digit", *good[4:]], "unknown data set 'digit'"),
        (good[:4], "say where your networks are kept"),
        ([*good, "--mean", "a"], "expected numbers"),
        ([*good, "--mean", "0.1,0.2"], "1 channels, these are 2"),
        ([*good, "--name", NAME], f"there is a network '{NAME}' already"),
        ([*good[:5], str(junk / "below")], "name another folder with --out"),
    ):
        done = CliRunner().invoke(verbs, words)
        assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
