"""What every step of a run goes through: onto the disk, then into the metrics.

What a step reported is on disk before anybody sees it, so a crash of whatever comes next loses
nothing of it.
"""

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from agents.protocols import PROTOCOLS
from agents.todg.frame import Frame as ScheduleFrame
from emulator.build.plan import Plan
from emulator.faults.activation import Activation
from emulator.faults.selectors import selects
from emulator.results.journal import FaultChange, Frame, Log, Record, Writer
from emulator.results.metrics import Metrics
from emulator.results.optimality import Allocations
from emulator.results.stats import Group, GroupStats
from emulator.runtime.loop import Step
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import is_scheduled, rate_hz, readings_of
from emulator.scenario.topology import members


class Progress(Struct, frozen=True):
    """What a display may show after a step.

    `speed` is in emulated seconds per second of the wall clock, since the first step: what came
    before was starting hosts and warming networks up.
    """

    metrics: Metrics
    step: Step
    wall_s: float
    speed: float = 0.0


Show = Callable[[Progress], None]


class Recorder:
    """Puts every step on disk, then into the metrics."""

    def __init__(self, plan: Plan, folder: Path | None, steering: Steering | None = None) -> None:
        scenario = plan.scenario
        self.metrics = fresh_metrics(scenario, plan.frame() if is_scheduled(scenario) else None)
        self.writer = Writer(folder)
        self._events = None if folder is None else Log(folder / "events.jsonl")
        self._activation = Activation(plan.orders)
        self._duration_s = scenario.duration_s
        self._steering = steering

    def take(self, step: Step) -> None:
        steering = self._steering
        if steering is not None:
            for order in steering.take_orders():
                self._activation.add(order)
        due = self._activation.advance(min(step.now_s, self._duration_s))
        changes = [
            FaultChange(change.at_s, change.op, change.number, change.fault.described())
            for change in due
        ]
        records: list[Record] = [*changes, *step.records]
        self.writer.append(Frame(step.now_s, records))
        if steering is not None:
            steering.follow(due, step.now_s)
        for reported in changes:
            audit = {} if steering is None else steering.faults[reported.number].audit(reported.op)
            self.note(
                reported.op, reported.at_s, number=reported.number, fault=reported.fault, **audit
            )
        self.metrics.fold(records, step.now_s)

    def note(self, op: str, at_s: float, **details: object) -> None:
        """Appends one line to events.jsonl: faults and what happened to the run itself."""
        if self._events is not None:
            wall = datetime.now().astimezone().isoformat(timespec="milliseconds")
            line = json.dumps({"at_s": at_s, "wall": wall, "op": op, **details})
            self._events.append(line.encode() + b"\n")

    def close(self) -> None:
        self.writer.close()
        if self._events is not None:
            self._events.close()


def fresh_metrics(scenario: Scenario, frame: ScheduleFrame | None) -> Metrics:
    """Returns the empty fold for a scenario's journal; `frame` where access is scheduled."""
    allocations = None
    if frame is not None:
        allocations = Allocations(frame.graph, frame.slotting.slot_s)
    deadlines_s = [group.deadline_s for group in scenario.users if group.deadline_s is not None]
    return Metrics(
        {name: group.name for name, group in members(scenario.users)},
        {
            group.name: GroupStats(
                Group(
                    priority=group.priority,
                    weight=group.weight,
                    deadline_s=math.inf if group.deadline_s is None else group.deadline_s,
                    value=group.value,
                    rate_hz=rate_hz(group.arrival, {}),
                ),
                deadlines_s,
            )
            for group in scenario.users
        },
        scenario.warmup_s,
        readings_of(scenario),
        allocations=allocations,
        is_bounded=PROTOCOLS[scenario.protocol.kind].bounded,
        hits=lambda fault, node: selects(fault["target"], node),
    )
