"""Runs a trained network on images, and says what that cost the thread that did it.

CPU time of the computing thread, not wall time: on a busy machine the wall clock measures the
neighbours (see docs/adr/0004). The first call at a new batch size is slow, so the constructor
makes it.
"""

import time

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models import data, zoo

WARM_UP_RUNS = 10  # by then the allocator and the convolution's choice of kernel have settled


class Inference(Struct, frozen=True):
    """Labels int64 [B] or [B, H, W], and the thread-CPU seconds from pixels to labels."""

    labels: NDArray[np.int64]
    cpu_s: float


class Engine:
    """One network on `threads` threads, batch norms folded into its convolutions.

    Channels last: 19 % less CPU than channels first for digits-s, at batches of 1 and 8 alike
    (medians of 550 interleaved calls).
    """

    def __init__(self, name: str, threads: int = 1, batch_max: int = 1) -> None:
        torch.set_num_threads(threads)
        splits = data.load(zoo.manifest(name).dataset)
        self.test = splits.test
        self._scale = 1.0 / splits.scale
        shape = (1, -1, 1, 1)
        self._mean = torch.tensor(splits.mean).view(shape)
        self._gain = 1.0 / torch.tensor(splits.deviation).view(shape)
        network = fuse(zoo.load(name))
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for batch in range(1, batch_max + 1):
            for _ in range(WARM_UP_RUNS):
                self.infer(self.test.images[:batch])

    def infer(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images uint8 [B, H, W] or [B, C, H, W]."""
        began_s = time.thread_time()
        with torch.inference_mode():
            raw = torch.from_numpy(images)
            pixels = (raw.unsqueeze(1) if raw.dim() == 3 else raw).float().mul_(self._scale)
            pixels = pixels.sub_(self._mean).mul_(self._gain)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            labels = self._network(pixels).argmax(dim=1).numpy()
        return Inference(labels, time.thread_time() - began_s)

    def time(self, images: NDArray[np.uint8]) -> Inference:
        """Classifies images twice and times the second run: the device's own caches are warm.

        Between two tasks this process carries other nodes, which a device of its own would not:
        20 ms after the last call the first run costs 130 to 350 us, the second 65 us, as in a
        tight loop (digits-s, medians of 150 calls).
        """
        self.infer(images)
        return self.infer(images)


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
