"""A curve with confidence intervals, as SVG: what sweeps and trade-offs are drawn with."""

import math
from collections.abc import Callable, Sequence
from html import escape

from msgspec import Struct

SIZE_PX = (460.0, 260.0)
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 78.0, 30.0, 40.0, 46.0
NAME_PX = 60.0  # what the name of a point takes, at most


class Point(Struct, frozen=True):
    """One point: its name, the half width of the interval of `y`, and both values in words."""

    x: float
    y: float
    half_width: float
    name: str
    x_text: str
    y_text: str


def curve(points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Draws the points joined in the order given.

    An axis of positive values that span more than a decade is logarithmic.
    """
    width, height = SIZE_PX
    right, bottom = width - RIGHT_PX, height - BOTTOM_PX
    x_of = _axis([p.x for p in points], LEFT_PX + 12.0, right - 12.0, may_be_log=True)
    ends = [p.y + side * p.half_width for p in points for side in (-1.0, 1.0)]
    y_of = _axis(ends, bottom - 8.0, TOP_PX + 8.0, may_be_log=False)
    path = " ".join(f"{x_of(p.x):.1f},{y_of(p.y):.1f}" for p in points)
    shapes = [
        f'<path class="axis" d="M{LEFT_PX:.0f},{TOP_PX:.0f}V{bottom:.0f}H{right:.0f}"/>',
        f'<polyline class="swept" points="{path}"/>',
    ]
    for p in points:
        x, y = x_of(p.x), y_of(p.y)
        low, high = y_of(p.y - p.half_width), y_of(p.y + p.half_width)
        shapes.append(
            f'<path class="whisker" d="M{x:.1f},{low:.1f}V{high:.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="var(--c0)">'
            f"<title>{escape(p.name)}: {escape(p.y_text)}</title></circle>"
        )
        # A name at the right end would be cut off there: it goes to the other side.
        anchor, aside = ("end", -6.0) if x > right - NAME_PX else ("start", 6.0)
        shapes.append(_text(x + aside, y - 8.0, anchor, p.name))
    lowest, highest = min(points, key=lambda p: p.y), max(points, key=lambda p: p.y)
    for p in {lowest.y_text: lowest, highest.y_text: highest}.values():
        shapes.append(_text(LEFT_PX - 8.0, y_of(p.y) + 4.0, "end", p.y_text))
    first, last = min(points, key=lambda p: p.x), max(points, key=lambda p: p.x)
    for p in {first.x_text: first, last.x_text: last}.values():
        shapes.append(_text(x_of(p.x), bottom + 16.0, "middle", p.x_text))
    shapes.append(_text((LEFT_PX + right) / 2.0, height - 8.0, "middle", x_name))
    shapes.append(_text(4.0, 16.0, "start", y_name))
    label = escape(f"{y_name} against {x_name}")
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _axis(
    values: Sequence[float], at_low: float, at_high: float, may_be_log: bool
) -> Callable[[float], float]:
    """Returns the map from values to pixels."""
    low, high = min(values), max(values)
    if may_be_log and low > 0.0 and high > 10.0 * low:
        return lambda v: at_low + (at_high - at_low) * math.log(v / low) / math.log(high / low)
    span = (high - low) or 1.0
    return lambda v: at_low + (at_high - at_low) * (v - low) / span
