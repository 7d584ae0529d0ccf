"""Networks that label pixels: parameters by hand and as published, shapes, dilation, fusing."""

import pytest
import torch
from macs import count_macs
from torch import nn

from models import segmentation_nets, zoo
from models.torch_engine import fuse

# torchvision's ResNets without their head of 1,000 classes: 11,689,512 and 44,549,160 parameters
# less 513,000 and 2,049,000.
BACKBONES = {"resnet18": 11_176_512, "resnet101": 42_500_160}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def head(width: int, classes: int) -> int:
    """Four squeezes to a quarter, a 3 x 3 convolution of twice the width, the classifier."""
    quarter = width // 4
    squeezes = 4 * (width * quarter + 2 * quarter)
    return squeezes + 9 * 2 * width * quarter + 2 * quarter + quarter * classes + classes


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("resnet101", 2048)])
def test_parameters_are_the_published_backbone_and_the_head_by_hand(name: str, width: int) -> None:
    with torch.device("meta"):  # shapes without numbers
        network = zoo.build(f"psp-{name}", 19)
        logits = network.eval()(torch.zeros(1, 3, 256, 512))

    assert logits.shape == (1, 19, 256, 512)
    assert isinstance(network, segmentation_nets.Parser)
    assert count(network.features) == BACKBONES[name]
    assert count(network) == BACKBONES[name] + head(width, 19)


@pytest.mark.parametrize("w", [4, 24])
def test_parameters_of_ours_are_as_counted_by_hand(w: int) -> None:
    convolutions = 9 * (3 * w + w * 2 * w + 2 * 2 * w * 2 * w)
    squeezes = 2 * (2 * w * w + 2 * w)
    last = 9 * 4 * w * 2 * w + 2 * 2 * w + 2 * w * 6 + 6
    norms = 2 * (w + 3 * 2 * w)

    assert count(zoo.build(f"psp-plain{w}", 6)) == convolutions + norms + squeezes + last


def test_dilation_keeps_an_eighth_of_the_size_and_what_a_pixel_sees() -> None:
    features, width = segmentation_nets.dilated_resnet((2, 2, 2, 2), is_deep=False)
    maps = features.to("meta").eval()(torch.zeros(1, 3, 64, 128, device="meta"))

    assert maps.shape == (1, width, 8, 16)
    convolutions = [layer for layer in features.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.dilation[0] for layer in convolutions} == {1, 2, 4}


def test_multiplications_of_the_stem_grow_with_the_picture() -> None:
    small, large = (
        count_macs(zoo.build("psp-plain4", 6), torch.zeros(1, 3, side, side)) for side in (32, 64)
    )
    # Convolutions quadruple; the squeezes of 1 + 16 cells of 8 by 4 channels do not.
    assert large - 17 * 8 * 4 == 4 * (small - 17 * 8 * 4)


def test_every_pixel_gets_logits_and_fusing_changes_none() -> None:
    torch.manual_seed(1)
    features = nn.Sequential(
        segmentation_nets.basic(3, 8, 2, 1), segmentation_nets.bottleneck(8, 4, 1, 2)
    )
    network = segmentation_nets.Parser(features, 16, 4, (1, 2, 3, 6), 5)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # not the identity that a fresh one is
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            layer.running_mean = torch.randn_like(layer.weight) * 0.1
            layer.running_var = torch.rand_like(layer.weight) + 0.5
    x = torch.randn(2, 3, 18, 34)
    network.eval()
    with torch.inference_mode():
        before = network(x)
        after = fuse(network)(x)

    assert before.shape == (2, 5, 18, 34)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))
