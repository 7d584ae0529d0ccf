"""A curve with confidence intervals, as SVG: what sweeps and trade-offs are drawn with."""

import math
from collections.abc import Callable, Sequence
from html import escape

from msgspec import Struct

SIZE_PX = (520.0, 300.0)
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 74.0, 34.0, 34.0, 50.0
TICKS = 5  # about so many on an axis
LOG_TICKS = 8  # at most so many powers of ten on an axis
LOG_DECADES = 3.0  # from so many on, only powers of ten
CAP_PX = 4.0  # half the width of a whisker's ends
NAME_PX = 60.0  # what the name of a point takes, at most
Words = Callable[[float], str]


class Point(Struct, frozen=True):
    """One point, its name, and the half width of the interval of `y`."""

    x: float
    y: float
    half_width: float
    name: str


class Axis(Struct, frozen=True):
    """What an axis says: its title, how a value on it reads, and where its ticks are."""

    title: str
    words: Words
    ticks: Sequence[float] = ()  # empty: round values


def curve(points: Sequence[Point], across: Axis, up: Axis) -> str:
    """Draws the points joined in the order given, each with its name and interval.

    The horizontal axis is logarithmic where positive values span more than a decade.
    """
    width, height = SIZE_PX
    right, bottom = width - RIGHT_PX, height - BOTTOM_PX
    xs = [p.x for p in points]
    is_log = min(xs) > 0.0 and max(xs) > 10.0 * min(xs)
    x_of = _axis(xs, LEFT_PX + 14.0, right - 14.0, is_log)
    ends = [p.y + side * p.half_width for p in points for side in (-1.0, 1.0)]
    y_of = _axis(ends, bottom - 8.0, TOP_PX + 8.0, is_log=False)
    shapes = []
    for value in _apart(ticks(min(ends), max(ends)), up.words):
        y = y_of(value)
        shapes.append(f'<path class="rule" d="M{LEFT_PX:.0f},{y:.1f}H{right:.0f}"/>')
        shapes.append(_text(LEFT_PX - 8.0, y + 4.0, "end", up.words(value)))
    rounds = log_ticks if is_log else ticks
    for value in across.ticks or _apart(rounds(min(xs), max(xs)), across.words):
        x = x_of(value)
        shapes.append(f'<path class="rule" d="M{x:.1f},{TOP_PX:.0f}V{bottom:.0f}"/>')
        shapes.append(_text(x, bottom + 18.0, "middle", across.words(value)))
    shapes.append(f'<path class="axis" d="M{LEFT_PX:.0f},{TOP_PX:.0f}V{bottom:.0f}H{right:.0f}"/>')
    path = " ".join(f"{x_of(p.x):.1f},{y_of(p.y):.1f}" for p in points)
    shapes.append(f'<polyline class="swept" points="{path}"/>')
    for p in points:
        x, y = x_of(p.x), y_of(p.y)
        low, high = y_of(p.y - p.half_width), y_of(p.y + p.half_width)
        caps = "".join(f"M{x - CAP_PX:.1f},{end:.1f}h{2 * CAP_PX:.0f}" for end in (low, high))
        said = f"{p.name}: {across.words(p.x)}, {up.words(p.y)} ± {up.words(p.half_width)}"
        shapes.append(
            f'<path class="whisker" d="M{x:.1f},{low:.1f}V{high:.1f}{caps}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--c0)">'
            f"<title>{escape(said)}</title></circle>"
        )
        # A name at the right end would be cut off there: it goes to the other side.
        anchor, aside = ("end", -7.0) if x > right - NAME_PX else ("start", 7.0)
        name = _text(x + aside, y - 8.0, anchor, p.name)
        shapes.append(name.replace("<text ", '<text class="name" ', 1))
    shapes.append(_text((LEFT_PX + right) / 2.0, height - 8.0, "middle", across.title))
    shapes.append(_text(4.0, 16.0, "start", up.title))
    label = escape(f"{up.title} against {across.title}")
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )


def ticks(low: float, high: float) -> list[float]:
    """Returns round values between two: multiples of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * (1.0 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times the powers of ten between two positive values; where these are so
    far apart that the words would touch, only every so many powers."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    decades = math.log10(high / low)
    rounds = (1.0, 2.0, 5.0) if decades < LOG_DECADES else (1.0,)
    powers = range(first, last + 1, max(1, math.ceil(decades / LOG_TICKS)))
    every = [m * 10.0**power for power in powers for m in rounds]
    return [value for value in every if low <= value <= high]


def _apart(values: Sequence[float], words: Words) -> list[float]:
    """Leaves out what would read as the value before it."""
    return [v for n, v in enumerate(values) if n == 0 or words(v) != words(values[n - 1])]


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _axis(
    values: Sequence[float], at_low: float, at_high: float, is_log: bool
) -> Callable[[float], float]:
    """Returns the map from values to pixels."""
    low, high = min(values), max(values)
    if is_log:
        return lambda v: at_low + (at_high - at_low) * math.log(v / low) / math.log(high / low)
    span = (high - low) or 1.0
    return lambda v: at_low + (at_high - at_low) * (v - low) / span
