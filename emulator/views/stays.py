"""How long tasks stayed, against what was promised: a histogram per kind of task, as SVG.

Up: tasks that a server finished; down: those that were given up. Both axes of counts are
logarithmic, because a guarantee is about the last task and not about the many.
"""

import math
from collections.abc import Sequence
from html import escape

from msgspec import Struct

from emulator.views.terminal import readable

WIDTH_PX, ROW_PX, HALF_PX = 1100.0, 150.0, 52.0
LEFT_PX, RIGHT_PX = 110.0, 130.0
BEYOND = 1.08  # of the deadline: where the axis ends, so that what broke it has a place


class Stays(Struct, frozen=True):
    """One kind of task. Counts are of equal bins up to the deadline, and last of all beyond it."""

    label: str
    deadline_s: float
    bound_s: float | None  # None: the protocol proves none
    longest_s: float
    finished: Sequence[int]
    given_up: Sequence[int]


def histogram(kinds: Sequence[Stays]) -> str:
    """Draws one row per kind, each with an axis of its own from 0 to its deadline."""
    most = max((max(*kind.finished, *kind.given_up) for kind in kinds), default=0)
    rows = "".join(_row(kind, ROW_PX * number, most) for number, kind in enumerate(kinds))
    height = ROW_PX * len(kinds)
    said = "; ".join(
        f"{kind.label}: longest sojourn time {readable('_s', kind.longest_s)} "
        f"of {readable('_s', kind.deadline_s)}"
        for kind in kinds
    )
    return (
        f'<svg viewBox="0 0 {WIDTH_PX:.0f} {height:.0f}" role="img" aria-label="{escape(said)}">'
        f"{rows}</svg>"
        '<p class="soft"><span class="key k0"></span>finished (up)'
        '<span class="key k1"></span>given up (down); both logarithmic, warm-up included. '
        "A bar to the right of the deadline would be a violation.</p>"
    )


def _row(kind: Stays, top: float, most: int) -> str:
    middle, end = top + 24.0 + HALF_PX, WIDTH_PX - RIGHT_PX
    span_s = BEYOND * kind.deadline_s

    def x_of(sojourn_s: float) -> float:
        return LEFT_PX + (end - LEFT_PX) * sojourn_s / span_s

    def height_of(count: int) -> float:
        return HALF_PX * math.log1p(count) / math.log1p(most) if count else 0.0

    shapes = []
    bins = len(kind.finished) - 1
    for number, (up, down) in enumerate(zip(kind.finished, kind.given_up, strict=True)):
        low_s = kind.deadline_s * number / bins
        high_s = kind.deadline_s * (number + 1) / bins if number < bins else span_s
        x, width = x_of(low_s) + 0.5, x_of(high_s) - x_of(low_s) - 1.0
        where = f"{readable('_s', low_s)} to {readable('_s', high_s)}"
        if number == bins:
            where = f"beyond {readable('_s', low_s)}"
        for count, colour, y in ((up, 0, middle - height_of(up)), (down, 1, middle)):
            if count:
                shapes.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{height_of(count):.1f}" fill="var(--c{colour})">'
                    f"<title>{where}: {count:,} tasks</title></rect>"
                )
    for counts, side in ((kind.finished, -1.0), (kind.given_up, 1.0)):
        if tallest := max(counts):  # names the scale
            low_s = kind.deadline_s * counts.index(tallest) / bins
            y = middle + side * height_of(tallest) + (12.0 if side > 0.0 else -4.0)
            shapes.append(_text(x_of(low_s), y, "start", f"{tallest:,}"))
    shapes.append(f'<path class="axis" d="M{LEFT_PX:.0f},{middle:.1f}H{end:.1f}"/>')
    low = middle + HALF_PX
    for quarter in range(4):
        at_s = kind.deadline_s * quarter / 4
        shapes.append(_text(x_of(at_s), low + 14.0, "middle", readable("_s", at_s)))
    due_x = x_of(kind.deadline_s)
    shapes.append(f'<path class="due" d="M{due_x:.1f},{top + 8:.1f}V{low:.1f}"/>')
    shapes.append(_text(due_x, low + 14.0, "middle", readable("_s", kind.deadline_s)))
    shapes.append(_text(due_x + 6.0, top + 18.0, "start", "deadline"))
    if kind.bound_s is not None:
        x = x_of(kind.bound_s)
        shapes.append(f'<path class="bound" d="M{x:.1f},{top + 8:.1f}V{low:.1f}"/>')
        shapes.append(_text(x - 6.0, top + 18.0, "end", f"bound {readable('_s', kind.bound_s)}"))
    x = x_of(min(kind.longest_s, span_s))
    shapes.append(f'<path class="longest" d="M{x:.1f},{middle - 6:.1f}l5,6l-5,6l-5,-6z"/>')
    share = kind.longest_s / kind.deadline_s
    shapes.append(_text(LEFT_PX - 12.0, middle - 8.0, "end", kind.label))
    words = f"longest {readable('_s', kind.longest_s)}"
    shapes.append(_text(end + 8.0, middle - 2.0, "start", words))
    shapes.append(_text(end + 8.0, middle + 14.0, "start", f"{100.0 * share:.0f} % of deadline"))
    return "".join(shapes)


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
