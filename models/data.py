"""Data sets. Embedded: the UCI handwritten digits, 1,797 grey images of 8 x 8.

The file beside this module was written once from scikit-learn's copy (`python -m models.data`,
which needs scikit-learn); nothing is downloaded, and scikit-learn is not needed to run.
"""

import hashlib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

FILE = Path(__file__).parent / "digits" / "digits.npz"
SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
SPLIT_SEED = 0
TRAIN, VAL = 1000, 297  # of 1,797 in a seeded random order; the last 500 are the test split


class DataError(ValueError):
    """A data set cannot be had; the message says where it is expected."""


class Split(Struct, frozen=True):
    """Images uint8 [N, 8, 8] of values 0 to 16, and their labels int64 [N] of 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Splits(Struct, frozen=True):
    """A data set cut in three. `scale` is the largest pixel value."""

    train: Split
    val: Split
    test: Split
    classes: int
    scale: float


@cache
def load(name: str = "digits") -> Splits:
    """Loads a data set; DataError if it is unknown or its file is not what was shipped."""
    if name != "digits":
        raise DataError(f"unknown data set '{name}'; known: digits")
    found = hashlib.sha256(FILE.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{FILE} has sha256 {found}, expected {SHA256}; install Fresco again")
    with np.load(FILE, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    bounds = (0, TRAIN, TRAIN + VAL, len(labels))
    train, val, test = (Split(images[order[a:b]], labels[order[a:b]]) for a, b in pairwise(bounds))
    return Splits(train, val, test, classes=10, scale=16.0)


def write(path: Path = FILE) -> str:
    """Writes scikit-learn's digits as a compressed npz; returns its sha256."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, images=images, labels=labels)
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    print(f"{FILE}: sha256 {write()}")
