"""Runs a trained network on images, and says what that cost the thread that did it.

CPU time of the computing thread, not wall time: on a busy machine the wall clock measures the
neighbours (see docs/adr/0004). The first call at a new batch size is slow, so the constructor
makes it. What computes is torch, or ONNX Runtime (`onnx_engine.py`).
"""

import time
from collections.abc import Callable

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models import data, latency, zoo
from models.splits import Splits

WARM_UP_RUNS = 10  # by then the allocator and the convolution's choice of kernel have settled

Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Maps images uint8 [B, H, W] or [B, C, H, W] to logits [B, K]."""


class Inference(Struct, frozen=True):
    """Labels int64 [B] or [B, H, W], and the thread-CPU seconds from pixels to labels."""

    labels: NDArray[np.int64]
    cpu_s: float


class Engine:
    """One network on `threads` threads; `kind` is one of `latency.ENGINES`."""

    def __init__(
        self, name: str, threads: int = 1, batch_max: int = 1, kind: str = latency.TORCH
    ) -> None:
        splits = network_data(name)
        self.test = splits.test
        self.logits = _logits(name, splits, threads, kind)
        for batch in range(1, batch_max + 1):
            for _ in range(WARM_UP_RUNS):
                self.infer(self.test.images[:batch])

    def infer(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images uint8 [B, H, W] or [B, C, H, W]."""
        began_s = time.thread_time()
        labels = self.logits(images).argmax(axis=1)
        return Inference(labels, time.thread_time() - began_s)

    def time(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images twice and times the second run: the device's own caches are warm.

        Between two tasks this process carries other nodes, which a device of its own would not:
        20 ms after the last call the first run costs 130 to 350 us, the second 65 us, as in a
        tight loop (digits-s, medians of 150 calls).
        """
        self.infer(images)
        return self.infer(images)


def network_data(name: str) -> Splits:
    """Loads the data set of a network, normalised as the network was trained."""
    made = zoo.manifest(name)
    splits = data.load(made.dataset)
    if made.mean is None or made.deviation is None:
        return splits
    return msgspec.structs.replace(splits, mean=made.mean, deviation=made.deviation)


def _logits(name: str, splits: Splits, threads: int, kind: str) -> Logits:
    if kind == latency.TORCH:
        return torch_logits(name, splits, threads)
    latency.require(kind)
    from models.onnx_engine import onnx_logits

    return onnx_logits(name, splits, threads, is_int8=kind == latency.ONNX_INT8)


def torch_logits(name: str, splits: Splits, threads: int) -> Logits:
    """Loads a network into torch, batch norms folded into its convolutions, channels last.

    Channels last: 19 % less CPU than channels first for digits-s, at batches of 1 and 8 alike
    (medians of 550 interleaved calls).
    """
    torch.set_num_threads(threads)
    shape = (1, -1, 1, 1)
    scale = 1.0 / splits.scale
    mean = torch.tensor(splits.mean).view(shape)
    gain = 1.0 / torch.tensor(splits.deviation).view(shape)
    network = fuse(zoo.load(name))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compute(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            raw = torch.from_numpy(images)
            pixels = (raw.unsqueeze(1) if raw.dim() == 3 else raw).float().mul_(scale)
            pixels = pixels.sub_(mean).mul_(gain)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            logits: NDArray[np.float32] = network(pixels).numpy()
            return logits

    return compute


def fuse(network: nn.Module) -> nn.Module:
    """Folds each batch norm into the convolution before it, in every sequence of layers."""
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential):
            setattr(network, name, nn.Sequential(*_fused(child)))
        else:
            fuse(child)
    return network


def _fused(layers: nn.Sequential) -> list[nn.Module]:
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and found and isinstance(found[-1], nn.Conv2d):
            found[-1] = fuse_conv_bn_eval(found[-1], layer)
        elif isinstance(layer, nn.Sequential):
            found.append(nn.Sequential(*_fused(layer)))
        else:
            found.append(fuse(layer))
    return found
