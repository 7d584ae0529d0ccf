"""What answers are worth: mean intersection over union, and which answers count as right.

A label is one number per image, or a map of one per pixel; `ignored` marks pixels that do not
count. Pure numpy, no torch.
"""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64] | NDArray[np.uint8]
Counts = NDArray[np.int64]


def confusion(found: Labels, labels: Labels, classes: int, ignored: int | None) -> Counts:
    """Counts int64 [K, K]: how often class `row` was answered with class `column`."""
    counted = labels != ignored if ignored is not None else np.ones(labels.shape, dtype=bool)
    pairs = labels[counted].astype(np.int64) * classes + found[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def score(found: Labels, labels: Labels, classes: int, ignored: int | None) -> float:
    """Returns the share of images that is labelled right, or the mean IoU of their pixels."""
    if labels.ndim == 1:
        return float((found == labels).mean())
    return mean_iou(confusion(found, labels, classes, ignored))


def mean_iou(counts: Counts) -> float:
    """Returns the mean over classes of |answered and is| / |answered or is|.

    A class that neither is there nor was ever answered has no such ratio and is left out.
    """
    both = np.diagonal(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return float((both[either > 0] / either[either > 0]).mean())


def are_right(
    found: Labels, labels: Labels, share: float, ignored: int | None
) -> NDArray[np.bool_]:
    """Says of each answer [N, ...] whether at least `share` of its counted labels is right."""
    flat = labels.reshape(len(labels), -1)
    counted = flat != ignored if ignored is not None else np.ones(flat.shape, dtype=bool)
    hits = ((found.reshape(flat.shape) == flat) & counted).sum(axis=1)
    right: NDArray[np.bool_] = hits >= share * counted.sum(axis=1)
    return right
