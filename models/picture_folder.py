"""Reads a folder of pictures with one folder a class, as most people keep their own data set."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import pictures
from models.splits import DataError, Split, Splits, in_colour

SIDE = 32  # pixels of a side, after scaling
VAL, TEST = 0.1, 0.2  # shares of the pictures
CLUTTER = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})  # left by systems, as dot files are


def load(root: Path) -> Splits:
    """Loads `root/CLASS/PICTURE`, scaled to `SIDE` x `SIDE`; cut in three by a hash of the name."""
    classes = classes_of(root)
    parts: dict[str, list[tuple[NDArray[np.uint8], int]]] = {"train": [], "val": [], "test": []}
    for number, name in enumerate(classes):
        for path in _kept(root / name):
            drawn = hashlib.sha256(path.name.encode()).digest()[0] / 256.0
            part = "test" if drawn < TEST else "val" if drawn < TEST + VAL else "train"
            pixels = pictures.read(path, size=(SIDE, SIDE))
            parts[part].append((pixels.transpose(2, 0, 1), number))
    for part, found in parts.items():
        if not found:
            raise DataError(f"{root} has too few pictures: none fell to the {part} split")
    cut = {
        part: Split(
            np.stack([i for i, _ in found]), np.array([n for _, n in found], dtype=np.int64)
        )
        for part, found in parts.items()
    }
    return in_colour(cut["train"], cut["val"], cut["test"], len(classes))


def classes_of(root: Path) -> list[str]:
    """Returns the names of the classes; DataError if there are fewer than two. Opens no picture."""
    classes = [path.name for path in _kept(root) if path.is_dir()] if root.is_dir() else []
    if len(classes) < 2:
        raise DataError(
            f"{root} holds {len(classes)} folders; expected one for each class, with its pictures"
        )
    return classes


def _kept(folder: Path) -> list[Path]:
    """Lists what is in a folder, by name, but for what editors and systems leave there."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in CLUTTER
    )
