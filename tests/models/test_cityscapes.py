"""Cityscapes from disk: a miniature of its layout, written here and read back pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import cityscapes, data
from models.splits import DataError

SIDES = (2 * cityscapes.HEIGHT, 2 * cityscapes.WIDTH)  # a quarter of the real area


def write(root: Path, part: str, city: str, ids: list[int]) -> None:
    """One picture per id: filled with its value, its upper half labelled `id`, the lower road."""
    for number, label in enumerate(ids):
        stem = f"{city}_000000_{number:06d}"
        pixels = np.full((*SIDES, 3), (label, 100, 200), dtype=np.uint8)
        labels = np.full(SIDES, 7, dtype=np.uint8)
        labels[: SIDES[0] // 2] = label
        for kind, name, array in (
            ("leftImg8bit", f"{stem}_leftImg8bit.png", pixels),
            ("gtFine", f"{stem}_gtFine_labelIds.png", labels),
        ):
            folder = root / "cityscapes" / kind / part / city
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "train", "aachen", [7, 33])
    write(tmp_path, "train", "bochum", [0])
    write(tmp_path, "train", "zurich", [26])
    write(tmp_path, "val", "frankfurt", [24])
    return tmp_path


def test_ids_become_train_ids_and_the_rest_is_void(root: Path) -> None:
    splits = data.load("cityscapes", root)

    upper = cityscapes.HEIGHT // 2
    expected = {"train": [0, 18], "val": [255, 13], "test": [11]}
    for part, classes in expected.items():
        labels = getattr(splits, part).labels
        assert labels.shape == (len(classes), cityscapes.HEIGHT, cityscapes.WIDTH)
        for label, train_id in zip(labels, classes, strict=True):
            assert np.unique(label[:upper]).tolist() == [train_id]
            assert np.unique(label[upper:]).tolist() == [0]
    assert splits.train.images[1, :, 0, 0].tolist() == [33, 100, 200]
    assert (splits.classes, splits.ignored) == (19, 255)


def test_the_train_ids_are_those_of_the_makers() -> None:
    named = {7: 0, 8: 1, 11: 2, 17: 5, 21: 8, 23: 10, 24: 11, 26: 13, 28: 15, 31: 16, 33: 18}
    void = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 34, 255)

    assert {k: int(cityscapes.TRAIN_IDS[k]) for k in named} == named
    assert {int(cityscapes.TRAIN_IDS[k]) for k in void} == {255}
    assert (cityscapes.TRAIN_IDS != 255).sum() == 19


def test_what_is_missing_is_said_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(data.ROOT_VARIABLE, raising=False)
    with pytest.raises(DataError, match=r"--data-root or \$FRESCO_DATA"):
        data.load("cityscapes")
    place = tmp_path / "cityscapes" / "leftImg8bit" / "train"
    with pytest.raises(DataError, match=f"no {place}: unpack leftImg8bit_trainvaltest.zip"):
        data.load("cityscapes", tmp_path)


def test_a_picture_without_labels_is_refused(root: Path) -> None:
    labels = root / "cityscapes/gtFine/val/frankfurt/frankfurt_000000_000000_gtFine_labelIds.png"
    labels.unlink()

    with pytest.raises(DataError, match=f"{labels} is missing"):
        data.load("cityscapes", root)


def test_too_few_cities_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", "aachen", [7])
    write(tmp_path, "val", "frankfurt", [7])

    with pytest.raises(DataError, match="holds 1 cities; 2 of them are for validation"):
        data.load("cityscapes", tmp_path)
