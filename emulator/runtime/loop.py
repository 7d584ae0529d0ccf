"""The in-process runtime: virtual time as fast as possible, or paced by the wall clock.

Virtual time is the reference: equal seeds give equal digests. Every runtime is an iterator of
`Step`s; whoever records or shows them drives it.
"""

import gc
import time
from collections.abc import Generator, Iterator
from functools import partial

from msgspec import Struct

from emulator.build.assemble import assemble
from emulator.build.plan import Plan
from emulator.faults.activation import FaultOrder
from emulator.results.journal import Record, Remains
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Scenario
from emulator.sim.clock import Lateness, Order, Pace, VirtualPace
from emulator.sim.kernel import Kernel

HELD_S = 0.25  # wall; a held run looks so often whether it goes on
COLLECT_EVERY = 200_000  # new containers between two garbage collections; Python's own: 700


class Step(Struct, frozen=True):
    """What was recorded up to `now_s`; `lateness` so far, None in virtual time."""

    now_s: float
    records: list[Record]
    lateness: Lateness | None = None


def play(
    plan: Plan, paced: bool = False, steering: Steering | None = None
) -> Generator[Step, None, None]:
    """Runs the whole scenario in this process.

    `steering` lets people inject faults, and pause where time is paced. In virtual time what was
    asked between two steps holds a millisecond after the first at the latest.
    """
    duration_s, runtime = plan.scenario.duration_s, plan.scenario.runtime
    pace = Pace(runtime.time_scale, runtime.tick_s, duration_s) if paced else None
    steering = steering or Steering(plan, can_pause=paced)
    kernel = assemble(plan, plan.names, pace)
    if pace is not None:
        kernel.warm_up()
        pace.begin(time.time())
    steering.begin()
    kernel.start()
    # Nodes, links and queued messages form no cycles; looking for some costs a tenth of the run.
    thresholds = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *thresholds[1:])
    try:
        yield from _steps(plan.scenario, kernel, pace, steering)
    finally:
        gc.set_threshold(*thresholds)


def _steps(
    scenario: Scenario, kernel: Kernel, pace: Pace | None, steering: Steering
) -> Iterator[Step]:
    virtual = VirtualPace(scenario.duration_s)
    for now_s in sample_times(scenario.duration_s, scenario.sample_s):
        if pace is None:
            steering.turn(virtual, 0.0, 0.0, partial(_send, kernel))
            now_s = virtual.step_to(now_s)
            kernel.run_until(now_s)
        else:
            run_paced(kernel, pace, now_s, steering)
        end_s = (pace or virtual).end_s
        now_s = min(now_s, end_s)
        records = kernel.take_records(now_s)
        if now_s == end_s:
            records.append(remains(kernel, now_s))
        yield Step(now_s, records, None if pace is None else pace.lateness)
        if now_s == end_s:
            return


def sample_times(duration_s: float, sample_s: float) -> Iterator[float]:
    """Yields the multiples of `sample_s` before the end, then the end."""
    number = 1
    while number * sample_s < duration_s:
        yield number * sample_s
        number += 1
    yield duration_s


def remains(kernel: Kernel, now_s: float) -> Remains:
    """Takes stock of what is in flight on one host."""
    in_flight = sorted((task.user, task.seq) for task in kernel.tasks())
    users = (node for node in kernel.nodes.values() if node.kind == "user")
    return Remains(now_s, in_flight, {user.id: user.generated for user in users})


def _send(kernel: Kernel, orders: list[Order]) -> tuple[int, int]:
    for order in orders:
        if isinstance(order, FaultOrder):
            kernel.steer(order)
    return 1, 1


def run_paced(kernel: Kernel, pace: Pace, end_s: float, steering: Steering) -> None:
    send = partial(_send, kernel)
    while True:
        now_s = pace.now_s()
        kernel.run_until(min(now_s, end_s))
        if now_s >= min(end_s, pace.end_s):
            if now_s < pace.end_s:
                steering.turn(pace, 0.0, 0.0, send)  # who is always late must still obey a stop
            return
        due_s = end_s if kernel.next_s is None else min(end_s, kernel.next_s)
        idle_s = max(0.0, pace.wall_s(due_s - pace.now_s()))
        steering.turn(pace, HELD_S if pace.held else idle_s, 0.0, send)
