"""From a scenario to what is public where access is scheduled: slots, kinds of task,
who hears whom."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agents.policy import Reading
from agents.protocols import PROTOCOLS
from agents.todg.frame import (
    SLACK_SLOTS,
    Frame,
    Machine,
    Place,
    Slotting,
    queue_slots,
    service_slots,
)
from agents.todg.readings import READINGS
from agents.todg.rules import TaskClass, age_max_slots
from emulator.scenario import schema, traces
from emulator.scenario.arrival_kinds import Arrivals, TraceArrivals
from emulator.scenario.nominal import nominal_moments
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import Layout, members
from emulator.streams import Streams

SAMPLED_SLOTS = 40  # an integer program each: 7 ms with a hundred (user, channel) pairs,
SAMPLED_VERTICES_MAX = 400  # 15 ms with so many, which no run in real time feels


class DeadlineError(ValueError):
    """A deadline leaves no slots to wait in; `group` is the number of the users' group."""

    def __init__(self, text: str, group: int) -> None:
        super().__init__(text)
        self.group = group


def is_scheduled(chosen: Scenario) -> bool:
    return any(group.access == "scheduled" for group in chosen.base_stations)


def readings_of(chosen: Scenario) -> Sequence[Reading]:
    """Returns what the nodes of a scenario tell of themselves over time."""
    if not is_scheduled(chosen):
        return PROTOCOLS[chosen.protocol.kind].readings
    slot_s = chosen.base_stations[0].grant_s
    return [replace(each, every_s=slot_s) if each.counts else each for each in READINGS]


def sampled_slots(chosen: Scenario, frame: Frame) -> frozenset[int]:
    """Draws the slots whose schedule an observer compares with the heaviest there is.

    One of each of `SAMPLED_SLOTS` equal stretches of the run; none where that would take too long.
    """
    if len(frame.users) * frame.graph.channels > SAMPLED_VERTICES_MAX:
        return frozenset()
    stretch = chosen.duration_s / frame.slotting.slot_s / SAMPLED_SLOTS
    uniform = Streams(chosen.seed).uniform("told-slots")
    return frozenset(math.floor((number + uniform()) * stretch) for number in range(SAMPLED_SLOTS))


def bounds_s(chosen: Scenario, frame: Frame) -> dict[str, float]:
    """Returns how long a task of each user group may stay by the proof; empty if none is given.

    The waits of theorem 3 and what service and the begin of slots take at most, but no longer than
    to the deadline, at which whatever is left is given up.
    """
    protocol = PROTOCOLS[chosen.protocol.kind]
    if protocol.discipline is None or not protocol.bounded:
        return {}
    options = msgspec.convert(chosen.protocol.options, protocol.options)
    discipline = protocol.discipline(frame, options, lambda: 0.5)
    bounds: dict[str, float] = {}
    for kind, group in enumerate(chosen.users):
        assert group.deadline_s is not None, "checked with the scenario"
        task = frame.kinds[kind]
        servers = [discipline.server_rule(s, kind) for s in range(len(frame.machines))]
        has_cpu = group.cpu is not None
        waits = age_max_slots(task, [discipline.user_rule(kind)], servers, has_cpu)
        slot_s = frame.slotting.slot_s
        reserved = queue_slots(group.deadline_s, slot_s, 0) + SLACK_SLOTS - task.deadline_slots
        bounds[group.name] = min(group.deadline_s, (waits + reserved) * slot_s)
    return bounds


def frame_of(chosen: Scenario, layout: Layout, trace_rates_hz: dict[str, float]) -> Frame:
    """Returns the frame of a scenario with scheduled access. DeadlineError: one is too short.

    `trace_rates_hz` are the mean rates of recorded arrivals, by file.
    """
    first = chosen.base_stations[0]
    slots = chosen.slots
    slotting = Slotting(first.grant_s, slots.report_s, slots.round_s, slots.guard_s)
    machines, reserve_s = [], []
    for name, server in members(chosen.servers):
        mean_s, deviation_s = _law_of(server)
        machines.append(Machine(name, mean_s))
        reserve_s.append((mean_s * server.batch_max, deviation_s * server.batch_max))
    kinds: list[TaskClass] = []
    for group in chosen.users:
        reserve = max(
            service_slots(mean_s * group.work, deviation_s * group.work, slotting.slot_s)
            for mean_s, deviation_s in reserve_s
        )
        assert group.deadline_s is not None, "checked with the scenario"
        slots_left = queue_slots(group.deadline_s, slotting.slot_s, reserve)
        if slots_left < 2:
            text = f"{group.deadline_s:g} s are {group.deadline_s / slotting.slot_s:g} slots"
            raise DeadlineError(f"{text}, of which service may take {reserve}", len(kinds))
        cpu_slots = 0
        if group.cpu is not None:
            mean_s, deviation_s = _law_of(group.cpu)
            cpu_slots = service_slots(
                mean_s * group.work, deviation_s * group.work, slotting.slot_s
            )
        kinds.append(TaskClass(group.input_bits, group.value, slots_left, cpu_slots))
    number_of = {group.name: number for number, group in enumerate(chosen.users)}
    kind_of = {name: number_of[group.name] for name, group in members(chosen.users)}
    stations = [name for name, _ in members(chosen.base_stations)]
    position_m = layout.position_m
    places = [
        Place(
            tuple(stations.index(bs) for bs, _ in layout.cells[user]),
            frozenset(
                number
                for number, bs in enumerate(stations)
                if math.dist(position_m[user], position_m[bs]) < chosen.topology.hear_m
            ),
        )
        for user in kind_of
    ]
    return Frame(
        slotting,
        kinds,
        [group.work for group in chosen.users],
        [rate_hz(group.arrival, trace_rates_hz) * slotting.slot_s for group in chosen.users],
        kind_of,
        machines,
        stations,
        first.channels or 0,
        places,
    )


def arrival_rates_hz(chosen: Scenario) -> dict[str, float]:
    """Returns the mean rates of the recorded arrivals, by file."""
    files = {g.arrival.file for g in chosen.users if isinstance(g.arrival, TraceArrivals)}
    return mean_rates_hz({file: traces.read_times(Path(file)) for file in files})


def mean_rates_hz(instants: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns arrivals per second up to the last one; 0 where that tells no rate."""
    ends_s = {file: max(times_s, default=0.0) for file, times_s in instants.items()}
    return {f: len(times_s) / ends_s[f] if ends_s[f] else 0.0 for f, times_s in instants.items()}


def rate_hz(arrival: Arrivals, trace_rates_hz: dict[str, float]) -> float:
    """Returns the rate of a group's users, declared or that of its file; 0 where there is none."""
    if isinstance(arrival, TraceArrivals):
        return trace_rates_hz.get(arrival.file, 0.0)
    return arrival.declared_hz


def _law_of(device: schema.Device) -> tuple[float, float]:
    """Returns the mean and the standard deviation of a service of work 1."""
    mean_s, second_s2 = nominal_moments(device)
    return mean_s, math.sqrt(max(0.0, second_s2 - mean_s * mean_s))
