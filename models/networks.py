"""Network definitions. Plain modules; which of them a name means stands in `zoo.py`."""

import torch
from torch import nn


class DigitsConv(nn.Module):
    """A small convolutional classifier of 8 x 8 grey images.

    Input float32 [B, 1, 8, 8] scaled to [0, 1]; output logits [B, 10].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, width, stride=1),
            *_block(width, 2 * width, stride=2),
            *_block(2 * width, 2 * width, stride=1),
            *_block(2 * width, 4 * width, stride=2),
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


def _block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
