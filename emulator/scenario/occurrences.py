"""When each fault happens and whom it hits: repetition, chance and choice, decided once.

What comes out are faults that name their targets and leave nothing to chance: these are what
kernels get, the journal keeps and a replay repeats. Every draw has a named stream, so a fault more
shifts no choice of another.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agents.api import NodeKind
from agents.blocks import begin_of, next_block
from agents.messages import NodeId
from emulator.faults.activation import FaultOrder
from emulator.faults.fold import AnyFault
from emulator.faults.link_types import Partition
from emulator.faults.selectors import Place, is_plain, select
from emulator.scenario.topology import Layout, members
from emulator.streams import Streams

if TYPE_CHECKING:
    from emulator.scenario.schema import Scenario

OCCURRENCES_MAX = 1000  # of one fault in a run
CERTAIN = {"every_s": None, "probability": 1.0, "mode": "all", "value": None}
NOWHERE_M = (math.nan, math.nan)
Places = dict[NodeId, Place]


def places_of(chosen: "Scenario", layout: Layout | None) -> Places:
    """Returns what selectors can tell the nodes of a scenario by.

    Whose place nobody tells, as without a layout nobody's is, lies in no area.
    """
    position_m = {} if layout is None else layout.placed_m

    def place(kind: NodeKind, name: NodeId, group: str, **known: Any) -> Place:
        return Place(kind, group, *position_m.get(name, NOWHERE_M), **known)

    found = {
        name: place("user", name, user.name, priority=user.priority, computes=user.cpu is not None)
        for name, user in members(chosen.users)
    }
    for name, cell in members(chosen.base_stations):
        found[name] = place("base_station", name, cell.name, channels=cell.channels or 0)
    for name, server in members(chosen.servers):
        found[name] = place("server", name, server.name, computes=True)
    return found


def schedule(chosen: "Scenario", places: Places) -> list[FaultOrder]:
    """Returns the orders that a scenario's faults amount to; each ends by its own `for_s`."""
    streams, orders = Streams(chosen.seed), []
    seen = Counter[tuple[str, str]]()
    for number, fault in enumerate(chosen.faults):
        what = fault.type, whom_of(fault)
        alike = str(seen[what])  # equal faults choose each for itself
        seen[what] += 1
        for at_s in begins_s(fault, chosen.duration_s):
            settled = settle(
                fault.model_copy(update={"at_s": at_s}), places, streams, repr(at_s), alike
            )
            if settled is not None:
                orders.append(FaultOrder(at_s, "begin", number, settled))
    return orders


def begins_s(fault: AnyFault, duration_s: float) -> list[float]:
    """Returns the instants in a run at which a fault begins, the first in any case."""
    if fault.every_s is None:
        return [fault.at_s]
    count = max(1, next_block(duration_s - fault.at_s, fault.every_s))
    return [
        begin_of(k, fault.every_s, fault.at_s) if k else fault.at_s
        for k in range(min(count, OCCURRENCES_MAX))
    ]


def settle(fault: AnyFault, places: Places, streams: Streams, *which: str) -> AnyFault | None:
    """Returns the fault with its targets by name and nothing left to chance; None: it is spared.

    `which` tells this occurrence from others of the same fault.
    """
    what = (fault.type, whom_of(fault), *which)
    if fault.probability < 1.0 and streams.uniform("fault-chance", *what)() >= fault.probability:
        return None
    changes: dict[str, object] = dict(CERTAIN)
    if isinstance(fault, Partition):
        changes["a"] = [named(fault, whom_of(fault), places, streams, what)]
        changes["b"] = [by_name(",".join(fault.b), meant(fault, ",".join(fault.b), places), places)]
    elif "->" in fault.target:
        left, right = fault.target.split("->", 1)
        ends = (
            named(fault, left, places, streams, what),
            by_name(right, meant(fault, right, places), places),
        )
        changes["target"] = "->".join(ends)
    else:
        changes["target"] = named(fault, fault.target, places, streams, what)
    return fault.model_copy(update=changes)


def whom_of(fault: AnyFault) -> str:
    """Returns the selector that the fault's mode chooses from, of a link with its far end."""
    return ",".join(fault.a) if isinstance(fault, Partition) else fault.target


def certain(fault: AnyFault) -> AnyFault:
    """Returns the fault as it would hit everybody it means, for certain."""
    return fault.model_copy(update=CERTAIN)


def as_settled(fault: AnyFault, settled: AnyFault) -> AnyFault:
    """Returns the fault with the targets that another of its type was settled on."""
    targets = {key: getattr(settled, key) for key in ("target", "a", "b") if hasattr(settled, key)}
    return fault.model_copy(update={**CERTAIN, **targets})


def named(
    fault: AnyFault, selector: str, places: Places, streams: Streams, what: Iterable[str]
) -> str:
    """Names the nodes of `selector` that the fault's mode chooses."""
    names = meant(fault, selector, places)
    count = how_many(fault, len(names))
    if count < len(names):
        # A draw for each name: one node more or less changes the others' luck little.
        luck = {name: streams.uniform("fault-choice", *what, fault.mode, name)() for name in names}
        lucky = set(sorted(names, key=lambda name: luck[name])[:count])
        names = [name for name in names if name in lucky]
    return by_name(selector, names, places)


def by_name(selector: str, names: list[NodeId], places: Places) -> str:
    """Returns a selector of just these nodes that needs nothing but names; the old one if it can.

    A list of a thousand names is right, and nobody wants to read it.
    """
    if is_plain(selector) and len(select(selector, places)) == len(names):
        return selector
    return ",".join(names)


def meant(fault: AnyFault, selector: str, places: Places) -> list[NodeId]:
    """Returns the nodes that a selector means, of those that the fault can be about."""
    return [name for name in select(selector, places) if fault.may_mean(places[name])]


def how_many(fault: AnyFault, count: int) -> int:
    """Returns how many of `count` nodes the fault's mode chooses."""
    match fault.mode:
        case "one":
            return min(1, count)
        case "fixed":
            return min(int(fault.value or 0.0), count)
        case "percent":
            exact = count * (fault.value or 0.0) / 100.0
            return math.ceil(exact - 1e-9)  # what is whole but for rounding stays as it is
    return count
