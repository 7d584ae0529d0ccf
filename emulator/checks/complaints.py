"""What all checks of a scenario share: how they complain, whom they know, what they suggest."""

import csv
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from emulator.faults.selectors import NodeKind
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import members

Complaint = tuple[tuple[str | int, ...], str, str]
"""(place in the scenario, what is wrong, what to do)"""


def kinds_of(chosen: Scenario) -> Iterator[tuple[str, NodeKind]]:
    """Yields every node with its kind."""
    yield from ((name, "user") for name, _ in members(chosen.users))
    yield from ((name, "base_station") for name, _ in members(chosen.base_stations))
    yield from ((name, "server") for name, _ in members(chosen.servers))


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Returns the known word that an unknown one seems to mean."""
    return next(iter(get_close_matches(given, list(known), n=1, cutoff=0.5)), None)


def suggest(given: str, known: Iterable[str]) -> str:
    """Returns the remedy for an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = nearest(given, names)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"did you mean '{near}'?" if near is not None else f"known: {shown}"


def readable(
    where: tuple[str | int, ...], file: str, read: Callable[[Path], object]
) -> Iterator[Complaint]:
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
