"""Reads CIFAR-10 and -100 from disk: python and binary batches, or mosaics.

The python batches are pickles; they are read by an unpickler that knows arrays and nothing else.
"""

import hashlib
import pickle
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import pictures
from models.splits import DataError, Split, Splits, check_pair

SIDE = 32
VAL = 5000  # the last training images, class balanced or nearly so, are for validation
PIXELS = 3 * SIDE * SIDE
URL = "https://www.cs.toronto.edu/~kriz/{}"
ARCHIVES = {  # file, md5 as its makers publish it
    "cifar10": ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
}
MOSAIC_ROWS, MOSAIC_COLUMNS = 50, 100

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Parts = Iterator[tuple[Path, Images, Labels]]
"""What a file holds, file by file."""


class Layout(Struct, frozen=True):
    """One of the two sets, as its makers lay it out; binary files have their names and `.bin`."""

    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    folders: dict[str, str]  # by form
    files: dict[str, list[str]]  # by part
    key: str  # of the labels in a python batch
    heads: int  # bytes before each image of a binary batch, the last of them its label


LAYOUTS = {
    "cifar10": Layout(
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        deviation=(0.2470, 0.2435, 0.2616),
        folders={"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin"},
        files={"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]},
        key="labels",
        heads=1,
    ),
    "cifar100": Layout(
        classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        deviation=(0.2673, 0.2564, 0.2762),
        folders={"python": "cifar-100-python", "binary": "cifar-100-binary"},
        files={"train": ["train"], "test": ["test"]},
        key="fine_labels",
        heads=2,
    ),
}


def load(name: str, root: Path) -> Splits:
    """Loads CIFAR-10 or -100 in whichever form lies under `root`."""
    form, folder = locate(name, root)
    layout, read = LAYOUTS[name], READERS[form]
    images, labels = _together(read(layout, folder, "train"), layout)
    test_images, test_labels = _together(read(layout, folder, "test"), layout)
    cut = len(labels) - VAL
    if cut <= 0:
        raise DataError(
            f"{folder} holds {len(labels)} training images; the last {VAL} are for validation, so "
            f"it takes {VAL + 1} or more ({name} has 50000)"
        )
    return Splits(
        Split(images[:cut], labels[:cut]),
        Split(images[cut:], labels[cut:]),
        Split(test_images, test_labels),
        layout.classes,
        255.0,
        layout.mean,
        layout.deviation,
    )


def _together(parts: Parts, layout: Layout) -> tuple[Images, Labels]:
    images, labels = [], []
    for path, pixels, classes in parts:
        check_pair(pixels, classes, layout.classes, str(path))
        images.append(pixels)
        labels.append(classes)
    return np.concatenate(images), np.concatenate(labels)


def locate(name: str, root: Path) -> tuple[str, Path]:
    """Returns the form in which a data set lies under `root`, and its folder; reads nothing."""
    places = {**LAYOUTS[name].folders, "mosaic": name}
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
    return root / LAYOUTS[name].folders["python"]


class _Arrays(pickle.Unpickler):
    """Knows how to rebuild numpy arrays; anything else that a file names is refused."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),  # from protocol 5 on
            ("numpy._core.numeric", "_frombuffer"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise DataError(f"the file names {module}.{name}; CIFAR batches hold arrays only")
        return super().find_class(module, name)


def _python_batches(layout: Layout, folder: Path, part: str) -> Parts:
    for file in layout.files[part]:
        yield folder / file, *_python_batch(folder / file, layout.key)


def _python_batch(path: Path, key: str) -> tuple[Images, Labels]:
    """Reads the images and labels of one pickle."""
    with _open(path) as stream:
        if stream.peek(2)[:2] == b"\x1f\x8b":
            raise DataError(f"{path} is packed with gzip; unpack it first")
        try:
            batch = _Arrays(stream, encoding="bytes").load()
        except DataError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(
                f"{path} is damaged or no CIFAR batch ({error}); fetch the data set again"
            ) from error
    if not isinstance(batch, dict):
        raise DataError(f"{path} holds a {type(batch).__name__}, expected a CIFAR batch")
    found = {k.decode() if isinstance(k, bytes) else k: value for k, value in batch.items()}
    for wanted in ("data", key):
        if wanted not in found:
            raise DataError(f"{path} has no '{wanted}'; found: {', '.join(map(str, found))}")
    pixels, labels = np.asarray(found["data"]), np.asarray(found[key])
    if pixels.shape[1:] not in ((PIXELS,), (3, SIDE, SIDE)):
        shape = " x ".join(map(str, pixels.shape))
        raise DataError(
            f"{path}: data is {shape}; expected N x {PIXELS}, or N x 3 x {SIDE} x {SIDE} "
            "with the colours first"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: '{key}' is no list of whole numbers")
    return pixels.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int64)


def _binary_batches(layout: Layout, folder: Path, part: str) -> Parts:
    heads = layout.heads
    for file in layout.files[part]:
        path = folder / f"{file}.bin"
        with _open(path) as stream:
            flat = np.frombuffer(stream.read(), dtype=np.uint8)
        if len(flat) % (heads + PIXELS):
            raise DataError(f"{path} is not a whole number of images")
        rows = flat.reshape(-1, heads + PIXELS)
        images = rows[:, heads:].reshape(-1, 3, SIDE, SIDE)
        yield path, images, rows[:, heads - 1].astype(np.int64)


def _mosaics(layout: Layout, folder: Path, part: str) -> Parts:
    """Pictures of 50 x 100 images each, `train-*` and `test-*`, with labels.npz by file."""
    labels = _mosaic_labels(folder / "labels.npz")
    files = sorted(file for file in labels if file.startswith(part))
    if not files:
        raise DataError(f"{folder / 'labels.npz'} names no {part}-* file")
    for file in files:
        path = _named(folder, file)
        yield path, _mosaic(path), labels[file]


def _mosaic_labels(path: Path) -> dict[str, Labels]:
    """Reads the labels of each mosaic."""
    try:
        with _open(path) as stream, np.load(stream, allow_pickle=False) as arrays:
            labels = {file: arrays[file] for file in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged ({error}); write it again") from error
    for file, found in labels.items():
        if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
            raise DataError(f"{path}: '{file}' is no list of whole numbers")
    return {file: found.astype(np.int64) for file, found in labels.items()}


def _named(folder: Path, stem: str) -> Path:
    """Finds the picture of that name, whatever its format."""
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise DataError(f"{folder} has no picture {stem}.*, which labels.npz names")
    return found[0]


def _mosaic(path: Path) -> Images:
    pixels = pictures.read(path)
    height, width = MOSAIC_ROWS * SIDE, MOSAIC_COLUMNS * SIDE
    if pixels.shape[:2] != (height, width):
        raise DataError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels; expected {width} x {height}: "
            f"{MOSAIC_ROWS} rows of {MOSAIC_COLUMNS} images"
        )
    whole = pixels.reshape(MOSAIC_ROWS, SIDE, MOSAIC_COLUMNS, SIDE, 3)
    return whole.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)


READERS: dict[str, Callable[[Layout, Path, str], Parts]] = {
    "python": _python_batches,
    "binary": _binary_batches,
    "mosaic": _mosaics,
}


def _open(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"{path} is missing")
    return path.open("rb")
