"""Damaged data sets, networks and checkpoints: refused with the file, the cause and the remedy.

Whatever would be trained on without complaint, and wrong, is in here.
"""

import gzip
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from emulator.checks.devices import network
from emulator.scenario.schema import LiveAccelerator
from models import cifar, data, distill, latency, picture_folder, zoo
from models.distill_options import Options
from models.splits import DataError, Split, Splits, checked
from models.zoo import ModelError

RNG = np.random.default_rng(0)
FOLDER = "cifar-100-python"
Batch = dict[Any, Any]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "VAL", 3)


def batch(count: int = 10, **changes: Any) -> Batch:
    images = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
    made = {"data": images, "fine_labels": RNG.integers(0, 100, count).tolist()} | changes
    return {key.encode(): value for key, value in made.items()}


def put(root: Path, train: Batch | bytes, protocol: int = 2) -> Path:
    """Writes CIFAR-100 in the python form; only `train` is not as it should be."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    packed = train if isinstance(train, bytes) else pickle.dumps(train, protocol=protocol)
    (folder / "train").write_bytes(packed)
    (folder / "test").write_bytes(pickle.dumps(batch(4), protocol=2))
    return folder / "train"


WHOLE = pickle.dumps(batch(), protocol=2)


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (batch(2), r"holds 2 training images.*it takes 4 or more"),
        (WHOLE[: len(WHOLE) // 2], "damaged or no CIFAR batch"),
        (b"", "damaged or no CIFAR batch"),
        (b"<html>not found</html>", "damaged or no CIFAR batch"),
        (gzip.compress(WHOLE), "packed with gzip; unpack it"),
        (pickle.dumps([1, 2], protocol=2), "holds a list"),
        (batch(coarse_labels=[]) | {b"fine_labels": [1] * 5}, "10 images but 5 labels"),
        ({b"data": batch()[b"data"], b"labels": [1] * 10}, "no 'fine_labels'; found: data, labels"),
        (batch(data=RNG.random((10, 3072))), r"pixels are float64.*multiply shares of 1 by 255"),
        (batch(data=np.zeros((10, 32, 32, 3), np.uint8)), "expected N x 3072.*colours first"),
        (batch(data=np.zeros((10, 1024), np.uint8)), "10 x 1024"),
        (batch(fine_labels=[*[1] * 9, 100]), r"label 100 of image 9.*from 0 to 99"),
        (batch(fine_labels=[-1] * 10), r"label -1 of image 0"),
        (batch(fine_labels=[0.5] * 10), "no list of whole numbers"),
    ],
)
def test_a_python_batch_that_is_not_one(tmp_path: Path, train: Batch | bytes, says: str) -> None:
    path = put(tmp_path, train)

    with pytest.raises(DataError, match=says) as refusal:
        data.load("cifar100", tmp_path)
    assert str(path.parent) in str(refusal.value)


def test_batches_that_are_only_written_otherwise_are_read(tmp_path: Path) -> None:
    plain = batch()
    put(tmp_path / "text", {key.decode(): value for key, value in plain.items()})
    put(tmp_path / "protocol-5", plain, protocol=5)
    four = plain | {b"data": plain[b"data"].reshape(-1, 3, 32, 32)}
    put(tmp_path / "four", four)

    for form in ("text", "protocol-5", "four"):
        splits = data.load("cifar100", tmp_path / form)
        both = np.concatenate([splits.train.images, splits.val.images])
        np.testing.assert_array_equal(both.reshape(10, -1), plain[b"data"])


def test_binary_labels_that_are_no_class(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    row = bytes([7, 100]) + bytes(3072)
    for file in ("train.bin", "test.bin"):
        (folder / file).write_bytes(row * 5)

    with pytest.raises(DataError, match=r"train\.bin: label 100 of image 0"):
        data.load("cifar100", tmp_path)


@pytest.mark.parametrize(
    ("size", "labels", "says"),
    [
        ((3200, 1600), np.zeros(4999, np.uint8), "5000 images but 4999 labels"),
        ((3200, 1600), np.zeros(5000), "no list of whole numbers"),
        ((3200, 1568), np.zeros(5000, np.uint8), "3200 x 1568 pixels; expected 3200 x 1600"),
        ((3200, 1600), None, r"labels\.npz is damaged"),
    ],
)
def test_mosaics_that_do_not_fit_their_labels(
    tmp_path: Path, size: tuple[int, int], labels: Any, says: str
) -> None:
    folder = tmp_path / "cifar100"
    folder.mkdir()
    for name in ("train-00", "test-00"):
        Image.new("RGB", size).save(folder / f"{name}.png")
    if labels is None:
        (folder / "labels.npz").write_bytes(b"junk")
    else:
        np.savez(folder / "labels.npz", **{"train-00": labels, "test-00": labels})

    with pytest.raises(DataError, match=says):
        data.load("cifar100", tmp_path)


def pets(root: Path) -> Path:
    for name, value in (("cat", 10), ("dog", 200)):
        (root / name).mkdir(parents=True)
        for n in range(40):
            Image.new("RGB", (40, 20), (value, 0, 0)).save(root / name / f"{n}.png")
    return root


def test_what_editors_and_systems_leave_is_no_class_and_no_picture(tmp_path: Path) -> None:
    root = pets(tmp_path)
    (root / ".ipynb_checkpoints").mkdir()
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "dog" / "Thumbs.db").write_bytes(b"x")

    splits = data.load(f"folder:{root}")

    assert splits.classes == 2
    assert sum(len(part.labels) for part in (splits.train, splits.val, splits.test)) == 80


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = pets(tmp_path)
    packed = (root / "cat" / "3.png").read_bytes()
    (root / "cat" / "3.png").write_bytes(packed[: len(packed) // 2])

    with pytest.raises(DataError, match=r"cat/3\.png is no picture.*repair or remove"):
        picture_folder.load(root)


def test_every_data_set_is_checked_as_a_whole() -> None:
    def split(count: int, label: int) -> Split:
        return Split(np.zeros((count, 8, 8), np.uint8), np.full(count, label))

    good = Splits(split(2, 0), split(2, 1), split(2, 1), classes=2, scale=16.0)

    assert checked(good, "mine") is good
    for part, wrong, says in (
        ("val", split(0, 0), "the val split is empty"),
        ("test", split(1, 2), "mine, test: label 2"),
    ):
        parts = {"train": good.train, "val": good.val, "test": good.test} | {part: wrong}
        with pytest.raises(DataError, match=says):
            checked(Splits(**parts, classes=2, scale=16.0), "mine")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own networks, with a whole one in it."""
    monkeypatch.setenv(zoo.OWN_VARIABLE, str(tmp_path))
    shutil.copytree(zoo.WEIGHTS / "digits-xs", tmp_path / "mine")
    latency.read.cache_clear()
    return tmp_path / "mine"


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "manifest": (lambda f: (f / "manifest.json").write_text("{"), "is no manifest"),
    "cut": (
        lambda f: (f / "weights.safetensors").write_bytes(b"x" * 500),
        "its manifest says.*make it with",
    ),
    "gone": (lambda f: (f / "weights.safetensors").unlink(), "is missing; install Fresco again"),
    "latency": (lambda f: (f / "latency.json").write_text("[]"), "damaged.*fresco profile mine"),
    "times": (
        lambda f: (f / "latency.json").write_text(
            '{"processor": "", "torch": "", "threads": 1, "samples_s": [[0.0]]}'
        ),
        "not all positive seconds",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_network_is_a_complaint_of_check(shelf: Path, what: str) -> None:
    accelerator = LiveAccelerator(kind="live", model="mine")
    assert not list(network(("model",), "mine", accelerator))
    damage, says = DAMAGE[what]
    damage(shelf)
    latency.read.cache_clear()

    ((where, text, _),) = network(("model",), "mine", accelerator)

    assert where == ("model",)
    with pytest.raises(ModelError, match=says):
        raise ModelError(text)


def test_weights_of_another_architecture_are_told_by_name(shelf: Path) -> None:
    path = shelf / "manifest.json"
    path.write_text(path.read_text().replace("digits-conv2", "digits-conv12"))

    with pytest.raises(ModelError, match=r"does not hold a digits-conv12 of 10 classes"):
        zoo.load("mine")


@pytest.mark.parametrize("packed", [b"junk", b"", b"\x08" + bytes(7) + b'{"a":1}x'])
def test_a_damaged_checkpoint_is_not_resumed(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(packed)
    student = distill.fresh("digits-conv2", 10, 1)

    with pytest.raises(ModelError, match=f"{path} is damaged.*remove it"):
        distill.train(student, data.load(), "scratch", Options(1), checkpoint=path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ModelError, match=f"cannot compute on '{device}'.*--device cpu"):
        distill.place_of(device)


@pytest.mark.parametrize(
    ("architecture", "classes", "says"),
    [
        ("plain8", 10, r"the student does not take the images of this data set, 1 x 8 x 8"),
        ("psp-plain4", 10, r"the student does not take"),
    ],
)
def test_networks_that_do_not_suit_the_data(architecture: str, classes: int, says: str) -> None:
    student = distill.fresh(architecture, classes, 1)

    with pytest.raises(ModelError, match=says):
        distill.train(student, data.load(), "scratch", Options(1))


def test_a_teacher_of_other_classes_is_refused() -> None:
    class Five(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 5)

    with pytest.raises(ModelError, match=r"the teacher tells 5 classes.* the data set has 10"):
        distill.train(distill.fresh("digits-conv2", 10, 1), data.load(), "kd", Options(1), Five())
