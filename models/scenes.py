"""Street scenes painted from a seed: a small data set for segmentation that needs no download.

32 x 64 colour pictures with a label for each pixel. Light, colours, places and counts are drawn;
cars and people wear any colour, house fronts are as grey as the road, and every pixel is noisy, so
that shape and place have to tell what colour does not. The two lowest rows are the bonnet of the
car that looks, and do not count, as in Cityscapes. Integers only: the same bytes on any machine.
"""

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from models.splits import VOID, Split, Splits, in_colour

HEIGHT, WIDTH = 32, 64
NAMES = ("road", "building", "sky", "vegetation", "car", "person")
ROAD, BUILDING, SKY, VEGETATION, CAR, PERSON = range(len(NAMES))
SEED = 20
TRAIN, VAL, TEST = 800, 200, 400
BONNET = 2  # rows
RIGHT_SHARE = 0.9  # of a picture's pixels, for its answer to be right
BASE = ((105, 105, 110), (125, 115, 105), (160, 180, 205), (85, 115, 75))  # road to vegetation

Paint = NDArray[np.int64]


def load() -> Splits:
    """Paints all scenes; a second or so."""
    rng = np.random.default_rng(SEED)
    painted = [scene(rng) for _ in range(TRAIN + VAL + TEST)]
    images = np.stack([image for image, _ in painted])
    labels = np.stack([label for _, label in painted])
    first, second = TRAIN, TRAIN + VAL
    train = Split(images[:first], labels[:first])
    val = Split(images[first:second], labels[first:second])
    test = Split(images[second:], labels[second:])
    splits = in_colour(train, val, test, len(NAMES))
    return structs.replace(splits, ignored=VOID, right_share=RIGHT_SHARE)


def scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paints one scene: its picture uint8 [3, H, W], its labels uint8 [H, W]."""
    canvas = Canvas(rng)
    horizon = int(rng.integers(11, 18))
    canvas.fill(0, horizon, 0, WIDTH, SKY)
    canvas.fill(horizon, HEIGHT, 0, WIDTH, VEGETATION)
    for _ in range(int(rng.integers(2, 6))):
        _house(canvas, rng, horizon)
    for _ in range(int(rng.integers(1, 5))):
        _tree(canvas, rng, horizon)
    _road(canvas, rng, horizon)
    things = [_car] * int(rng.integers(0, 4)) + [_person] * int(rng.integers(0, 5))
    feet = sorted(int(rng.integers(horizon + 2, HEIGHT - 1)) for _ in things)  # far ones first
    for thing, foot in zip(rng.permutation(len(things)), feet, strict=True):
        things[thing](canvas, rng, foot, foot - horizon)
    canvas.labels[-BONNET:] = VOID
    canvas.colours[-BONNET:] = canvas.colour(CAR)
    return canvas.photograph(), canvas.labels


class Canvas:
    """Colours int64 [H, W, 3] and labels [H, W]; what is painted later hides what was there."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.colours: Paint = np.zeros((HEIGHT, WIDTH, 3), dtype=np.int64)
        self.labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)

    def colour(self, kind: int) -> Paint:
        if kind in (CAR, PERSON):
            return self._rng.integers(20, 230, 3)
        return np.array(BASE[kind]) + self._rng.integers(-30, 31) + self._rng.integers(-15, 16, 3)

    def fill(self, top: int, bottom: int, left: int, right: int, kind: int) -> None:
        self.put(np.s_[max(0, top) : bottom, max(0, left) : max(0, right)], kind)

    def put(self, where: tuple[slice, slice] | NDArray[np.bool_], kind: int) -> None:
        self.colours[where] = self.colour(kind)
        self.labels[where] = kind

    def photograph(self) -> NDArray[np.uint8]:
        """Returns what a noisy camera makes of it: uint8 [3, H, W]."""
        light = int(self._rng.integers(60, 121))  # per cent
        noise = self._rng.integers(-28, 29, (2, HEIGHT, WIDTH, 3)).sum(axis=0)
        seen = np.clip(self.colours * light // 100 + noise, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(seen.transpose(2, 0, 1))


def _house(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    left, wide = int(rng.integers(-6, WIDTH - 4)), int(rng.integers(6, 20))
    top, bottom = int(rng.integers(1, horizon - 3)), horizon + int(rng.integers(0, 3))
    canvas.fill(top, bottom, left, left + wide, BUILDING)
    windows = np.s_[top + 1 : bottom - 1 : 3, max(0, left + 1) : max(0, left + wide - 1) : 3]
    canvas.colours[windows] = canvas.colours[windows] * 6 // 10


def _tree(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    row, column, radius = horizon - 3, int(rng.integers(0, WIDTH)), int(rng.integers(2, 6))
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    canvas.put((rows - row) ** 2 + (columns - column) ** 2 <= radius**2, VEGETATION)


def _road(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    middle, far, near = (
        int(rng.integers(20, 45)),
        int(rng.integers(2, 6)),
        int(rng.integers(24, 50)),
    )
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    half = far + (rows - horizon) * near // (HEIGHT - horizon)
    canvas.put((rows >= horizon) & (np.abs(columns - middle) <= half), ROAD)
    marks = np.s_[horizon + 1 : HEIGHT : 3, middle]
    canvas.colours[marks] = 200


def _car(canvas: Canvas, rng: np.random.Generator, foot: int, near: int) -> None:
    wide, high = 4 + near * 3 // 4, 2 + near // 4
    left = int(rng.integers(4, WIDTH - 4)) - wide // 2
    canvas.fill(foot - high, foot, left, left + wide, CAR)
    roof, inset = foot - high - high // 2 - 1, wide // 4
    canvas.fill(roof, foot - high, left + inset, left + wide - inset, CAR)
    canvas.colours[foot - 1, max(0, left) : max(0, left + wide)] //= 3  # wheels and shadow


def _person(canvas: Canvas, rng: np.random.Generator, foot: int, near: int) -> None:
    wide, high = 2 + near // 6, 4 + near // 2
    left = int(rng.integers(1, WIDTH - 4))
    canvas.fill(foot - high, foot, left, left + wide, PERSON)
    canvas.colours[max(0, foot - high), left : left + wide] = (190, 150, 125)  # the head
