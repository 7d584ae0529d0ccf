"""CIFAR networks against the parameter counts that the literature's code prints."""

import pytest
import torch
from macs import count_macs
from torch import nn

from models import zoo
from models.torch_engine import fuse
from models.zoo import ModelError

# RepDistiller (Tian et al., 2020), 100 classes; the last three are ours, counted by hand.
PARAMETERS = {
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn-16-2": 703_284,
    "wrn-40-2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    "mobilenet-v2": 812_836,
    "shufflenet-v2": 1_355_528,
    "plain16": 9 * (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    + 2 * 2 * (16 + 32 + 64)
    + 65 * 100,
}
MACS_MILLIONS = {"resnet20": 40.8, "resnet56": 125.7, "plain8": 0.65, "plain32": 9.67}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_are_the_published_ones(name: str) -> None:
    network = zoo.build(name, 100).eval()

    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize("name", sorted(MACS_MILLIONS))
def test_multiplications_are_the_published_ones(name: str) -> None:
    counted = count_macs(zoo.build(name, 100), torch.zeros(1, 3, 32, 32))

    assert counted / 1e6 == pytest.approx(MACS_MILLIONS[name], rel=0.005)


def test_a_convolution_is_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten())

    assert count_macs(network, torch.zeros(1, 4, 8, 8)) == 6 * 4 * 4 * (4 // 2) * 9


@pytest.mark.parametrize("name", ["resnet8x4", "wrn-16-2", "vgg8", "shufflenet-v2", "plain8"])
def test_fusing_changes_no_answer(name: str) -> None:
    torch.manual_seed(1)
    network = zoo.build(name, 100)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # not the identity that a fresh one is
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            layer.running_mean = torch.randn_like(layer.weight) * 0.1
            layer.running_var = torch.rand_like(layer.weight) + 0.5
    x = torch.randn(2, 3, 32, 32)
    network.eval()
    with torch.inference_mode():
        before = network(x)
        after = fuse(network)(x)

    assert torch.allclose(before, after, atol=1e-3 * float(before.abs().max()))


def test_an_unknown_architecture_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'resnet56'"):
        zoo.build("resnet57", 10)
