"""The painted scenes: the same bytes everywhere, every class in them, nothing seen twice."""

import hashlib

import numpy as np
import pytest

from models import data, scenes
from models.splits import VOID

# Painted once on Linux x86-64 with numpy 2; integers only, so that no machine differs.
SHA256 = "f78c4f9e98a38b9dd3bd28a9e758cf211394ae9d62e3f65536b61d635e550892"


def test_a_seed_gives_the_same_bytes() -> None:
    splits = data.load("scenes")
    digest = hashlib.sha256()
    for split in (splits.train, splits.val, splits.test):
        digest.update(split.images.tobytes() + split.labels.tobytes())

    assert digest.hexdigest() == SHA256


def test_every_class_is_in_every_split_and_the_bonnet_is_void() -> None:
    splits = data.load("scenes")
    expected = [*range(len(scenes.NAMES)), VOID]
    for split in (splits.train, splits.val, splits.test):
        assert np.unique(split.labels).tolist() == expected
        assert (split.labels[:, -scenes.BONNET :] == VOID).all()
        assert (split.labels[:, : -scenes.BONNET] != VOID).all()


def test_no_scene_is_in_two_splits() -> None:
    splits = data.load("scenes")
    images = [*splits.train.images, *splits.val.images, *splits.test.images]

    assert len({image.tobytes() for image in images}) == len(images) == 1400


def test_pixels_are_scaled_to_mean_0_and_deviation_1() -> None:
    splits = data.load("scenes")
    for channel, (mean, deviation) in enumerate(zip(splits.mean, splits.deviation, strict=True)):
        values = splits.train.images[:, channel] / 255.0
        assert (values - mean).mean() / deviation == pytest.approx(0.0, abs=1e-9)
        assert values.std() / deviation == pytest.approx(1.0)


def test_sky_is_above_road() -> None:
    rows = np.arange(scenes.HEIGHT)[None, :, None]
    for labels in data.load("scenes").test.labels[:50, None]:
        sky, road = ((rows * (labels == k)).sum() / (labels == k).sum() for k in (2, 0))
        assert sky < road
