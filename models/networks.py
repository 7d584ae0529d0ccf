"""What networks are built of, and those for digits; which a name means stands in `zoo.py`."""

from torch import Tensor, nn
from torch.nn import functional


def conv_norm(
    inputs: int,
    outputs: int,
    size: int = 3,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: bool = True,
) -> list[nn.Module]:
    """Returns a convolution that keeps the size but for its stride, its norm, and a ReLU."""
    padding = size // 2 * dilation
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, nn.ReLU(inplace=True)] if act else layers


class Block(nn.Module):
    """Some convolutions and a shortcut (He et al., 2016)."""

    def __init__(self, body: list[nn.Module], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        same = stride == 1 and inputs == outputs
        shortcut = [] if same else conv_norm(inputs, outputs, 1, stride, act=False)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def basic(inputs: int, width: int, stride: int, dilation: int = 1) -> Block:
    """Returns a block of two convolutions."""
    first = conv_norm(inputs, width, 3, stride, dilation)
    second = conv_norm(width, width, 3, 1, dilation, act=False)
    return Block([*first, *second], inputs, width, stride)


class Classifier(nn.Module):
    """Features, their mean over the picture, and a linear head."""

    def __init__(self, features: list[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


def digits(width: int, classes: int) -> Classifier:
    """A small network for grey images float32 [B, 1, 8, 8] scaled to [0, 1]; logits [B, K]."""
    plan = ((width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2))
    return Classifier(convolutions(1, plan), 4 * width, classes)


def convolutions(inputs: int, plan: tuple[tuple[int, int], ...]) -> list[nn.Module]:
    """Returns 3 x 3 convolutions in a row; `plan` holds the width and stride of each."""
    layers: list[nn.Module] = []
    for outputs, stride in plan:
        layers += conv_norm(inputs, outputs, stride=stride)
        inputs = outputs
    return layers
