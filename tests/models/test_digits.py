"""The embedded digits against scikit-learn's copy, from which they were written."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from models import data
from models.splits import DataError


def test_the_shipped_arrays_are_those_of_scikit_learn() -> None:
    theirs = load_digits()

    with np.load(data.FILE, allow_pickle=False) as ours:
        assert set(ours.files) == {"images", "labels"}
        np.testing.assert_array_equal(ours["images"], theirs.images)
        np.testing.assert_array_equal(ours["labels"], theirs.target)


def test_each_image_is_in_exactly_one_split() -> None:
    theirs = load_digits()
    splits = data.load("digits")
    parts = (splits.train, splits.val, splits.test)

    found = [
        (image.tobytes(), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    expected = zip(theirs.images.astype(np.uint8), theirs.target, strict=True)

    assert [len(part.labels) for part in parts] == [1000, 297, 500]
    assert sorted(found) == sorted((image.tobytes(), int(label)) for image, label in expected)
    assert len({pixels for pixels, _ in found}) == 1797  # no twin crosses a border either


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "digits.npz"
    changed.write_bytes(data.FILE.read_bytes() + b"\0")
    monkeypatch.setattr(data, "FILE", changed)

    with pytest.raises(DataError, match=f"{changed} has sha256 .* expected {data.SHA256}"):
        data.load.__wrapped__("digits")  # past the cache


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="unknown data set 'cifar'; known: digits"):
        data.load("cifar")


def test_noisy_digits_are_the_digits_under_the_same_noise_for_everybody() -> None:
    clean, noisy = data.load("digits"), data.load("digits-noisy")

    middle = clean.test.images == 8  # 976 pixels
    seen = noisy.test.images[middle].astype(int) - 8
    borders = np.arange(-8, 8) + 0.5
    below = np.concatenate([[0.0], stats.norm.cdf(borders / data.NOISE), [1.0]])
    deviation = float(np.sqrt(np.sum(np.arange(-8, 9) ** 2 * np.diff(below))))

    np.testing.assert_array_equal(noisy.test.labels, clean.test.labels)
    assert len(noisy.train.labels) == data.NOISY_COPIES * len(clean.train.labels)
    # Standard errors of 976 samples: 2.3 % of the deviation, 0.12 of the mean.
    assert seen.std() == pytest.approx(deviation, rel=0.06)
    assert abs(seen.mean()) < 0.35
    data.load.cache_clear()
    np.testing.assert_array_equal(data.load("digits-noisy").train.images, noisy.train.images)
