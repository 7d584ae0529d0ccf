"""A run with everything that people did to it, as a scenario that does the same by itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from emulator.checks import source
from emulator.checks.fault_words import parse
from emulator.faults.activation import after
from emulator.faults.base import INSTANT_DIGITS
from emulator.faults.fold import AnyFault
from emulator.results import journal
from emulator.results.journal import FaultChange
from emulator.scenario.occurrences import places_of, schedule
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import build, layout


def export(folder: Path) -> Scenario:
    """Returns the run's scenario with the faults as they were applied, injected ones included.

    They name whom they hit and leave nothing to chance, so that the replay hits the same.
    """
    scenario = source.load(folder / "scenario.yaml")
    changes: list[FaultChange] = []
    ended_s = 0.0
    for frame in journal.read_frames(folder):
        changes += (record for record in frame.records if isinstance(record, FaultChange))
        ended_s = frame.now_s
    tables = layout(build(scenario), scenario.backhaul.delay_s)
    orders = schedule(scenario, places_of(scenario, tables))
    ahead = [order.fault for order in orders if order.fault and order.at_s > ended_s]
    faults = sorted([*spans(changes), *ahead], key=lambda fault: fault.at_s)
    about = f"{scenario.about} As it went, with what was injected by hand.".strip()
    return scenario.model_copy(update={"faults": faults, "about": about})


def spans(changes: Sequence[FaultChange]) -> list[AnyFault]:
    """Returns one fault for every span over which nothing about it changed."""
    done: list[AnyFault] = []
    active: Mapping[int, AnyFault] = {}
    for change in changes:
        before, fault = active.get(change.number), parse(change.fault)
        if change.op != "extend" or before is None:
            if before is not None and before.at_s < change.at_s:  # a paused run: it never held
                done.append(_until(before, change.at_s))
            fault = _from(fault, change.at_s)
        active = after(active, change.op, change.number, fault)
    return [*done, *active.values()]


def _from(fault: AnyFault, at_s: float) -> AnyFault:
    for_s = None if fault.for_s is None else _span_s(at_s, fault.until_s)
    return fault if at_s == fault.at_s else fault.model_copy(update={"at_s": at_s, "for_s": for_s})


def _until(fault: AnyFault, to_s: float) -> AnyFault:
    if fault.until_s == to_s:
        return fault
    return fault.model_copy(update={"for_s": _span_s(fault.at_s, to_s)})


def _span_s(from_s: float, to_s: float) -> float:
    """Returns a span that ends exactly at `to_s`, where the next one may begin."""
    return round(to_s - from_s, INSTANT_DIGITS)
