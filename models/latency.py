"""Measured latencies of the shipped networks: `python -m models.latency digits-s`.

A trace per batch size: thread-CPU seconds on the machine named in the file, batch sizes taken in
turn so that a drift of the machine hits them alike. Virtual time draws from these, so they are
part of what a seed repeats.
"""

import argparse
import json
import platform
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.zoo import NAMES, WEIGHTS, ModelError, manifest

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
    manifest(name)  # an unknown name is refused here: measuring it would be the wrong remedy
    path = WEIGHTS / name / "latency.json"
    if not path.exists():
        raise ModelError(f"{path} is missing: measure it with `python -m models.latency {name}`")
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


def measure(name: str, rounds: int = ROUNDS) -> Latency:
    """Measures batches of 1 to `BATCH_MAX` images, `rounds` times each, on one thread."""
    import torch

    from models.engine import Engine

    engine = Engine(name, threads=1, batch_max=BATCH_MAX)
    images = engine.test.images
    samples_s: list[list[float]] = [[] for _ in range(BATCH_MAX)]
    for number in range(rounds):
        for batch in range(1, BATCH_MAX + 1):
            first = (number * 31) % (len(images) - batch)
            cpu_s = engine.infer(images[first : first + batch]).cpu_s
            samples_s[batch - 1].append(round(cpu_s, 9))
    return Latency(_processor(), str(torch.__version__), 1, samples_s)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a network's latency and write its trace.")
    parser.add_argument("name", choices=NAMES)
    name = parser.parse_args().name
    measured = measure(name)
    path = Path(WEIGHTS / name / "latency.json")
    path.write_text(json.dumps(msgspec.to_builtins(measured)) + "\n")
    for batch, samples_s in enumerate(measured.samples_s, start=1):
        seconds = np.array(samples_s)
        p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
        scv = seconds.var() / seconds.mean() ** 2
        print(
            f"batch {batch}: E[S] {1e3 * seconds.mean():.3f} ms, p50 {1e3 * p50:.3f}, "
            f"p95 {1e3 * p95:.3f}, p99 {1e3 * p99:.3f}, c2 {scv:.4f}"
        )


if __name__ == "__main__":
    main()
