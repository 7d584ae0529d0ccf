"""Whether Python finds our packages, or others of the same names."""

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def misplaced() -> str:
    """Says which of our packages another distribution shadows; empty when all is well.

    `agents` and `models` are common names: whoever installed another package of that name last
    would be imported instead of ours, and fail far from the cause.
    """
    for name in ("agents", "models"):
        spec = find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != ROOT / name / "__init__.py":
            return (
                f"fresco: the package '{name}' that Python finds is not ours\n"
                f"  found:    {found or 'nothing'}\n"
                f"  expected: {ROOT / name / '__init__.py'}\n"
                "  remedy:   install fresco in a virtual environment of its own, or remove the\n"
                f"            other distribution (`pip list` and look for '{name}')"
            )
    return ""
