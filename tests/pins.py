"""Pins: what shipped scenarios journal in a few seconds, by which a refactoring proves itself.

`make pins` writes `pins.json` anew. `python tests/pins.py NAME` prints the records behind one pin,
one a line: made on two commits, `diff` shows the first that differs. Speed is not pinned; its ratio
to SimPy is what `python -m benchmarks.speed` measures.

Faults happen as much sooner, and are as much shorter, as the run is. The last bit of a float
depends on what a processor can do: libraries choose other kernels where there is AVX-512. So pins
are made and checked in a process that does without, and what networks answer is no part of them.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
import yaml
from msgspec import Struct

from agents.messages import TaskEnd
from emulator.checks import source
from emulator.results.journal import Frame, encode, read_frames
from emulator.results.stats import ALL
from emulator.runtime.session import Session, versions
from emulator.scenario.schema import Scenario

FILE = Path(__file__).parent / "pins.json"
SCENARIOS = Path(__file__).parent.parent / "scenarios"
SHIPPED = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))

DURATION_S = 4.0  # emulated
DURATIONS_S = {"faults": 13.2, "outages": 8.0, "w1000": 2.0}  # many faults; many users
FAULT_TIMES = ("at_s", "for_s", "every_s", "ramp_s")
TIME_DIGITS = 9  # of shortened times: whole nanoseconds
STEP_DIGITS = 4  # of the hash of each step
METRIC_DIGITS = 9  # significant ones
ANSWERS = ("accuracy", "fresh_correct_hz")  # metrics that depend on what networks answer

PLAIN = {  # arithmetic as on x86-64 with AVX2; the solver of PoPeC is where another one shows
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}

# CIFAR-100 is not shipped; the latencies of its networks are.
CHANGES: dict[str, dict[str, Any]] = {
    "vision-cifar": {"servers.0.accelerator.kind": "replay"},
}
PROTOCOLS_MORE = {  # what no shipped scenario chooses
    "popec-async": (
        *("equal-share", "greedy", "fixed-rate", "priority-agnostic", "static-optimum"),
    ),
    "todg": ("max-rate", "edf", "max-weight"),
}
# Name of a pin -> scenario, changes. A variant is small: it adds what no shipped scenario has.
PINNED: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, CHANGES.get(name, {})) for name in SHIPPED},
    **{
        f"{name} with {kind}": (name, {"protocol": {"kind": kind}})
        for name, kinds in PROTOCOLS_MORE.items()
        for kind in kinds
    },
    # In `faults` it hits links that are good enough to carry everything all the same.
    "rayleigh with shadowing": (
        "rayleigh",
        {
            "faults.0": {
                **{"type": "shadowing", "target": "*", "sigma_db": 12.0},
                **{"at_s": 1.0, "for_s": 2.0},
            }
        },
    ),
}


class Pin(Struct, frozen=True):
    """What a run came to. The digest decides; the rest says how another one differs."""

    digest: str
    balance: dict[str, int]
    records: dict[str, int]  # by type
    metrics: dict[str, float | None]  # of all users
    steps: str  # a short hash of each step


class Pins(Struct, frozen=True):
    """The file. Versions are kept to tell a change of Fresco from one of what it stands on."""

    versions: dict[str, str]
    pins: dict[str, Pin]


def short(name: str) -> Scenario:
    """Returns the scenario of a pin: shortened, its faults with it, in virtual time."""
    shipped, changes = PINNED[name]
    path = SCENARIOS / f"{shipped}.yaml"
    whole = yaml.safe_load(path.read_text())
    duration_s = DURATIONS_S.get(shipped, DURATION_S)
    share = duration_s / whole["duration_s"]
    times_s = {"warmup_s": whole.get("warmup_s", 0.0)} | {
        f"faults.{number}.{key}": fault[key]
        for number, fault in enumerate(whole.get("faults", []))
        for key in FAULT_TIMES
        if key in fault
    }
    shortened = {key: round(time_s * share, TIME_DIGITS) for key, time_s in times_s.items()}
    fixed = {"runtime.kind": "loop", "duration_s": duration_s}
    return source.load(path, {**fixed, **shortened, **changes})


def played(name: str) -> tuple[list[Frame], dict[str, Any]]:
    """Plays a pin's scenario; returns its journal, answers set aside, and its summary."""
    with TemporaryDirectory() as folder:
        summary = Session(short(name), Path(folder)).run()
        return [_without_answers(frame) for frame in read_frames(Path(folder))], summary


def found(name: str) -> tuple[Pin, list[float]]:
    """Returns the pin of a scenario as it is now, and when its steps ended."""
    frames, summary = played(name)
    whole, steps = blake2b(digest_size=16), []
    for packed in map(encode, frames):
        whole.update(packed)
        steps.append(blake2b(packed).hexdigest()[:STEP_DIGITS])
    records = Counter(type(record).__name__ for frame in frames for record in frame.records)
    metrics = {
        key: value if value is None else float(f"{value:.{METRIC_DIGITS}g}")
        for key, value in summary["metrics"][ALL].items()
        if key not in ANSWERS
    }
    pin = Pin(whole.hexdigest(), summary["balance"], dict(records), metrics, "".join(steps))
    return pin, [frame.now_s for frame in frames]


@contextmanager
def plain_arithmetic() -> Iterator[Executor]:
    """Gives a process of its own: libraries look at the processor once, when they are loaded."""
    with patch.dict(os.environ, PLAIN), ProcessPoolExecutor(1, get_context("spawn")) as process:
        yield process


def pinned() -> Pins:
    """Reads the file."""
    return msgspec.json.decode(FILE.read_bytes(), type=Pins)


def differences(old: Pin, new: Pin, ends_s: list[float]) -> Iterator[str]:
    """Says how a run differs from its pin, in order of how much that tells."""
    if old.digest != new.digest:
        yield f"the digest is {new.digest}, pinned is {old.digest}"
        number = next((n for n in range(len(ends_s)) if _step(old, n) != _step(new, n)), None)
        if number is None:
            yield f"steps are equal until {ends_s[-1]:g} s, where this run ends, not the pinned one"
        else:
            yield f"the first step that differs is the one that ends at {ends_s[number]:g} s"
    for what in ("balance", "records", "metrics"):
        before, after = getattr(old, what), getattr(new, what)
        for key, value in before.items():
            if after.get(key) != value:
                yield f"{what}: {key} is {after.get(key)}, pinned is {value}"


def other_versions() -> list[str]:
    """Says what is installed in other versions than when the file was made."""
    then, now = pinned().versions, versions()
    return [
        f"{key} is {now.get(key)}, pins are of {then[key]}"
        for key in then
        if then[key] != now.get(key)
    ]


def _step(pin: Pin, number: int) -> str:
    return pin.steps[number * STEP_DIGITS : (number + 1) * STEP_DIGITS]


def _without_answers(frame: Frame) -> Frame:
    records = [
        msgspec.structs.replace(record, correct=None) if isinstance(record, TaskEnd) else record
        for record in frame.records
    ]
    return Frame(frame.now_s, records)


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in PINNED]:
        sys.exit(f"nothing is pinned as {', '.join(unknown)}; there are: {', '.join(PINNED)}")
    with plain_arithmetic() as process:
        for name in names:
            for frame in process.submit(played, name).result()[0]:
                for record in frame.records:
                    print(f"{frame.now_s:g}", record)
        if not names:
            now = {
                name: pin for name, (pin, _) in zip(PINNED, process.map(found, PINNED), strict=True)
            }
            text = json.dumps(msgspec.to_builtins(Pins(versions(), now)), indent=1)
            FILE.write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
