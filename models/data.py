"""Data sets. At hand: the UCI handwritten digits, 1,797 grey images of 8 x 8, and painted scenes.

`digits-noisy` is the same under noise, so that small networks are visibly worse than larger ones.

`load("cifar100", root)` looks under `root` (or $FRESCO_DATA) for the standard python or binary
batches, or for mosaics (see `cifar.py`), `load("cityscapes", root)` for its makers' layout
(`cityscapes.py`); `load("folder:PATH")` takes a folder of pictures with one folder a class
(`picture_folder.py`). What is loaded is checked: sizes, values, labels. Nothing is
downloaded unless `cifar.download` is called. The digits beside this module are scikit-learn's copy.
"""

import hashlib
import os
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from models.splits import DataError, Split, Splits, checked

FILE = Path(__file__).parent / "digits" / "digits.npz"
SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
SPLIT_SEED = 0
TRAIN, VAL = 1000, 297  # of 1,797 in a seeded random order; the last 500 are the test split
ROOT_VARIABLE = "FRESCO_DATA"
EMBEDDED = ("digits", "digits-noisy", "scenes")
FOLDER = "folder:"
NAMES = (*EMBEDDED, "cifar10", "cifar100", "cityscapes")
NOISE = 4.0  # standard deviation, of pixels that go to 16
NOISE_SEED = 1
NOISY_COPIES = 4  # of each training image, each with noise of its own


@cache
def load(name: str = "digits", root: Path | None = None) -> Splits:
    """Loads a data set; DataError if it is unknown, missing, or not what was shipped."""
    return checked(_read(name, root), name)


def _read(name: str, root: Path | None) -> Splits:
    if name == "digits":
        return _digits()
    if name == "digits-noisy":
        return _noisy(_digits())
    from models import cifar, cityscapes, picture_folder, scenes

    if name == "scenes":
        return scenes.load()
    if name == "cityscapes":
        return cityscapes.load(_place(name, root))
    if name.startswith(FOLDER):
        return picture_folder.load(folder_of(name))
    return cifar.load(name, _place(name, root))


def folder_of(name: str) -> Path:
    """Returns the folder that `folder:PATH` means."""
    return Path(name.removeprefix(FOLDER)).expanduser()


def full_name(name: str) -> str:
    """Returns a name that means the same data set wherever Fresco is started."""
    return f"{FOLDER}{folder_of(name).resolve()}" if name.startswith(FOLDER) else name


def require(name: str) -> None:
    """Raises DataError unless the data set is at hand; reads nothing of it."""
    from models import cifar, cityscapes, picture_folder

    if name == "cityscapes":
        cityscapes.locate(_place(name, None))
    elif name.startswith(FOLDER):
        picture_folder.classes_of(folder_of(name))
    elif name not in EMBEDDED:
        cifar.locate(name, _place(name, None))


def _place(name: str, root: Path | None) -> Path:
    if name not in NAMES:
        raise DataError(f"unknown data set '{name}'; known: {', '.join(NAMES)}, folder:PATH")
    found = os.environ.get(ROOT_VARIABLE)
    if root is None and not found:
        raise DataError(
            f"{name} is not shipped: put it on disk and say where, --data-root or ${ROOT_VARIABLE}"
        )
    return root or Path(str(found))


def _digits() -> Splits:
    found = hashlib.sha256(FILE.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{FILE} has sha256 {found}, expected {SHA256}; install Fresco again")
    with np.load(FILE, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    bounds = (0, TRAIN, TRAIN + VAL, len(labels))
    train, val, test = (Split(images[order[a:b]], labels[order[a:b]]) for a, b in pairwise(bounds))
    return Splits(train, val, test, classes=10, scale=16.0)


def _noisy(clean: Splits) -> Splits:
    """Adds Gaussian noise, rounded and clipped; the same noise for everybody."""
    draw = np.random.default_rng(NOISE_SEED)

    def noisy(split: Split, copies: int) -> Split:
        images = np.concatenate([split.images] * copies)
        spoilt = np.rint(images + NOISE * draw.standard_normal(images.shape))
        pixels = spoilt.clip(0.0, clean.scale).astype(np.uint8)
        return Split(pixels, np.concatenate([split.labels] * copies))

    train, val, test = noisy(clean.train, NOISY_COPIES), noisy(clean.val, 1), noisy(clean.test, 1)
    return msgspec.structs.replace(clean, train=train, val=val, test=test)
