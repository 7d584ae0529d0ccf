"""The scenarios that Fresco comes with, by their names."""

from difflib import get_close_matches
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def names() -> list[str]:
    return sorted(file.stem for file in _shelf().glob("*.yaml"))


def find(name: str) -> Path:
    """Returns the file of a path or a name; LookupError with what there is where there is none."""
    path = Path(name)
    if path.exists() or path.suffix:
        return path
    known = names()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"Fresco comes with {', '.join(known)}"
        raise LookupError(f"there is no file '{name}' and no scenario of that name; {hint}")
    return _shelf() / f"{name}.yaml"


def _shelf() -> Path:
    places = (PACKAGE / "scenarios", PACKAGE.parent / "scenarios")
    return next(place for place in places if place.exists())
