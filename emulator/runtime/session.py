"""One run of a scenario: prepared, driven by steps or to its end, steered, and summed up.

The run folder is the result: reports, tables and comparisons read it, never memory.
"""

import json
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from emulator import interrupts
from emulator.build.known_fault import Known
from emulator.build.planning import plan
from emulator.checks import source
from emulator.results.journal import HostLost, Unwritten
from emulator.results.measures import METRICS
from emulator.results.metrics import Metrics, broken_bounds
from emulator.runtime import loop
from emulator.runtime.connect import RunError
from emulator.runtime.folders import LATEST, name_latest
from emulator.runtime.loop import Step
from emulator.runtime.muster import StartWatch
from emulator.runtime.recorder import Progress, Recorder, Show
from emulator.runtime.steering import Steering
from emulator.scenario.schema import Expect, Scenario
from emulator.scenario.slots import bounds_s, is_scheduled
from models.files import write_whole

INTERRUPTED = "interrupted by the user"
LEFT = "left before its end"
Verdict = Literal["good", "failed", "broken", "interrupted"]
EXIT_STATUS: dict[Verdict, int] = {"good": 0, "failed": 1, "broken": 3, "interrupted": 130}

LIVE_TO_TRACE_MAX = 1.5  # a machine that is slower, or busier, is told of


class Session:
    """Runs a scenario once, on the runtime that it names.

    Iterate over it for a `Progress` after every step, or `run` it to its end; either way `summary`
    is there afterwards, and in the folder. Between steps faults may be injected and healed.

        for progress in (session := Session(scenario)):
            if 10.0 <= progress.step.now_s < 10.1:
                session.inject({"type": "blackout", "target": "bs-0", "for_s": 5.0})
        print(session.summary["metrics"]["all"]["paoi_mean_s"])

    `folder` exists; what a run records goes there, None records nothing. `latest`: links of that
    name beside it and above lead to it once the run began. `paced`: the loop keeps to the wall
    clock. `stopwatch`: live inference takes the time that it takes, instead of the trace's; by
    default in real time. `address` is that of a Ray cluster; None starts one, and `watch` is told
    how that goes.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path | None = None,
        *,
        latest: bool = False,
        paced: bool = False,
        stopwatch: bool | None = None,
        address: str | None = None,
        watch: StartWatch | None = None,
    ) -> None:
        on_ray = scenario.runtime.kind == "ray"
        if paced and on_ray:
            raise ValueError("paced is for the loop: Ray always keeps to the wall clock")
        if folder is not None:
            write_whole(folder / "scenario.yaml", source.dump(scenario))
        self.folder = folder
        self._links = []
        if latest and folder is not None:
            self._links = [parent / LATEST for parent in (folder.parent, folder.parent.parent)]
        self.is_live = paced or on_ray
        self.plan = plan(scenario, self.is_live if stopwatch is None else stopwatch)
        self.steering = Steering(self.plan, can_pause=self.is_live)
        self.summary: dict[str, Any] = {}
        self._recorder = Recorder(self.plan, folder, self.steering)
        self._last: Step | None = None
        self._verdict: Verdict = "good"
        self._causes: list[str] = []
        self._expectations: list[dict[str, Any]] = []
        self._began_s = self._cpu_began_s = 0.0
        if on_ray:
            from emulator.runtime import cluster

            self._steps = cluster.play(self.plan, address, self.steering, watch)
        else:
            self._steps = loop.play(self.plan, paced, self.steering)

    @property
    def metrics(self) -> Metrics:
        """What was measured so far."""
        return self._recorder.metrics

    def inject(self, fault: Mapping[str, Any]) -> Known:
        """Begins a fault, as YAML writes one, from the next step on. Refused where it is bad."""
        return self.steering.inject(fault, "session")[0]

    def heal(self, numbers: list[int] | None = None) -> list[Known]:
        """Heals faults by their numbers, or all, from the next step on."""
        return self.steering.heal(numbers)[0]

    def stop(self, reason: str = "stopped by its session") -> None:
        """Ends emulated time with the next step."""
        if self.steering.phase != "stopping":
            self.steering.stop(reason)

    def run(self, show: Show = lambda progress: None) -> dict[str, Any]:
        """Runs to the end and returns the summary; an interrupt waits until a step was shown.

        A host's death and an interrupt end the run early; what was reported by then stays.
        """
        with self._ended():
            for progress in self._progress():
                with interrupts.held():
                    show(progress)
        return self.summary

    def __iter__(self) -> Iterator[Progress]:
        with self._ended():
            yield from self._progress()

    def _progress(self) -> Iterator[Progress]:
        first: tuple[float, float] | None = None  # the first step's instants: wall, emulated
        self._recorder.note(
            "start", 0.0, scenario=self.plan.scenario.name, seed=self.plan.scenario.seed
        )
        for step in self._steps:
            with interrupts.held():
                if first is None and self.folder is not None:
                    name_latest(self.folder, self._links)
                self._last = step
                self._recorder.take(step)
            wall_s = time.monotonic()
            first = first or (wall_s, step.now_s)
            speed = (step.now_s - first[1]) / ((wall_s - first[0]) or 1.0)
            yield Progress(self.metrics, step, wall_s - self._began_s, speed)
            if self.metrics.hosts.lost:
                # Who ends a run from outside often ends its hosts too.
                self._verdict = "interrupted" if interrupts.asked() else "broken"
                self._causes += map(_obituary, self.metrics.hosts.lost)
                return

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Whatever ends what is inside: stops the runtime, and sums the run up."""
        if self._began_s:
            raise RuntimeError("a session runs once: make another one")
        self._began_s, self._cpu_began_s = time.monotonic(), time.process_time()
        try:
            yield
        except KeyboardInterrupt:
            self._end("interrupted", INTERRUPTED)
        except GeneratorExit:
            self._end("interrupted", LEFT)
        except Unwritten as error:
            self._end("broken", str(error))
        except RunError:
            raise
        except Exception as error:
            if self.folder is None:
                raise
            self._end("broken", _crash(error, self.folder, self.metrics.now_s))
        finally:
            interrupts.finish()
            self._steps.close()  # lets the runtime stop its hosts
            self.steering.finish()
        self._judge()
        self.summary = self._sum_up()
        try:
            self._recorder.note(
                "end", self.metrics.now_s, verdict=self._verdict, causes=self._causes
            )
            self._recorder.close()
            if self.folder is not None:
                packed = json.dumps(self.summary, indent=1) + "\n"
                write_whole(self.folder / "summary.json", packed)
        except (Unwritten, OSError) as error:
            self._causes.append(f"the end of the run is not in its folder: {error}")
            self.summary["verdict"] = "broken"

    def _end(self, verdict: Verdict, cause: str) -> None:
        self._verdict = verdict
        self._causes.append(cause)

    def _judge(self) -> None:
        """Finds what makes a run that came to its end worse than good."""
        if self._verdict == "good" and self.steering.stop_reason:
            self._end("interrupted", self.steering.stop_reason)
        late_s = self._late_s(0.99)
        limit_s = self.plan.scenario.runtime.lateness_max_s
        if self._verdict == "good" and late_s is not None and late_s > limit_s:
            self._end(
                "broken",
                f"invalid: events were handled {late_s:.3g} s late (p99), more than "
                f"lateness_max_s = {limit_s:g}; raise runtime.time_scale, or use fewer users",
            )
        bounds_broken = self.metrics.bounds_broken
        if self._verdict == "good" and bounds_broken is not None and any(bounds_broken.values()):
            self._end("failed", broken_bounds(bounds_broken))
        self._expectations = [check(each, self.metrics) for each in self.plan.scenario.expect]
        if self._verdict == "good":
            for each in self._expectations:
                if not each["holds"]:
                    self._end("failed", each["says"])

    def _late_s(self, share: float) -> float | None:
        lateness = None if self._last is None else self._last.lateness
        return None if lateness is None else lateness.quantile_s(share)

    def _sum_up(self) -> dict[str, Any]:
        scenario, metrics, writer = self.plan.scenario, self.metrics, self._recorder.writer
        pace = metrics.hosts.live_to_trace
        return {
            "scenario": scenario.name,
            "protocol": scenario.protocol.kind,
            "seed": scenario.seed,
            "runtime": scenario.runtime.kind,
            "verdict": self._verdict,
            "causes": self._causes,
            "emulated_s": metrics.now_s,
            "wall_s": time.monotonic() - self._began_s,
            "driver_cpu_s": time.process_time() - self._cpu_began_s,
            "digest": writer.digest,
            "records": writer.count,
            "balance": metrics.balance() if metrics.remains else None,
            "uplink_loss_ratio": metrics.links.uplink_loss_ratio,
            "lateness_p50_s": self._late_s(0.5),
            "lateness_p99_s": self._late_s(0.99),
            "live_to_trace": pace,
            "live_to_trace_by_host": {
                h: t.cpu_s / t.trace_s for h, t in metrics.hosts.timed.items()
            },
            "warnings": list(_warnings(metrics)),
            "violations": metrics.violations,
            "bounds_broken": metrics.bounds_broken,
            "bounds_s": bounds_s(scenario, self.plan.frame()) if is_scheduled(scenario) else {},
            "given_up": {name: dict(stats.drops) for name, stats in metrics.groups.items()},
            "metrics": metrics.summary(),
            "servers": metrics.of_servers(),
            "expect": self._expectations,
            "versions": versions(),
        }


def check(expect: Expect, metrics: Metrics) -> dict[str, Any]:
    """Compares one expectation with the measured value."""
    value = metrics.value(METRICS[expect.metric], expect.of)
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


def _warnings(metrics: Metrics) -> Iterator[str]:
    """Says what makes numbers mean something else than they seem to."""
    if starved := metrics.starved:
        longest = max(starved, key=starved.__getitem__)
        who = (
            f"{longest} got no result"
            if len(starved) == 1
            else (f"{len(starved)} users got no result, {longest} longest:")
        )
        yield (
            f"{who} in the last {starved[longest]:.3g} s; peak ages count only what came to an "
            "end, the age of information counts all of it"
        )
    if letters := metrics.dead_letters.most_common():
        (node, what), count = letters[0]
        more = f", and {len(letters) - 1} more such" if len(letters) > 1 else ""
        yield f"dropped, as its node does not know it: {node}, {what}, {count:,} times{more}"
    pace = metrics.hosts.live_to_trace
    if pace is not None and pace > LIVE_TO_TRACE_MAX:
        yield _slow_core(pace)


def _slow_core(pace: float) -> str:
    return (
        f"live inference took {pace:.3g} times as long on this machine as in the traces, a "
        "slower or a busy one. Services are in the traces' seconds all the same; how they vary "
        "is the machine's. Free it, profile the networks on it, or take --accelerator replay"
    )


def _crash(error: Exception, folder: Path, now_s: float) -> str:
    """Keeps the traceback of what should not have happened; says where it and the journal are."""
    kept = folder / "traceback.txt"
    kept.write_text("".join(traceback.format_exception(error)))
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return (
        f"an error of Fresco's own after {now_s:g} s: {what}; please report it with {kept}; what "
        f"was recorded until then is in {folder}"
    )


def _obituary(lost: HostLost) -> str:
    nodes = ", ".join(lost.nodes[:6]) + (" ..." if len(lost.nodes) > 6 else "")
    return f"host {lost.host} with {nodes} died at {lost.at_s:.2f} s: {lost.cause}"
