"""Networks for 32 x 32 colour images, as the distillation literature uses them, and our own.

Input float32 [B, 3, 32, 32], output logits [B, K]. ResNet, WRN, VGG, MobileNetV2, ShuffleNetV2 are
the CIFAR forms of Tian et al., "Contrastive representation distillation", 2020, whose parameter
counts the tests compare with. `plain` are ours: a stem and six convolutions, cheap on one core.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks import Classifier, basic, conv_norm, convolutions


def resnet(depth: int, widths: tuple[int, ...], classes: int) -> Classifier:
    """ResNet of `depth` = 6 n + 2 layers; `widths` of stem and three stages."""
    blocks = (depth - 2) // 6
    layers = conv_norm(3, widths[0])
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(basic(outputs if block else inputs, outputs, stride))
    return Classifier(layers, widths[-1], classes)


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class _Wide(nn.Module):
    """Norm and activation before each convolution (Zagoruyko and Komodakis, 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, outputs, stride=stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _conv(outputs, outputs)
        self.same = inputs == outputs
        self.shortcut = nn.Identity() if self.same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        body = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        shortcut: Tensor = x if self.same else self.shortcut(active)
        out: Tensor = body + shortcut
        return out


def wide_resnet(depth: int, factor: int, classes: int) -> Classifier:
    """WRN-`depth`-`factor`, depth = 6 n + 4."""
    blocks, widths = (depth - 4) // 6, (16, 16 * factor, 32 * factor, 64 * factor)
    layers: list[nn.Module] = [_conv(3, widths[0])]
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(_Wide(outputs if block else inputs, outputs, stride))
    layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)]
    return Classifier(layers, widths[-1], classes)


VGG_WIDTHS = {
    8: ((64,), (128,), (256,), (512,), (512,)),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
}


def vgg(depth: int, classes: int) -> Classifier:
    """VGG8 or VGG13 with batch norm; convolutions keep their bias, as in the literature's code."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, widths in enumerate(VGG_WIDTHS[depth]):
        if 0 < stage < 4:
            layers.append(nn.MaxPool2d(2))
        for width in widths:
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            inputs = width
    return Classifier(layers, inputs, classes)


class _Inverted(nn.Module):
    """Inverted residual (Sandler et al., 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.body = nn.Sequential(
            *conv_norm(inputs, hidden, 1),
            *conv_norm(hidden, hidden, 3, stride, groups=hidden),
            *conv_norm(hidden, outputs, 1, act=False),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x) if self.same else self.body(x)
        return out


def mobilenet_v2(classes: int) -> Classifier:
    """MobileNetV2 of half width with expansion 6, in its CIFAR form."""
    plan = (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    layers = conv_norm(3, 16, 3, 2)
    inputs = 16
    for expand, width, count, stride in plan:
        outputs = width // 2
        for number in range(count):
            layers.append(_Inverted(inputs, outputs, stride if number == 0 else 1, expand))
            inputs = outputs
    layers += conv_norm(inputs, 1280, 1)
    return Classifier(layers, 1280, classes)


class _Shuffle(nn.Module):
    """ShuffleNetV2 unit (Ma et al., 2018): split, or two branches where the picture is halved."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.halves = stride == 2
        if self.halves:
            self.left = nn.Sequential(
                *conv_norm(inputs, inputs, 3, 2, groups=inputs, act=False),
                *conv_norm(inputs, half, 1),
            )
        own = inputs if self.halves else half
        self.right = nn.Sequential(
            *conv_norm(own, half, 1),
            *conv_norm(half, half, 3, stride, groups=half, act=False),
            *conv_norm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            both = torch.cat([self.left(x), self.right(x)], dim=1)
        else:
            left, right = x.chunk(2, dim=1)
            both = torch.cat([left, self.right(right)], dim=1)
        batch, channels, height, width = both.shape
        return both.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(both.shape)


def shufflenet_v2(classes: int) -> Classifier:
    """ShuffleNetV2 x1 with a stem that keeps the picture's size."""
    layers = conv_norm(3, 24, 1)
    inputs = 24
    for outputs, count in ((116, 3), (232, 7), (464, 3)):
        layers.append(_Shuffle(inputs, outputs, 2))
        layers += [_Shuffle(outputs, outputs, 1) for _ in range(count)]
        inputs = outputs
    layers += conv_norm(inputs, 1024, 1)
    return Classifier(layers, 1024, classes)


def plain(width: int, classes: int) -> Classifier:
    """Six 3 x 3 convolutions of `width` to 4 `width`, strides 2, 1, 2, 1, 2, 1."""
    plan = ((width, 2), (width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2), (4 * width, 1))
    return Classifier(convolutions(3, plan), 4 * width, classes)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_norm(width, width), *conv_norm(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def teacher24(classes: int) -> Classifier:
    """A small ResNet-9 of width 24 with a stem of stride 2: the teacher that a CPU can train."""
    w = 24
    layers = [
        *conv_norm(3, w, stride=2),
        *conv_norm(w, 2 * w),
        _Residual(2 * w),
        *conv_norm(2 * w, 4 * w, stride=2),
        *conv_norm(4 * w, 8 * w, stride=2),
        _Residual(8 * w),
    ]
    return Classifier(layers, 8 * w, classes)
