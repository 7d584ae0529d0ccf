"""Reads Cityscapes as its makers lay it out; pictures are scaled down so that all fit in memory.

    ROOT/cityscapes/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png
    ROOT/cityscapes/gtFine/{train,val}/CITY/*_gtFine_labelIds.png

The set may not be passed on: who wants it registers at cityscapes-dataset.com (Cordts et al., CVPR
2016) and unpacks leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip. Its test labels are not
public, so its val split is our test split, and two whole cities of train are for validation.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pictures
from models.splits import VOID, DataError, Split, Splits

HEIGHT, WIDTH = 256, 512  # a quarter of each side: 1.2 GB for the 2,975 training pictures
HELD_CITIES = 2  # the last of train by name; whole cities, so that no street is on both sides
CLASSES = 19
# The id of each train id, in order: road, sidewalk, building, wall, fence, pole, traffic light,
# traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle,
# bicycle; all others are void (cityscapesscripts/helpers/labels.py).
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_IDS = np.full(256, VOID, dtype=np.uint8)
TRAIN_IDS[list(IDS)] = np.arange(CLASSES)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as is usual
PICTURE, LABELS = "_leftImg8bit.png", "_gtFine_labelIds.png"


def load(root: Path) -> Splits:
    """Loads all pictures and label maps at `HEIGHT` x `WIDTH`."""
    place = locate(root)
    cities = _cities(place, "train")
    if len(cities) <= HELD_CITIES:
        raise DataError(
            f"{place / 'leftImg8bit' / 'train'} holds {len(cities)} cities; {HELD_CITIES} of them "
            f"are for validation, so it takes {HELD_CITIES + 1} or more"
        )
    return Splits(
        _read(place, "train", cities[:-HELD_CITIES]),
        _read(place, "train", cities[-HELD_CITIES:]),
        _read(place, "val", _cities(place, "val")),
        CLASSES,
        255.0,
        MEAN,
        DEVIATION,
        ignored=VOID,
    )


def locate(root: Path) -> Path:
    """Returns the folder that holds Cityscapes; reads nothing."""
    place = root / "cityscapes"
    for kind in ("leftImg8bit", "gtFine"):
        for part in ("train", "val"):
            if not (place / kind / part).is_dir():
                raise DataError(
                    f"no {place / kind / part}: unpack {kind}_trainvaltest.zip from "
                    f"cityscapes-dataset.com in {place}"
                )
    return place


def _cities(place: Path, part: str) -> list[str]:
    folder = place / "leftImg8bit" / part
    found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not found:
        raise DataError(f"{folder} is empty; expected a folder for each city")
    return found


def _read(place: Path, part: str, cities: list[str]) -> Split:
    pictures = [
        path
        for city in cities
        for path in sorted((place / "leftImg8bit" / part / city).glob(f"*{PICTURE}"))
    ]
    if not pictures:
        raise DataError(f"no *{PICTURE} under {place / 'leftImg8bit' / part}")
    images = np.empty((len(pictures), 3, HEIGHT, WIDTH), dtype=np.uint8)
    labels = np.empty((len(pictures), HEIGHT, WIDTH), dtype=np.uint8)
    for number, path in enumerate(pictures):
        named = path.name.removesuffix(PICTURE) + LABELS
        reported = place / "gtFine" / part / path.parent.name / named
        images[number] = _scaled(path, "RGB").transpose(2, 0, 1)
        ids = _scaled(reported, "L")
        labels[number] = TRAIN_IDS[ids]
    return Split(images, labels)


def _scaled(path: Path, mode: str) -> NDArray[np.uint8]:
    """Reads a picture; labels (mode L) are picked, not mixed, when scaled."""
    how = Image.Resampling.NEAREST if mode == "L" else Image.Resampling.BOX
    return pictures.read(path, mode, (WIDTH, HEIGHT), how)
