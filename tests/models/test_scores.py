"""Mean IoU against a twin that asks of each pixel, and which answers count as right."""

import numpy as np
import pytest

from models import scores

VOID = 255


def naive_mean_iou(found: np.ndarray, labels: np.ndarray, classes: int) -> float:
    ratios = []
    for k in range(classes):
        both = either = 0
        for f, y in zip(found.flat, labels.flat, strict=True):
            if y != VOID:
                both += f == k and y == k
                either += f == k or y == k
        if either:
            ratios.append(both / either)
    return sum(ratios) / len(ratios)


@pytest.mark.parametrize("seed", range(5))
def test_mean_iou_is_its_naive_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 4, VOID], (3, 5, 7)).astype(np.uint8)
    found = rng.choice([0, 1, 2, 4], labels.shape)  # 3 and 5 are in neither

    counts = scores.confusion(found, labels, 6, VOID)

    assert counts.sum() == (labels != VOID).sum()
    assert scores.mean_iou(counts) == pytest.approx(naive_mean_iou(found, labels, 6), abs=1e-12)


def test_a_row_is_what_is_there_and_a_column_what_was_answered() -> None:
    counts = scores.confusion(np.array([1, 1, 0]), np.array([0, 0, 0]), 2, None)

    assert counts.tolist() == [[1, 2], [0, 0]]
    assert scores.mean_iou(counts) == pytest.approx((1 / 3 + 0 / 2) / 2)


def test_a_class_that_is_nowhere_is_left_out_and_one_that_was_made_up_is_not() -> None:
    labels = np.zeros((1, 2, 2), dtype=np.uint8)

    perfect = scores.confusion(labels, labels, 5, VOID)
    invented = scores.confusion(np.array([[[0, 0], [0, 3]]]), labels, 5, VOID)

    assert scores.mean_iou(perfect) == 1.0
    assert scores.mean_iou(invented) == pytest.approx((3 / 4 + 0) / 2)


def test_an_answer_is_right_from_the_share_on() -> None:
    labels = np.array([[[0, 1], [2, VOID]], [[0, VOID], [VOID, VOID]]], dtype=np.uint8)
    found = np.array([[[0, 1], [1, 9]], [[1, 0], [0, 0]]])

    assert scores.are_right(found, labels, 2 / 3, VOID).tolist() == [True, False]
    assert scores.are_right(found, labels, 0.7, VOID).tolist() == [False, False]


def test_with_one_label_per_image_it_is_equality() -> None:
    found, labels = np.array([3, 1, 4]), np.array([3, 2, 4])

    assert scores.are_right(found, labels, 1.0, None).tolist() == [True, False, True]
