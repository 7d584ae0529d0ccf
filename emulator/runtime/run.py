"""One run from start to summary: drives a runtime's steps into the journal and the metrics.

What a step reported is on disk before anybody sees it, so a crash of whatever comes next loses
nothing of it. The run folder is the result; `report.py` and `compare.py` read it, never memory.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from agents.protocols import PROTOCOLS
from agents.scheduled.frame import Frame as ScheduleFrame
from emulator import interrupts
from emulator.faults.timeline import Timeline
from emulator.record.allocations import Allocations
from emulator.record.journal import Frame, HostLost, Log, Record, Unwritten, Writer
from emulator.record.metrics import Metrics
from emulator.record.stats import GroupStats
from emulator.runtime.loop import Step
from emulator.runtime.steering import Steering
from emulator.spec.scenario import Expect, Scenario
from emulator.spec.scheduling import bounds_s, is_scheduled, rate_hz, readings_of
from emulator.spec.topology import members
from emulator.world.plan import Plan
from models.files import write_whole

INTERRUPTED = "interrupted by the user"
Verdict = Literal["good", "failed", "broken", "interrupted"]
EXIT_STATUS: dict[Verdict, int] = {"good": 0, "failed": 1, "broken": 3, "interrupted": 130}

LIVE_TO_TRACE_MAX = 1.5  # a machine that is slower, or busier, is told of


class RunError(RuntimeError):
    """A run could not start; the message says what to do."""


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
        self._timeline = Timeline(plan.orders, scenario.duration_s)
        self._steering = steering

    def take(self, step: Step) -> None:
        steering = self._steering
        if steering is not None:
            for order in steering.take_orders():
                self._timeline.add(order)
        due = self._timeline.advance(step.now_s)
        records: list[Record] = [*due, *step.records]
        self.writer.append(Frame(step.now_s, records))
        if steering is not None:
            steering.follow(due, step.now_s)
        for change in due:
            audit = {} if steering is None else steering.audit(change)
            self.note(change.op, change.at_s, number=change.number, fault=change.fault, **audit)
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
                group.priority,
                group.weight,
                deadlines_s,
                deadline_s=math.inf if group.deadline_s is None else group.deadline_s,
                value=group.value,
                rate_hz=rate_hz(group.arrival, {}),
            )
            for group in scenario.users
        },
        scenario.warmup_s,
        readings_of(scenario),
        allocations=allocations,
        is_bounded=PROTOCOLS[scenario.protocol.kind].bounded,
    )


def run(
    plan: Plan,
    steps: Iterator[Step],
    folder: Path | None,
    show: Show,
    steering: Steering | None = None,
) -> dict[str, Any]:
    """Drives the run to its end and returns its summary, which is also written to the folder.

    A host's death and an interrupt end the run early; what was reported by then stays. `folder`
    None records nothing on disk. `steering` is what the steps listen to, if anything.
    """
    recorder = Recorder(plan, folder, steering)
    metrics = recorder.metrics
    began_s, cpu_began_s = time.monotonic(), time.process_time()
    step: Step | None = None
    first: tuple[float, float] | None = None  # instants of the first step: wall, emulated
    verdict: Verdict = "good"
    causes: list[str] = []
    try:
        recorder.note("start", 0.0, scenario=plan.scenario.name, seed=plan.scenario.seed)
        for step in steps:
            with interrupts.held():
                recorder.take(step)
                wall_s = time.monotonic()
                first = first or (wall_s, step.now_s)
                speed = (step.now_s - first[1]) / ((wall_s - first[0]) or 1.0)
                show(Progress(metrics, step, wall_s - began_s, speed))
            if metrics.hosts_lost:
                # Who ends a run from outside often ends its hosts too.
                verdict = "interrupted" if interrupts.asked() else "broken"
                causes += [_obituary(lost) for lost in metrics.hosts_lost]
                break
    except KeyboardInterrupt:
        verdict = "interrupted"
        causes.append(INTERRUPTED)
    except Unwritten as error:
        verdict = "broken"
        causes.append(str(error))
    finally:
        interrupts.finish()
        close = getattr(steps, "close", None)
        if close is not None:
            close()  # a generator: lets the runtime stop its hosts
        if steering is not None:
            steering.finish()
    if verdict == "good" and steering is not None and steering.stop_reason:
        verdict = "interrupted"
        causes.append(steering.stop_reason)
    lateness = None if step is None else step.lateness
    limit_s = plan.scenario.runtime.lateness_max_s
    if verdict == "good" and lateness is not None and lateness.quantile_s(0.99) > limit_s:
        verdict = "broken"
        late_s = lateness.quantile_s(0.99)
        causes.append(
            f"invalid: events were handled {late_s:.3g} s late (p99), more than lateness_max_s = "
            f"{limit_s:g}; raise runtime.time_scale, or use fewer users"
        )
    pace = metrics.live_to_trace
    warnings = [] if pace is None or pace <= LIVE_TO_TRACE_MAX else [_slow_core(pace)]
    expectations = [check(expect, metrics) for expect in plan.scenario.expect]
    violations = metrics.violations
    if verdict == "good" and violations:
        verdict = "failed"
        causes.append(f"{violations} violations of the delay bound")
    if verdict == "good" and not all(each["holds"] for each in expectations):
        verdict = "failed"
        causes += [each["says"] for each in expectations if not each["holds"]]
    summary = {
        "scenario": plan.scenario.name,
        "protocol": plan.scenario.protocol.kind,
        "seed": plan.scenario.seed,
        "runtime": plan.scenario.runtime.kind,
        "verdict": verdict,
        "causes": causes,
        "emulated_s": metrics.now_s,
        "wall_s": time.monotonic() - began_s,
        "driver_cpu_s": time.process_time() - cpu_began_s,
        "digest": recorder.writer.digest,
        "records": recorder.writer.count,
        "balance": metrics.balance() if metrics.remains else None,
        "uplink_loss_ratio": metrics.uplink_loss_ratio,
        "lateness_p50_s": None if lateness is None else lateness.quantile_s(0.5),
        "lateness_p99_s": None if lateness is None else lateness.quantile_s(0.99),
        "live_to_trace": pace,
        "live_to_trace_by_host": {h: t.cpu_s / t.trace_s for h, t in metrics.timed.items()},
        "warnings": warnings,
        "violations": violations,
        "bounds_s": bounds_s(plan.scenario, plan.frame()) if is_scheduled(plan.scenario) else {},
        "given_up": {name: dict(stats.drops) for name, stats in metrics.groups.items()},
        "metrics": metrics.summary(),
        "expect": expectations,
        "versions": versions(),
    }
    try:
        recorder.note("end", metrics.now_s, verdict=verdict, causes=causes)
        recorder.close()
        if folder is not None:
            write_whole(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    except (Unwritten, OSError) as error:
        causes.append(f"the end of the run is not in its folder: {error}")
        return summary | {"verdict": "broken"}
    return summary


def check(expect: Expect, metrics: Metrics) -> dict[str, Any]:
    """Compares one expectation with the measured value."""
    value = metrics.summary()[expect.of][expect.metric]
    bounds = [
        *([] if expect.above is None else [f"above {expect.above:g}"]),
        *([] if expect.below is None else [f"below {expect.below:g}"]),
    ]
    holds = (
        value is not None
        and (expect.above is None or value > expect.above)
        and (expect.below is None or value < expect.below)
    )
    shown = "nothing" if value is None else f"{value:.6g}"
    says = f"{expect.metric} of {expect.of} is {shown}, expected {' and '.join(bounds)}"
    return {"metric": expect.metric, "of": expect.of, "value": value, "holds": holds, "says": says}


def versions() -> dict[str, str]:
    """Names what this run ran on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in ("fresco", "ray", "torch", "numpy", "scipy", "networkx", "msgspec"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _slow_core(pace: float) -> str:
    return (
        f"live inference took {pace:.3g} times as long on this machine as in the traces, a "
        "slower or a busy one. Services are in the traces' seconds all the same; how they vary "
        "is the machine's. Free it, profile the networks on it, or take --accelerator replay"
    )


def _obituary(lost: HostLost) -> str:
    nodes = ", ".join(lost.nodes[:6]) + (" ..." if len(lost.nodes) > 6 else "")
    return f"host {lost.host} with {nodes} died at {lost.at_s:.2f} s: {lost.cause}"
