"""Reads image data sets from disk: CIFAR's python and binary batches, mosaics, picture folders.

The python batches are pickles; they are read by an unpickler that knows arrays and nothing else.
"""

import hashlib
import pickle
import tarfile
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.splits import CIFAR_VAL, DataError, Split, Splits

SIDE = 32
PIXELS = 3 * SIDE * SIDE
MEANS = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4865, 0.4409)}
DEVIATIONS = {"cifar10": (0.2470, 0.2435, 0.2616), "cifar100": (0.2673, 0.2564, 0.2762)}
CLASSES = {"cifar10": 10, "cifar100": 100}
URL = "https://www.cs.toronto.edu/~kriz/{}"
ARCHIVES = {  # file, md5 as its makers publish it
    "cifar10": ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
}
MOSAIC_ROWS, MOSAIC_COLUMNS = 50, 100
FOLDER_VAL, FOLDER_TEST = 0.1, 0.2  # shares of a picture folder

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Pair = tuple[Images, Labels]


def cifar(name: str, root: Path) -> Splits:
    """Loads CIFAR-10 or -100 in whichever form lies under `root`."""
    form, folder = locate(name, root)
    (images, labels), (test_images, test_labels) = READERS[form](name, folder)
    cut = len(labels) - CIFAR_VAL
    return Splits(
        Split(images[:cut], labels[:cut]),
        Split(images[cut:], labels[cut:]),
        Split(test_images, test_labels),
        CLASSES[name],
        255.0,
        MEANS[name],
        DEVIATIONS[name],
    )


def locate(name: str, root: Path) -> tuple[str, Path]:
    """Returns the form in which a data set lies under `root`, and its folder; reads nothing."""
    places = {"python": _python_folder(name), "binary": _binary_folder(name), "mosaic": name}
    for form, folder in places.items():
        if (root / folder).is_dir():
            return form, root / folder
    wanted = ", ".join(f"{folder}/ ({form})" for form, folder in places.items())
    raise DataError(f"no {name} under {root}; looked for {wanted}")


def download(name: str, root: Path, url: str = URL) -> Path:
    """Fetches and unpacks the python batches of `name`; DataError if the checksum differs."""
    file, expected = ARCHIVES[name]
    root.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url.format(file), timeout=60) as answer:
        packed = answer.read()
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(f"{url.format(file)} has md5 {found}, expected {expected}; nothing is kept")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(root, filter="data")
    return root / _python_folder(name)


def _python_folder(name: str) -> str:
    return "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"


def _binary_folder(name: str) -> str:
    return "cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary"


class _Arrays(pickle.Unpickler):
    """Knows how to rebuild numpy arrays; anything else that a file names is refused."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise DataError(f"the file names {module}.{name}; CIFAR batches hold arrays only")
        return super().find_class(module, name)


def _python_batches(name: str, folder: Path) -> tuple[Pair, Pair]:
    train = [f"data_batch_{n}" for n in range(1, 6)] if name == "cifar10" else ["train"]
    test = ["test_batch"] if name == "cifar10" else ["test"]
    key = b"labels" if name == "cifar10" else b"fine_labels"

    def read(files: list[str]) -> Pair:
        images, labels = [], []
        for file in files:
            with _open(folder / file) as stream:
                batch = _Arrays(stream, encoding="bytes").load()
            images.append(np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE))
            labels.append(np.asarray(batch[key], dtype=np.int64))
        return np.concatenate(images), np.concatenate(labels)

    return read(train), read(test)


def _binary_batches(name: str, folder: Path) -> tuple[Pair, Pair]:
    train = [f"data_batch_{n}.bin" for n in range(1, 6)] if name == "cifar10" else ["train.bin"]
    test = ["test_batch.bin"] if name == "cifar10" else ["test.bin"]
    heads = 1 if name == "cifar10" else 2  # CIFAR-100 has the coarse label first

    def read(files: list[str]) -> Pair:
        rows = []
        for file in files:
            with _open(folder / file) as stream:
                flat = np.frombuffer(stream.read(), dtype=np.uint8)
            if len(flat) % (heads + PIXELS):
                raise DataError(f"{folder / file} is not a whole number of images")
            rows.append(flat.reshape(-1, heads + PIXELS))
        every = np.concatenate(rows)
        images = every[:, heads:].reshape(-1, 3, SIDE, SIDE)
        return images.copy(), every[:, heads - 1].astype(np.int64)

    return read(train), read(test)


def _mosaics(name: str, folder: Path) -> tuple[Pair, Pair]:
    """Pictures of 50 x 100 images each, `train-*` and `test-*`, with labels.npz by file."""
    with np.load(folder / "labels.npz", allow_pickle=False) as arrays:
        labels = {file: arrays[file].astype(np.int64) for file in arrays.files}

    def read(kind: str) -> Pair:
        files = sorted(file for file in labels if file.startswith(kind))
        if not files:
            raise DataError(f"{folder / 'labels.npz'} names no {kind}-* file")
        images = [_mosaic(_named(folder, file)) for file in files]
        return np.concatenate(images), np.concatenate([labels[file] for file in files])

    return read("train"), read("test")


def _named(folder: Path, stem: str) -> Path:
    """Finds the picture of that name, whatever its format."""
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise DataError(f"{folder} has no picture {stem}.*, which labels.npz names")
    return found[0]


def _mosaic(path: Path) -> Images:
    pixels = _picture(path, None)
    whole = pixels.reshape(MOSAIC_ROWS, SIDE, MOSAIC_COLUMNS, SIDE, 3)
    return whole.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)


READERS: dict[str, Callable[[str, Path], tuple[Pair, Pair]]] = {
    "python": _python_batches,
    "binary": _binary_batches,
    "mosaic": _mosaics,
}


def picture_folder(root: Path, side: int = SIDE) -> Splits:
    """Loads `root/<class>/<picture>`, scaled to `side` x `side`; cut by a hash of the file name."""
    classes = (
        sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    )
    if len(classes) < 2:
        raise DataError(f"{root} holds {len(classes)} folders; expected one for each class")
    parts: dict[str, list[tuple[Images, int]]] = {"train": [], "val": [], "test": []}
    for number, name in enumerate(classes):
        for path in sorted((root / name).iterdir()):
            drawn = hashlib.sha256(path.name.encode()).digest()[0] / 256.0
            part = "test" if drawn < FOLDER_TEST else "train"
            part = "val" if FOLDER_TEST <= drawn < FOLDER_TEST + FOLDER_VAL else part
            parts[part].append((_picture(path, side).transpose(2, 0, 1), number))
    for part, found in parts.items():
        if not found:
            raise DataError(f"{root} has too few pictures: none fell to the {part} split")
    cut = {
        part: Split(
            np.stack([i for i, _ in found]), np.array([n for _, n in found], dtype=np.int64)
        )
        for part, found in parts.items()
    }
    pixels = cut["train"].images / 255.0
    mean = tuple(pixels.mean(axis=(0, 2, 3)).tolist())
    deviation = tuple(np.maximum(pixels.std(axis=(0, 2, 3)), 1e-3).tolist())
    return Splits(cut["train"], cut["val"], cut["test"], len(classes), 255.0, mean, deviation)


def _picture(path: Path, side: int | None) -> Images:
    """Reads a picture as uint8 [H, W, 3]."""
    try:
        with Image.open(path) as picture:
            coloured = picture.convert("RGB")
            return np.asarray(coloured if side is None else coloured.resize((side, side)))
    except OSError as error:
        raise DataError(f"{path} is no picture: {error}") from error


def _open(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"{path} is missing")
    return path.open("rb")
