"""What the faults of a scenario must say, and which of them would do nothing. As in `check.py`."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from emulator.fault_base import selects
from emulator.faults import AnyFault, ChannelLoss, Fading, Interference, Partition
from emulator.node_faults import NodeFault, NodeKind
from emulator.scenario import Scenario
from emulator.topology import build, members

Complaint = tuple[tuple[str | int, ...], str, str]


def fault_problems(chosen: Scenario, fault: AnyFault) -> list[Complaint]:
    """Returns what is wrong with one more fault for this scenario."""
    return list(problems(chosen.model_copy(update={"faults": [fault]})))


def problems(chosen: Scenario) -> Iterator[Complaint]:
    from emulator import check_node_faults  # which needs this file

    everyone = [name for name, _ in kinds_of(chosen)]
    shared = {
        name: group.channels for name, group in members(chosen.base_stations) if group.channels
    }
    fades = any(spec.kind in ("rayleigh", "adaptive") for spec in chosen.channels)
    for index, fault in enumerate(chosen.faults):
        where = ("faults", index)
        if isinstance(fault, NodeFault):
            for place, text, remedy in check_node_faults.problems(chosen, fault):
                yield (*where, *place), text, remedy
            continue
        if isinstance(fault, Fading | Interference) and not fades:
            radio_kind = chosen.channel.kind
            text = f"{fault.type} needs a signal-to-noise ratio; a {radio_kind} channel has none"
            yield (*where, "type"), text, "use loss, or channel kind rayleigh"
        targets: list[tuple[str, str, list[str]]] = []
        if isinstance(fault, Partition):
            targets += [(key, each, everyone) for key in ("a", "b") for each in getattr(fault, key)]
        elif isinstance(fault, ChannelLoss):
            targets.append(("target", fault.target, list(shared)))
            for name, count in shared.items():
                if selects(fault.target, name) and max(fault.channels) >= count:
                    text = f"'{name}' has the channels 0 to {count - 1}, not {max(fault.channels)}"
                    yield (*where, "channels"), text, "name channels that it has"
                    break
        elif isinstance(fault, Interference):
            radios = [name for name, kind in kinds_of(chosen) if kind != "server"]
            targets.append(("target", fault.target, radios))
        else:
            targets += [("target", end, everyone) for end in fault.target.split("->", 1)]
        for key, selector, names in targets:
            if not any(selects(selector, name) for name in names):
                is_shared = isinstance(fault, ChannelLoss)
                kind = "base station with shared channels" if is_shared else "node"
                text = f"'{selector}' selects no {kind}"
                yield (*where, key), text, suggest(selector, names)


def late(chosen: Scenario) -> Iterator[Complaint]:
    for index, fault in enumerate(chosen.faults):
        if fault.at_s >= chosen.duration_s:
            text = f"fault {index} ({fault.type}) begins at {fault.at_s:g} s, after the run ends"
            yield ("faults", index, "at_s"), text, "begin earlier, or run longer"
        elif fault.for_s is not None and fault.until_s > chosen.duration_s:
            text = f"fault {index} ({fault.type}) lasts past the end of the run"
            yield ("faults", index, "for_s"), text, "shorten for_s to see the recovery"


def idle(chosen: Scenario) -> Iterator[Complaint]:
    """Looks for faults between nodes that no link joins: `partition` of users and servers, say.

    A warning only, because a generated topology may join them under another seed.
    """
    ends = {
        index: (",".join(fault.a), ",".join(fault.b))
        if isinstance(fault, Partition)
        else tuple(fault.target.split("->", 1))
        for index, fault in enumerate(chosen.faults)
        if isinstance(fault, Partition) or "->" in fault.target
    }
    links = list(build(chosen).edges) if ends else []
    for index, (a, b) in ends.items():
        if not any(
            (selects(a, left) and selects(b, right)) or (selects(a, right) and selects(b, left))
            for left, right in links
        ):
            text = f"fault {index} ({chosen.faults[index].type}) touches nothing: no link joins "
            remedy = "users are linked to base stations, base stations to servers"
            yield ("faults", index), f"{text}'{a}' and '{b}'", remedy


def kinds_of(chosen: Scenario) -> Iterator[tuple[str, NodeKind]]:
    """Yields every node with its kind."""
    yield from ((name, "user") for name, _ in members(chosen.users))
    yield from ((name, "base_station") for name, _ in members(chosen.base_stations))
    yield from ((name, "server") for name, _ in members(chosen.servers))


def suggest(given: str, known: Iterable[str]) -> str:
    """Returns the remedy for an unknown word: the nearest known one, or all of them."""
    names = list(known)
    close = get_close_matches(given, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"did you mean '{close[0]}'?" if close else f"known: {shown}"
