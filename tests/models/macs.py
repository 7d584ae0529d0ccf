"""Counts the work of a network, to compare with published figures."""

import torch
from torch import Tensor, nn


def count_macs(network: nn.Module, image: Tensor) -> int:
    """Counts the multiply-accumulates of convolutions and linear layers for one image [1, ...]."""
    total = 0

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            total += output.numel() * fan_in
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    handles = [layer.register_forward_hook(hook) for layer in network.modules()]
    with torch.inference_mode():
        network.eval()(image)
    for handle in handles:
        handle.remove()
    return total
