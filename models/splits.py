"""What a data set is once it is loaded: pictures and labels, cut in three."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

CIFAR_VAL = 5000  # the last training images, class balanced or nearly so, are for validation
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
