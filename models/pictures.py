"""Reads one picture file, or says why it cannot be read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.splits import DataError


def read(
    path: Path,
    mode: str = "RGB",
    size: tuple[int, int] | None = None,
    how: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[np.uint8]:
    """Returns pixels uint8 [H, W, 3], or [H, W] in mode L, scaled to `size` (width, height)."""
    if not path.exists():
        raise DataError(f"{path} is missing")
    try:
        with Image.open(path) as opened:
            picture = opened.convert(mode)
            return np.asarray(picture if size is None else picture.resize(size, how))
    # Beside OSError, Pillow's readers raise these on damaged or enormous files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is no picture that can be read ({error}); repair or remove it"
        ) from error
