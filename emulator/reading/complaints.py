"""What all checks of a scenario share: how they complain, whom they know, what they suggest."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from emulator.faults.selectors import NodeKind
from emulator.spec.scenario import Scenario
from emulator.spec.topology import members

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
