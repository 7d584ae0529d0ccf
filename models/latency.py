"""Measured latencies of networks: what `fresco profile` measures, and what is read of it.

A trace per batch size: thread-CPU seconds on the machine named in the file, batch sizes taken in
turn so that a drift of the machine hits them alike. Virtual time draws from these, so they are
part of what a seed repeats.
"""

import json
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import zoo
from models.zoo import ModelError

BATCH_MAX = 8
ROUNDS = 512


class Latency(Struct, frozen=True):
    """`samples_s[b - 1]` are the thread-CPU seconds of batches of b images, as measured."""

    processor: str
    torch: str
    threads: int
    samples_s: list[list[float]]


@cache
def read(name: str) -> Latency:
    """Reads a network's measurements; ModelError where the name is unknown or there are none."""
    path = zoo.folder(name) / "latency.json"  # an unknown name is refused here
    if not path.exists():
        raise ModelError(f"{path} is missing: measure it with `fresco profile {name} --write`")
    return msgspec.json.decode(path.read_bytes(), type=Latency)


def trace(name: str, batch: int) -> NDArray[np.float64]:
    """Returns the measured seconds of batches of that size, in the order of measurement."""
    samples_s = read(name).samples_s
    if not 1 <= batch <= len(samples_s):
        raise ModelError(f"{name} was measured for batches of 1 to {len(samples_s)}, not {batch}")
    return np.array(samples_s[batch - 1])


def moments(name: str, batch: int) -> tuple[float, float]:
    """Returns E[S] in seconds and E[S^2] in seconds squared, of the whole batch."""
    samples_s = trace(name, batch)
    return float(samples_s.mean()), float((samples_s**2).mean())


def measure(
    name: str,
    rounds: int = ROUNDS,
    threads: int = 1,
    on_round: Callable[[int], None] = lambda done: None,
) -> Latency:
    """Measures batches of 1 to `BATCH_MAX` images, `rounds` times each."""
    import torch

    from models.engine import Engine

    engine = Engine(name, threads=threads, batch_max=BATCH_MAX)
    images = engine.test.images
    samples_s: list[list[float]] = [[] for _ in range(BATCH_MAX)]
    for number in range(rounds):
        for batch in range(1, BATCH_MAX + 1):
            first = (number * 31) % (len(images) - batch)
            cpu_s = engine.infer(images[first : first + batch]).cpu_s
            samples_s[batch - 1].append(round(cpu_s, 9))
        on_round(number + 1)
    return Latency(_processor(), str(torch.__version__), threads, samples_s)


class Profile(Struct, frozen=True):
    """Latency of one batch size in seconds: quantiles, E[S], E[S^2], squared variation."""

    batch: int
    mean_s: float
    second_moment_s2: float
    p50_s: float
    p95_s: float
    p99_s: float
    scv: float


def profiles(measured: Latency) -> list[Profile]:
    found = []
    for batch, samples_s in enumerate(measured.samples_s, start=1):
        seconds = np.array(samples_s)
        p50_s, p95_s, p99_s = map(float, np.percentile(seconds, (50, 95, 99)))
        mean_s, second_s2 = float(seconds.mean()), float((seconds**2).mean())
        scv = float(seconds.var()) / mean_s**2
        found.append(Profile(batch, mean_s, second_s2, p50_s, p95_s, p99_s, scv))
    return found


def write(name: str, measured: Latency) -> Path:
    """Puts measurements beside a network's weights, where scenarios find them."""
    path = zoo.folder(name) / "latency.json"
    path.write_text(json.dumps(msgspec.to_builtins(measured)) + "\n")
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
