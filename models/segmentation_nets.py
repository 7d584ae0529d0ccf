"""Networks that label every pixel: pyramid scene parsing (Zhao et al., CVPR 2017), large and small.

Input float32 [B, 3, H, W], output logits [B, K, H, W]. `psp-resnet18` is the light student of the
literature on Cityscapes, on the ResNet of He et al. with strides of the last two stages turned into
dilations; `psp-resnet101` its usual teacher. `psp_plain` are ours, for pictures of 32 x 64. All
start from noise: weights from ImageNet, which the literature begins with, are not shipped.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks import Block, basic, conv_norm

BINS = (1, 2, 3, 6)


def bottleneck(inputs: int, width: int, stride: int, dilation: int) -> Block:
    body = [
        *conv_norm(inputs, width, 1),
        *conv_norm(width, width, 3, stride, dilation),
        *conv_norm(width, 4 * width, 1, act=False),
    ]
    return Block(body, inputs, 4 * width, stride)


def dilated_resnet(counts: tuple[int, ...], is_deep: bool) -> tuple[nn.Sequential, int]:
    """Returns a ResNet without its head, an eighth of the picture's size, and its width."""
    layers = [*conv_norm(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    block, growth = (bottleneck, 4) if is_deep else (basic, 1)
    inputs = 64
    for count, width, stride, dilation in zip(
        counts, (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4), strict=True
    ):
        for number in range(count):
            layers.append(block(inputs, width, 1 if number else stride, dilation))
            inputs = growth * width
    return nn.Sequential(*layers), inputs


class Pyramid(nn.Module):
    """Means over ever finer grids, each squeezed, spread out again and put beside the features."""

    def __init__(self, inputs: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.bins = bins
        squeezed = inputs // len(bins)
        self.squeezes = nn.ModuleList(nn.Sequential(*conv_norm(inputs, squeezed, 1)) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for size, squeeze in zip(self.bins, self.squeezes, strict=True):
            level = squeeze(functional.adaptive_avg_pool2d(x, size))
            levels.append(_spread(level, (x.shape[2], x.shape[3])))
        return torch.cat(levels, dim=1)


class Parser(nn.Module):
    """Features, their pyramid, a head, and its logits spread over the picture's pixels."""

    def __init__(
        self, features: nn.Sequential, width: int, hidden: int, bins: tuple[int, ...], classes: int
    ) -> None:
        super().__init__()
        self.features = features
        self.pyramid = Pyramid(width, bins)
        both = width + width // len(bins) * len(bins)
        self.head = nn.Sequential(*conv_norm(both, hidden, 3), nn.Conv2d(hidden, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.pyramid(self.features(x)))
        return _spread(logits, (x.shape[2], x.shape[3]))


def _spread(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def psp_resnet(counts: tuple[int, ...], is_deep: bool, classes: int) -> Parser:
    features, width = dilated_resnet(counts, is_deep)
    return Parser(features, width, width // 4, BINS, classes)


def psp_plain(width: int, classes: int) -> Parser:
    """Four 3 x 3 convolutions of `width` and 2 `width`, half of the picture's size, ever wider
    dilated, and a pyramid of two levels."""
    w = width
    layers = [
        *conv_norm(3, w, 3, 2),
        *conv_norm(w, 2 * w, 3),
        *conv_norm(2 * w, 2 * w, 3, dilation=2),
        *conv_norm(2 * w, 2 * w, 3, dilation=4),
    ]
    return Parser(nn.Sequential(*layers), 2 * w, 2 * w, (1, 4), classes)
