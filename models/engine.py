"""Runs a trained network on images, and says what that cost the thread that did it.

CPU time of the computing thread, not wall time: on a busy machine the wall clock measures the
neighbours (see docs/adr/0004). The first call at a new batch size is slow, so the constructor
makes it. What computes is torch, or ONNX Runtime.
"""

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import scores, zoo
from models.engines import ONNX_INT8, TORCH, require
from models.splits import Splits
from models.torch_engine import Logits, torch_logits

WARM_UP_RUNS = 10  # by then the allocator and the convolution's choice of kernel have settled
# A timing below this is repeated, and the least counts: who was preempted finds cold caches, which
# cost some 100 us. Longer ones would make their host late for more than they gain.
SHORT_S = 1e-3
CALIBRATIONS = 7  # of each batch size; their median


class Inference(Struct, frozen=True):
    """Labels int64 [B] or [B, H, W], and the thread-CPU seconds from pixels to labels."""

    labels: NDArray[np.int64]
    cpu_s: float


class Engine:
    """One network on `threads` threads; `kind` is one of `engines.ENGINES`."""

    def __init__(self, name: str, threads: int = 1, batch_max: int = 1, kind: str = TORCH) -> None:
        splits = zoo.data_of(name)
        self.test = splits.test
        self._ignored, self._right_share = splits.ignored, zoo.manifest(name).right_share
        self.logits = logits_of(name, splits, threads, kind)
        for batch in range(1, batch_max + 1):
            for _ in range(WARM_UP_RUNS):
                self.infer(self.test.images[:batch])

    def infer(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images uint8 [B, H, W] or [B, C, H, W]."""
        began_s = time.thread_time()
        labels = self.logits(images).argmax(axis=1)
        return Inference(labels, time.thread_time() - began_s)

    def time(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images; the time is that of a second run, the lesser of two if it is short.

        Between two tasks this process carries other nodes, which a device of its own would not:
        20 ms after the last call the first run costs 130 to 350 us, the second 65 us, as in a
        tight loop (digits-s, medians of 150 calls).
        """
        labels = self.infer(images).labels
        cpu_s = self.infer(images).cpu_s
        if cpu_s < SHORT_S:
            cpu_s = min(cpu_s, self.infer(images).cpu_s)
        return Inference(labels, cpu_s)

    def are_right(self, images: Sequence[int], labels: NDArray[np.int64]) -> tuple[bool, ...]:
        """Says which answers to images of the test split are right, as its manifest has it."""
        truth = self.test.labels[images]
        right = scores.are_right(labels, truth, self._right_share, self._ignored)
        return tuple(right.tolist())

    def usual_s(self, batch_max: int) -> list[float]:
        """Returns what batches of 1 to `batch_max` images take on this core now: medians, taken in
        turn so that a drift hits all sizes alike."""
        images = self.test.images
        sizes = range(1, batch_max + 1)
        rounds = [[self.time(images[:b]).cpu_s for b in sizes] for _ in range(CALIBRATIONS)]
        return [median(each) for each in zip(*rounds, strict=True)]


def logits_of(name: str, splits: Splits, threads: int, kind: str) -> Logits:
    if kind == TORCH:
        return torch_logits(name, splits, threads)
    require(kind)
    from models.onnx_engine import onnx_logits

    return onnx_logits(name, splits, threads, is_int8=kind == ONNX_INT8)
