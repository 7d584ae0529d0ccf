"""What the control service answers, as it is sent. `openapi.py` makes the API's schemas from these.

A field that may be UNSET is left out of an answer where it says nothing.
"""

import math
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from emulator.build.known_fault import Applied, Known, State
from emulator.live.tiles import Tile
from emulator.runtime.steering import Phase
from emulator.views.panels import Panel

RESOLVED_MAX = 50  # names in an answer
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[list[Count], Meta(min_length=2, max_length=2)]
"""So many hosts, of so many. A list: tools stumble over the schema of a tuple."""
Value = float | None
"""None: nothing was measured."""


def respond(answer: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer),
        status=status,
        content_type="application/json",
        charset="utf-8",
    )


def readable(given: str) -> str:
    """Returns it as an answer can hold it: bytes that are no UTF-8 come as surrogates."""
    return given.encode(errors="replace").decode()


class Error(Struct, frozen=True):
    """Why a request was refused; `field` names what of it is wrong."""

    error: str
    field: str | UnsetType = UNSET


class Health(Struct, frozen=True):
    phase: Phase


class Run(Struct, frozen=True):
    """The run itself; `numbers` are the values of the tiles."""

    name: str
    protocol: str
    runtime: str
    seed: int
    duration_s: float
    time_scale: float
    phase: Phase
    hosts: Share
    waits_for: str
    now_s: float
    folder: str
    faults_active: Count
    numbers: dict[str, Value]


class Fault(Struct, frozen=True):
    """A fault: whom it hits (`n` links or nodes, the first of them by name) and how far it is."""

    id: Count
    state: State
    type: str
    at_s: float
    until_s: float | None  # None: to the end of the run
    ended_s: float | None
    for_s: float | None
    note: str
    params: dict[str, Any]
    source: str
    n: Count
    resolved: list[str]
    applied: Share | None

    @classmethod
    def of(cls, known: Known) -> "Fault":
        params, until_s = known.fault.described(), known.fault.until_s
        return cls(
            id=known.id,
            state=known.state,
            type=params.pop("type"),
            at_s=params.pop("at_s"),
            until_s=None if math.isinf(until_s) else until_s,
            ended_s=known.ended_s,
            for_s=params.pop("for_s", None),
            note=params.pop("note", ""),
            params=params,
            source=known.source,
            n=len(known.resolved),
            resolved=known.resolved[:RESOLVED_MAX],
            applied=None if known.applied is None else [known.applied.hosts, known.applied.of],
        )


class Faults(Struct, frozen=True):
    """Faults, and the radio links that let nothing through, as (user, base station)."""

    phase: Phase
    faults: list[Fault]
    cut: list[list[str]]
    now_s: float


class Done(Struct, frozen=True):
    """What became of a change; without `at_s` it is not in effect yet, and `warning` says why."""

    faults: list[Fault]
    extended: bool = False
    at_s: float | UnsetType = UNSET
    applied: Share | UnsetType = UNSET
    warning: str | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET

    @classmethod
    def of(cls, known: list[Known], extended: bool, applied: Applied | None, why: str) -> "Done":
        """`applied` None: no host obeys yet. `why` is what may hold hosts up, in words."""
        faults = list(map(Fault.of, known))
        if applied is None:
            return cls(faults, extended, warning=f"accepted, not in effect: {why}")
        warning: str | UnsetType = UNSET
        if applied.hosts < applied.of:
            warning = f"only {applied.hosts} of {applied.of} hosts said they obey"
            warning += f": {why}" if why else ""
        return cls(faults, extended, applied.at_s, [applied.hosts, applied.of], warning)


class Place(Struct, frozen=True):
    id: str
    at_m: list[float]


class BaseStation(Place, frozen=True):
    servers: list[str]


class User(Place, frozen=True):
    group: str
    priority: Count
    cells: list[str]


class AgeCode(Struct, frozen=True):
    """What the codes 0 and 255 of an age stand for; the steps between are logarithmic."""

    min_s: float
    max_s: float


class Topology(Struct, frozen=True):
    """Who is where, who hears whom and what is shown; it does not change in a run."""

    users: list[User]
    base_stations: list[BaseStation]
    servers: list[Place]
    age_code: AgeCode
    tiles: list[Tile]
    panels: list[Panel]


class History(Struct, frozen=True):
    """All curves so far: `columns` have one value for each instant."""

    at_s: list[float]
    columns: dict[str, list[Value]]


class Frame(Struct, frozen=True):
    """What moves: `row` continues the history, where one is due; `ages` are in base64."""

    now_s: float
    phase: Phase
    speed: float
    row: dict[str, Value] | None
    ages: str
    worst: list[tuple[str, float]]
    tiles: dict[str, Value]
    loss: dict[str, float]


class Change(Faults, frozen=True):
    """What people and chance changed; of the faults that ended only the newest."""

    run: Run
