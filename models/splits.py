"""What a data set is once it is loaded: pictures and labels, cut in three."""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

VOID = 255  # the label of pixels that do not count, as in Cityscapes


class DataError(ValueError):
    """A data set cannot be had; the message says where it is expected."""


class Split(Struct, frozen=True):
    """Images uint8 [N, H, W] or [N, C, H, W]; labels int64 [N], or of pixels uint8 [N, H, W]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.uint8]


class Splits(Struct, frozen=True):
    """A data set cut in three. Pixels are (value / scale - mean) / deviation, by channel.

    `ignored`: the label of pixels that do not count; None where each image has one label. An answer
    is right when at least `right_share` of its labels are.
    """

    train: Split
    val: Split
    test: Split
    classes: int
    scale: float
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    ignored: int | None = None
    right_share: float = 1.0


def in_colour(train: Split, val: Split, test: Split, classes: int) -> Splits:
    """Returns a set of colour pictures, normalised by those of its own to train on."""
    shares = train.images / 255.0
    mean = tuple(shares.mean(axis=(0, 2, 3)).tolist())
    deviation = tuple(np.maximum(shares.std(axis=(0, 2, 3)), 1e-3).tolist())  # all alike: not 0
    return Splits(train, val, test, classes, 255.0, mean, deviation)


def checked(splits: Splits, name: str) -> Splits:
    """Returns `splits` if a network can be trained and judged on them; DataError if not.

    Every split holds something, each image has its label, and all labels are classes (or the one
    that does not count): what else would be learnt or counted without complaint, and wrong.
    """
    for part in ("train", "val", "test"):
        split: Split = getattr(splits, part)
        if not len(split.images):
            raise DataError(f"{name}: the {part} split is empty")
        check_pair(split.images, split.labels, splits.classes, f"{name}, {part}", splits.ignored)
    return splits


def check_pair(
    images: NDArray[Any], labels: NDArray[Any], classes: int, where: str, ignored: int | None = None
) -> None:
    """Raises DataError unless images are bytes and each has a label of 0 to `classes` - 1."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{where}: pixels are {images.dtype}, expected whole numbers of 0 to 255 (uint8); "
            "multiply shares of 1 by 255 and round"
        )
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images but {len(labels)} labels")
    wrong = (labels < 0) | (labels >= classes)
    if ignored is not None:
        wrong &= labels != ignored
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: label {labels[first]} of image {first[0]} is no class; "
            f"labels go from 0 to {classes - 1}"
        )
