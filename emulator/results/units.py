"""Units of what is shown, and how people read values in them: the one place that knows.

A unit is `s`, `ratio`, `per s`, the name of what is counted (`tasks`), or nothing.
"""

SUFFIXES = {"s": "_seconds", "ratio": "_ratio", "per s": "_per_second"}
"""What a name in Prometheus ends with."""


def scaled(unit: str, largest: float) -> tuple[float, str]:
    """Returns what values up to `largest` are multiplied by, and what they are shown in then."""
    match unit:
        case "s":
            return (1e3, "ms") if largest < 0.9995 else (1.0, "s")
        case "ratio":
            return 100.0, "%"
        case "per s":
            return 1.0, "/s"
        case _:
            return 1.0, ""


def readable(unit: str, value: float | None) -> str:
    """Formats a value for people: three digits and its unit."""
    if value is None:
        return "-"
    factor, shown = scaled(unit, abs(value))
    if shown:
        return f"{factor * value:.3g} {shown}"
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"
