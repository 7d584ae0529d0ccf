"""What all checks of a scenario share: how they complain, whom they know, what they suggest."""

import csv
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from agents.api import NodeKind
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import members

Where = tuple[str | int, ...]
"""Where in a scenario: ("users", 0, "arrival", "rate_hz")."""

Complaint = tuple[Where, str, str]
"""(where, what is wrong, what to do)"""


def kinds_of(chosen: Scenario) -> Iterator[tuple[str, NodeKind]]:
    """Yields every node with its kind."""
    yield from ((name, "user") for name, _ in members(chosen.users))
    yield from ((name, "base_station") for name, _ in members(chosen.base_stations))
    yield from ((name, "server") for name, _ in members(chosen.servers))


RENAMED = {
    "law": "distribution",
    "stay_max_s": "sojourn_max_s",
    "stay_max_ratio": "sojourn_max_ratio",
}
"""Keys and metrics that had another name before."""


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Returns the known word that an unknown one seems to mean."""
    known = list(known)
    if RENAMED.get(given) in known:
        return RENAMED[given]
    return next(iter(get_close_matches(given, known, n=1, cutoff=0.5)), None)


def suggest(given: str, known: Iterable[str]) -> str:
    """Returns the remedy for an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = nearest(given, names)
    if near is not None and near == RENAMED.get(given):
        return f"'{given}' is now called '{near}'"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"did you mean '{near}'?" if near is not None else f"known: {shown}"


def readable(where: Where, file: str, read: Callable[[Path], object]) -> Iterator[Complaint]:
    """Checks that what a scenario names is there, and is what `read` reads."""
    try:
        read(Path(file))
    except FileNotFoundError:
        text = f"there is no file {Path(file).name} in {Path(file).parent}"
        yield where, text, "name it relative to the scenario"
    except OSError as error:
        yield where, f"{Path(file).name} cannot be read: {error.strerror}", "name a text file"
    except (ValueError, csv.Error) as error:
        yield where, str(error), "see docs/scenarios.md"
