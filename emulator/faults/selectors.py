"""Whom a fault means: selectors of nodes.

A selector is a comma-separated union; what begins with `!` is taken away again. A part is a name
or glob (`user-*`), `group:NAME`, `priority:N` (the users of that class), or `area:x0,y0,x1,y1` in
the scenario's metres, whose commas are its own.
"""

import math
import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import AfterValidator

from agents.messages import NodeId

NodeKind = Literal["user", "base_station", "server"]


class Place(Struct, frozen=True, gc=False):
    """What selectors can tell a node by, and faults whether it is for them.

    `channels` are the shared ones of a base station; who `computes` has an accelerator.
    """

    kind: NodeKind
    group: str
    x_m: float
    y_m: float
    priority: int | None = None  # None: not a user
    channels: int = 0
    computes: bool = False


class _Union:
    """The parts on one side of a selector: those it takes in, or those it takes away."""

    def __init__(self, parts: list[str]) -> None:
        self._groups = {p.removeprefix("group:") for p in parts if p.startswith("group:")}
        self._priorities = {_priority(p) for p in parts if p.startswith("priority:")}
        self._areas_m = [_area_m(p) for p in parts if p.startswith("area:")]
        names = [p for p in parts if ":" not in p]
        self._names = {name for name in names if not set(name) & set("*?[")}
        globs = [translate(name) for name in names if name not in self._names]
        self._pattern = re.compile("|".join(globs)) if globs else None

    def has(self, name: NodeId, place: Place | None) -> bool:
        if name in self._names or (self._pattern and self._pattern.fullmatch(name)):
            return True
        return place is not None and (
            place.group in self._groups
            or place.priority in self._priorities
            or any(
                x0 <= place.x_m <= x1 and y0 <= place.y_m <= y1 for x0, y0, x1, y1 in self._areas_m
            )
        )


def selects(selector: str, name: NodeId, place: Place | None = None) -> bool:
    """Says whether a selector means a node; without its place only names and globs can."""
    wanted, unwanted = _read(selector)
    return wanted.has(name, place) and not unwanted.has(name, place)


def select(selector: str, places: Mapping[NodeId, Place]) -> list[NodeId]:
    """Returns the nodes that a selector means, in the scenario's order."""
    return [name for name, place in places.items() if selects(selector, name, place)]


def is_plain(selector: str) -> bool:
    """Says whether names alone tell whom a selector means."""
    return ":" not in selector


def parts(selector: str) -> list[str]:
    """Splits a selector at its commas, but not at those of an area."""
    words = [word.strip() for word in selector.split(",")]
    found = []
    while words:
        length = 4 if words[0].removeprefix("!").startswith("area:") else 1
        found.append(",".join(words[:length]))
        words = words[length:]
    return found


@lru_cache(maxsize=1024)
def _read(selector: str) -> tuple[_Union, _Union]:
    found = parts(selector)
    wanted = _Union([part for part in found if not part.startswith("!")])
    return wanted, _Union([part[1:] for part in found if part.startswith("!")])


def _priority(part: str) -> int:
    number = part.removeprefix("priority:")
    if not number.isdecimal():
        raise ValueError(f"'{part}': a priority is priority:N, N from 0")
    return int(number)


def _area_m(part: str) -> tuple[float, float, float, float]:
    try:
        corners = [float(number) for number in part.removeprefix("area:").split(",")]
    except ValueError:
        corners = []
    if len(corners) != 4 or not all(map(math.isfinite, corners)):
        raise ValueError(f"'{part}': an area is area:x0,y0,x1,y1, four numbers in metres")
    (x0, x1), (y0, y1) = sorted(corners[::2]), sorted(corners[1::2])
    return x0, y0, x1, y1


def _well_formed(selector: str) -> str:
    for end in selector.split("->", 1):
        for part in parts(end):
            word, colon, _ = part.removeprefix("!").partition(":")
            if colon and word not in ("group", "priority", "area"):
                raise ValueError(f"'{part}': a selector is a name, group:, priority: or area:")
        _read(end)
    return selector


def _no_link(selector: str) -> str:
    if "->" in selector:
        raise ValueError(f"'{selector}': this fault names nodes, not a link")
    return selector


Selector = Annotated[str, AfterValidator(_well_formed)]
NodeSelector = Annotated[Selector, AfterValidator(_no_link)]
