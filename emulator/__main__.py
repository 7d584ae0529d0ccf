"""`python -m emulator` and the console script `fresco`."""

import sys
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


def main() -> None:
    if complaint := misplaced():
        print(complaint, file=sys.stderr)
        sys.exit(2)
    from emulator.cli import fresco

    fresco(prog_name="fresco")


if __name__ == "__main__":
    main()
