"""What the faults of a scenario must say, and which of them would do nothing. As in `check.py`."""

import math
from collections.abc import Iterator
from typing import get_args

from agents.messages import Beacon, Grant, Request, ServerReport, Vacate, tag_of
from agents.messages.slots import SlotControl
from agents.protocols import PROTOCOLS
from emulator.build.known_fault import hit_by, links_of
from emulator.build.plan import Plan
from emulator.checks import node_faults as check_node_faults
from emulator.checks.complaints import Complaint, Where, suggest
from emulator.faults.fold import AnyFault
from emulator.faults.link_types import (
    MessageDelay,
    MessageDrop,
    Partition,
)
from emulator.faults.node_types import NodeFault
from emulator.faults.radio import ChannelLoss
from emulator.faults.selectors import Place, is_plain, parts, selects
from emulator.scenario.occurrences import (
    OCCURRENCES_MAX,
    Places,
    certain,
    how_many,
    meant,
    places_of,
    settle,
    whom_of,
)
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import Layout
from emulator.streams import Streams


def problems(chosen: Scenario, tables: Layout | None) -> Iterator[Complaint]:
    """Checks every fault; `tables` None: the topology cannot be read, and another check says why.

    Then nobody knows who is in an area, and all else is asked as ever.
    """
    places = places_of(chosen, tables)
    for index, fault in enumerate(chosen.faults):
        yield from fault_problems(chosen, fault, places, ("faults", index), tables is not None)


def _targets(fault: AnyFault) -> list[tuple[str, str]]:
    """Returns every selector of a fault with its field; of `a->b` both ends."""
    if isinstance(fault, Partition):
        return [(key, each) for key in ("a", "b") for each in getattr(fault, key)]
    return [("target", end) for end in fault.target.split("->", 1)]


def fault_problems(
    chosen: Scenario, fault: AnyFault, places: Places, where: Where = (), has_map: bool = True
) -> Iterator[Complaint]:
    """Yields what is wrong with one fault, which stands at `where`, for this scenario."""
    fades = any(spec.has_snr for spec in chosen.channels)
    if fault.needs_snr and not fades:
        radio_kind = chosen.channel.kind
        text = f"{fault.type} needs a signal-to-noise ratio; a {radio_kind} channel has none"
        yield (*where, "type"), text, "use loss, or channel kind rayleigh"
    for key, selector in _targets(fault):
        possible = {name: at for name, at in places.items() if fault.may_mean(at)}
        lost = [name for name, at in possible.items() if math.isnan(at.x_m)]
        if "area:" in selector and lost:
            if has_map:
                text = f"'{selector}' asks where nodes are, and the topology does not say it"
                yield (*where, key), text, f"give '{lost[0]}' its x_m and y_m, or select by name"
        elif not meant(fault, selector, places):
            text = f"'{selector}' selects no {fault.whom}"
            yield (*where, key), text, _alternative(selector, possible)
    if isinstance(fault, NodeFault):
        hit = meant(fault, fault.target, places)
        for place, text, remedy in check_node_faults.problems(chosen, fault, hit):
            yield (*where, *place), text, remedy
    if isinstance(fault, ChannelLoss):
        for name in meant(fault, fault.target, places):
            count = places[name].channels
            if max(fault.channels) >= count:
                text = f"'{name}' has the channels 0 to {count - 1}, not {max(fault.channels)}"
                yield (*where, "channels"), text, "name channels that it has"
                break
    if fault.mode == "fixed":
        among = len(meant(fault, whom_of(fault).split("->")[0], places))
        if among and how_many(fault, among) < (fault.value or 0.0):
            text = f"{fault.value:g} nodes are to be chosen among {among}"
            yield (*where, "value"), text, "choose fewer, or set mode: all"
    if isinstance(fault, MessageDrop | MessageDelay) and chosen.protocol.kind in PROTOCOLS:
        known = message_types(chosen)
        for word in parts(fault.message):
            if not any(selects(word.removeprefix("!"), each) for each in known):
                text = f"'{word}' is no protocol message of this scenario"
                remedy = suggest(word, known) if known else "its nodes send none"
                yield (*where, "message"), text, remedy
    if fault.every_s is not None:
        times = (chosen.duration_s - fault.at_s) / fault.every_s
        if times > OCCURRENCES_MAX:
            text = f"it would happen {times:.0f} times, {OCCURRENCES_MAX} are the most"
            yield (*where, "every_s"), text, "repeat it more rarely"


def message_types(chosen: Scenario) -> list[str]:
    """Returns the types of protocol messages that a scenario can have; none of an unknown one."""
    protocol = PROTOCOLS.get(chosen.protocol.kind)
    if protocol is None:
        return []
    access = {group.access for group in chosen.base_stations}
    bodies: list[type] = []
    if "scheduled" in access:
        bodies += get_args(SlotControl)
    else:
        bodies += protocol.says
        bodies += [Beacon] if protocol.beacons else []
        bodies += [ServerReport] if protocol.reports else []
        bodies += [Request, Vacate] if "granted" in access else []
        bodies += [Grant] if access & {"granted", "slotted"} else []
    return [tag_of(body) for body in bodies]


def _alternative(selector: str, possible: dict[str, Place]) -> str:
    """Returns the remedy for a selector that means nobody."""
    if "area:" in selector and possible:
        xs, ys = [at.x_m for at in possible.values()], [at.y_m for at in possible.values()]
        return f"all are in area:{min(xs):g},{min(ys):g},{max(xs):g},{max(ys):g}"
    if is_plain(selector):
        return suggest(selector, possible)
    groups = dict.fromkeys(f"group:{at.group}" for at in possible.values())
    classes = sorted({at.priority for at in possible.values() if at.priority is not None})
    return suggest(selector, [*groups, *(f"priority:{number}" for number in classes)])


def late(chosen: Scenario) -> Iterator[Complaint]:
    for index, fault in enumerate(chosen.faults):
        if fault.at_s >= chosen.duration_s:
            text = f"fault {index} ({fault.type}) begins at {fault.at_s:g} s, after the run ends"
            yield ("faults", index, "at_s"), text, "begin earlier, or run longer"
        elif fault.for_s is not None and fault.until_s > chosen.duration_s:
            text = f"fault {index} ({fault.type}) lasts past the end of the run"
            yield ("faults", index, "for_s"), text, "shorten for_s to see the recovery"
        if fault.full_s > fault.until_s:
            text = f"fault {index} ({fault.type}) ends before it has its full strength"
            yield ("faults", index, "ramp_s"), text, "make ramp_s shorter than for_s"


def idle(drawn: Plan) -> Iterator[Complaint]:
    """Looks for faults that hit no link: of users and servers, say, which no link joins.

    A warning only, because a generated topology may join them under another seed.
    """
    chosen = drawn.scenario
    if not chosen.faults:
        return
    links, places = list(links_of(drawn)), places_of(chosen, drawn.layout)
    for index, fault in enumerate(chosen.faults):
        everyone = settle(certain(fault), places, Streams(chosen.seed))
        if everyone is None or hit_by(everyone, links, places):
            continue
        what = f"fault {index} ({fault.type}) touches nothing"
        if isinstance(fault, Partition):
            a, b = whom_of(fault), ",".join(fault.b)
        else:
            a, _, b = fault.target.partition("->")
        if b:
            text = f"{what}: no link joins '{a}' and '{b}'"
            remedy = "users are linked to base stations, base stations to servers"
        else:
            text = f"{what}: '{a}' has no link of that kind"
            remedy = "leave out direction or only, or name others"
        yield ("faults", index), text, remedy
