"""How measured times spread, as SVG: one column a group, one mark a kind beside each other."""

from collections.abc import Sequence
from html import escape

from msgspec import Struct

SIZE_PX = (920.0, 340.0)
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64.0, 16.0, 28.0, 46.0
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95, 0.99)
TICKS = 4


class Spread(Struct, frozen=True):
    """The `QUANTILES` of one kind in one group, and what they are in words."""

    group: str
    kind: int
    values: Sequence[float]
    text: str


def spreads(found: Sequence[Spread], groups_name: str, values_name: str, unit: float) -> str:
    """Draws 5 to 95 % as a line, 25 to 75 % as a bar, the median across it, 99 % as a dot.

    `unit` is what a value is multiplied by for the numbers at the axis.
    """
    width, height = SIZE_PX
    right, bottom = width - RIGHT_PX, height - BOTTOM_PX
    groups = list(dict.fromkeys(each.group for each in found))
    kinds = sorted({each.kind for each in found})
    column_px = (right - LEFT_PX) / len(groups)
    step_px = column_px / (len(kinds) + 1)
    most = max(max(each.values) for each in found)

    def y(value: float) -> float:
        return bottom - (bottom - TOP_PX) * value / most

    shapes = [f'<path class="axis" d="M{LEFT_PX:.0f},{TOP_PX:.0f}V{bottom:.0f}H{right:.0f}"/>']
    for tick in range(TICKS + 1):
        value = most * tick / TICKS
        shapes.append(_text(LEFT_PX - 8.0, y(value) + 4.0, "end", f"{value * unit:.3g}"))
    for each in found:
        middle = LEFT_PX + column_px * groups.index(each.group)
        middle += step_px * (1 + kinds.index(each.kind))
        low, below, median, above, high, extreme = map(y, each.values)
        half = min(9.0, step_px * 0.35)
        colour = f"var(--c{each.kind})"
        shapes.append(
            f'<g stroke="{colour}" fill="{colour}"><title>{escape(each.text)}</title>'
            f'<path d="M{middle:.1f},{low:.1f}V{high:.1f}" stroke-width="1.6"/>'
            f'<rect x="{middle - half:.1f}" y="{above:.1f}" width="{2.0 * half:.1f}" '
            f'height="{max(below - above, 1.0):.1f}" fill-opacity="0.35"/>'
            f'<path d="M{middle - half:.1f},{median:.1f}h{2.0 * half:.1f}" stroke-width="2.4"/>'
            f'<circle cx="{middle:.1f}" cy="{extreme:.1f}" r="2.5"/></g>'
        )
    for number, group in enumerate(groups):
        centre = LEFT_PX + column_px * (number + 0.5)
        shapes.append(_text(centre, bottom + 16.0, "middle", group))
    shapes.append(_text((LEFT_PX + right) / 2.0, height - 8.0, "middle", groups_name))
    shapes.append(_text(4.0, 14.0, "start", values_name))
    label = escape(f"{values_name} by {groups_name}")
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
