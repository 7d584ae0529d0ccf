"""Measured latencies of networks: what `fresco profile` measures, and what is read of it.

A trace per engine and batch size: thread-CPU seconds on the machine named in the file, batch sizes
and engines taken in turn so that a drift of the machine hits them alike. Virtual time draws from
these, so they are part of what a seed repeats.
"""

import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import zoo
from models.engines import TORCH
from models.files import write_whole
from models.zoo import ModelError

BATCH_MAX = 8
ROUNDS = 512


class Latency(Struct, frozen=True):
    """`samples_s[b - 1]` are the thread-CPU seconds of batches of b images, as measured.

    `load` is how many processes wanted a core when it was measured (the one-minute average).
    """

    processor: str
    torch: str
    threads: int
    samples_s: list[list[float]]
    engine: str = TORCH
    onnxruntime: str = ""  # version; "" where it was not used
    load: float | None = None  # None: not noted


def _path(name: str, engine: str) -> Path:
    suffix = "" if engine == TORCH else f"-{engine}"
    return zoo.folder(name) / f"latency{suffix}.json"  # an unknown name is refused here


@cache
def read(name: str, engine: str = TORCH) -> Latency:
    """Reads a network's measurements; ModelError where the name is unknown or there are none."""
    path = _path(name, engine)
    command = f"fresco profile {name}{'' if engine == TORCH else f' --engine {engine}'} --write"
    if not path.exists():
        raise ModelError(f"{path} is missing: measure it with `{command}`")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Latency)
    except msgspec.DecodeError as error:
        raise ModelError(f"{path} is damaged ({error}): measure anew with `{command}`") from error
    for batch, samples_s in enumerate(found.samples_s, start=1):
        if not samples_s or not all(0.0 < sample_s < math.inf for sample_s in samples_s):
            text = f"{path}: the times of batches of {batch} are not all positive seconds"
            raise ModelError(f"{text}: measure anew with `{command}`")
    return found


def trace(name: str, batch: int, engine: str = TORCH) -> NDArray[np.float64]:
    """Returns the measured seconds of batches of that size, in the order of measurement."""
    samples_s = read(name, engine).samples_s
    if not 1 <= batch <= len(samples_s):
        raise ModelError(f"{name} was measured for batches of 1 to {len(samples_s)}, not {batch}")
    return np.array(samples_s[batch - 1])


def moments(name: str, batch: int, engine: str = TORCH) -> tuple[float, float]:
    """Returns E[S] in seconds and E[S^2] in seconds squared, of the whole batch."""
    samples_s = trace(name, batch, engine)
    return float(samples_s.mean()), float((samples_s**2).mean())


def measure(
    name: str,
    rounds: int = ROUNDS,
    threads: int = 1,
    on_round: Callable[[int], None] = lambda done: None,
    engines: Sequence[str] = (TORCH,),
    batch_max: int = BATCH_MAX,
) -> list[Latency]:
    """Measures batches of 1 to `batch_max` images on each engine, `rounds` times each."""
    import torch

    from models.engine import Engine

    loaded = [Engine(name, threads, batch_max, engine) for engine in engines]
    images = loaded[0].test.images
    samples_s: list[list[list[float]]] = [[[] for _ in range(batch_max)] for _ in engines]
    for number in range(rounds):
        for batch in range(1, batch_max + 1):
            first = (number * 31) % (len(images) - batch)
            for engine, found_s in zip(loaded, samples_s, strict=True):
                cpu_s = engine.time(images[first : first + batch]).cpu_s
                found_s[batch - 1].append(round(cpu_s, 9))
        on_round(number + 1)
    return [
        Latency(
            processor=_processor(),
            torch=str(torch.__version__),
            threads=threads,
            samples_s=found_s,
            engine=engine,
            onnxruntime="" if engine == TORCH else version("onnxruntime"),
            load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        )
        for engine, found_s in zip(engines, samples_s, strict=True)
    ]


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
    path = _path(name, measured.engine)
    write_whole(path, json.dumps(msgspec.to_builtins(measured)) + "\n")
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
