"""Live inference on Ray against virtual time at the same seed: does it measure the device?

    python -m benchmarks.live_fidelity [--busy 2] [--hosts N] [--duration S] [SCENARIO ...]

Both runs draw the same arrivals and losses; on Ray a service is what the stopwatch says of a real
inference, in virtual time it is drawn from the trace. So what differs is the stopwatch, and what
comes of it. `--busy N` keeps N processes computing beside it. Exit 1 where a bound is broken: 10 %
of the mean time of a service and 5 % of the mean peak age, 25 % of both beside busy processes.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.checks import source
from emulator.runtime.session import Session
from emulator.scenario.schema import Runtime, Scenario

SCENARIOS = Path(__file__).parent.parent / "scenarios"
NAMES = ("quickstart", "popec-live", "vision-digits")
METRICS = {"service, mean": ("compute_mean_s", 0.10), "peak age, mean": ("paoi_mean_s", 0.05)}
BUSY_BOUND = 0.25


def on_ray(chosen: Scenario) -> dict[str, Any]:
    """Plays a scenario on an embedded cluster; returns its summary."""
    return Session(chosen).run()


def in_virtual_time(chosen: Scenario) -> dict[str, Any]:
    return Session(chosen.model_copy(update={"runtime": Runtime()})).run()


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keeps processes computing that have nothing to do with the run."""
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_compute, daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.join()


def _compute() -> None:
    while True:
        sum(range(10_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("scenarios", nargs="*", default=NAMES)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", type=float, help="emulated seconds; default: the scenario's")
    parser.add_argument("--hosts", type=int, help="Ray actors; default: the packing rule's")
    parser.add_argument("--time-scale", type=float, help="wall seconds per emulated one")
    chosen = parser.parse_args()
    changes: dict[str, Any] = {"seed": chosen.seed, "expect": []}
    for path, value in {
        "duration_s": chosen.duration,
        "runtime.hosts": chosen.hosts,
        "runtime.time_scale": chosen.time_scale,
    }.items():
        if value is not None:
            changes[path] = value
    heads = [f"{label}: Ray, virtual | off by" for label in METRICS]
    heads = ["busy", "scenario", *heads, "live / trace", "late, p99", "verdict"]
    print(f"| {' | '.join(heads)} |")
    print(f"| --- {'| --- | --- ' * len(METRICS)}| --- | --- | --- | --- |")
    is_within = True
    for name in chosen.scenarios:
        scenario = source.load(SCENARIOS / f"{name}.yaml", changes | {"runtime.kind": "ray"})
        reference = in_virtual_time(source.load(SCENARIOS / f"{name}.yaml", changes))
        with neighbours(chosen.busy):
            found = on_ray(scenario)
        cells = [str(chosen.busy), name]
        for key, bound in METRICS.values():
            real_s, virtual_s = (each["metrics"]["all"][key] for each in (found, reference))
            if real_s is None or found["live_to_trace"] is None:
                sys.exit(f"{name}: nothing was served: {'; '.join(found['causes'])}")
            off = real_s / virtual_s - 1.0
            is_within &= abs(off) <= (BUSY_BOUND if chosen.busy else bound)
            cells += [f"{1e3 * real_s:.1f}, {1e3 * virtual_s:.1f} ms", f"{100 * off:+.1f} %"]
        late_ms = 1e3 * found["lateness_p99_s"]
        cells += [f"{found['live_to_trace']:.2f}", f"{late_ms:.2g} ms", found["verdict"]]
        print(f"| {' | '.join(cells)} |", flush=True)
        for text in [*found["causes"], *found["warnings"]]:
            print(f"{name}: {text}", file=sys.stderr)
    sys.exit(0 if is_within else 1)


if __name__ == "__main__":
    main()
