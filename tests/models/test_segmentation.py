"""Training what labels pixels: views, scores, attention, resume; the shipped networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import answers, data, losses, scenes, scores, segmentation_nets, zoo
from models.distill import Epoch, Options, accuracy_of, fresh, train
from models.splits import VOID, Split, Splits
from models.views import Pixels
from models.zoo import ModelError

SHIPPED = ("scenes-xs", "scenes-s", "scenes-m", "scenes-teacher")
SHORT = Options(2, batch=8, rate=0.05, augment="flip", seed=3)


def few(splits: Splits, count: int = 24) -> Splits:
    part = Split(splits.train.images[:count], splits.train.labels[:count])
    return Splits(
        part, part, part, splits.classes, splits.scale, splits.mean, splits.deviation, VOID
    )


@pytest.fixture(scope="module")
def small() -> Splits:
    return few(data.load("scenes"))


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("augment", ["flip", "crop", "shift"])
def test_labels_move_with_their_picture(augment: str, small: Splits) -> None:
    # Pictures that are their own labels: whatever a view does, they stay equal.
    labels = small.train.labels
    reported = Split(np.repeat(labels[:, None], 3, axis=1), labels)
    splits = Splits(reported, reported, reported, 6, 1.0, ignored=VOID)
    pixels = Pixels(reported, splits, augment, torch.device("cpu"))

    for view in range(0, pixels.views, 7 if augment == "crop" else 1):
        chosen, views = torch.tensor([0, 5]), torch.tensor([view, view])
        x, y = pixels.take(chosen, views)[:, 0].long(), pixels.labels_of(chosen, views)
        inside = y != VOID
        assert torch.equal(x[inside], y[inside])
        assert float(inside.float().mean()) > 0.6


def test_the_accuracy_of_what_labels_pixels_is_its_mean_iou(small: Splits) -> None:
    network = zoo.load("scenes-xs")
    x = torch.from_numpy(small.test.images).float() / 255.0
    shape = (1, 3, 1, 1)
    x = (x - torch.tensor(small.mean).view(shape)) / torch.tensor(small.deviation).view(shape)
    with torch.inference_mode():
        found = network(x).argmax(dim=1).numpy()

    counts = scores.confusion(found, small.test.labels, 6, VOID)

    assert accuracy_of(network, small.test, small) == pytest.approx(
        scores.mean_iou(counts), abs=1e-9
    )


class Stopped(Exception):
    pass


@pytest.mark.parametrize("recipe", ["bdd", "at-bdd"])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    recipe: str, tmp_path: Path, small: Splits
) -> None:
    teacher, checkpoint = zoo.load("scenes-teacher"), tmp_path / "run.safetensors"

    def student() -> nn.Module:
        return fresh("psp-plain4", 6, 3)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Stopped

    whole = train(student(), small, recipe, SHORT, teacher)
    with pytest.raises(Stopped):
        train(student(), small, recipe, SHORT, teacher, stop, checkpoint)
    resumed = train(student(), small, recipe, SHORT, teacher, checkpoint=checkpoint)

    assert same(whole, resumed)
    assert not same(whole, student())


def test_energies_are_those_of_the_last_map_of_each_size() -> None:
    network = fresh("digits-conv4", 10, 1).eval()
    watch = answers.Watch(network)
    x = torch.rand(3, 1, 8, 8)
    assert watch.all_sizes(x) == [(8, 8), (4, 4), (2, 2)]
    watch.sizes = ((8, 8), (2, 2))

    with torch.no_grad():
        z, first, last = watch(x)
        assert torch.equal(z, network(x))
        assert torch.equal(first, losses.energy(network.features[:3](x)))  # type: ignore[index]
        assert torch.equal(last, losses.energy(network.features(x)))  # type: ignore[operator]


def test_what_is_kept_of_a_teacher_is_what_it_would_say(small: Splits) -> None:
    teacher = answers.Watch(zoo.load("scenes-teacher"))
    teacher.sizes = ((16, 32),)
    pixels = Pixels(small.train, small, "flip", torch.device("cpu"))
    chosen, view = torch.tensor([4, 20, 7]), torch.tensor([1, 0, 1])
    x = pixels.take(chosen, view)

    kept = answers.answers(teacher, pixels)(chosen, view, x)

    with torch.no_grad():
        for part, said in zip(kept, teacher(x), strict=True):
            assert torch.allclose(part, said, rtol=1e-4, atol=1e-4)


def test_networks_without_a_map_of_one_size_have_no_attention_to_transfer(small: Splits) -> None:
    pixels = Pixels(small.train, small, "none", torch.device("cpu"))
    student, teacher = (answers.Watch(fresh(n, 6, 1)) for n in ("psp-plain4", "wrn-16-2"))
    assert answers.shared_sizes(student, teacher, pixels) == ((16, 32),)

    fifth = nn.Sequential(nn.Conv2d(3, 8, 5, stride=5))
    teacher = answers.Watch(segmentation_nets.Parser(fifth, 8, 4, (1,), 6))
    with pytest.raises(ModelError, match=r"attention needs maps of one size: student \[\(16, 32\)"):
        answers.shared_sizes(student, teacher, pixels)


def test_mixed_precision_is_for_gpus_and_has_the_range_of_float32() -> None:
    # No GPU here: what is asked of torch, not what a GPU makes of it.
    asked = answers.precision(torch.device("cpu"))
    assert not asked._enabled
    with pytest.warns(UserWarning, match="CUDA is not available"):
        asked = answers.precision(torch.device("cuda"))
    assert asked.fast_dtype == torch.bfloat16


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_what_their_manifests_say(name: str) -> None:
    made, splits = zoo.manifest(name), data.load("scenes")

    network = zoo.load(name)

    assert (made.measure, made.right_share) == ("mIoU", scenes.RIGHT_SHARE)
    # Other processors round sums otherwise, which turns pixels that are undecided.
    assert made.test_accuracy == pytest.approx(accuracy_of(network, splits.test, splits), abs=1e-4)
    assert made.parameters == sum(p.numel() for p in network.parameters())
