"""The engine answers as the plain network does, and bills the thread that computed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models import data, zoo
from models.engine import Engine, Inference
from models.torch_engine import fuse

NAME = "digits-s"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(NAME, threads=1, batch_max=8)


def test_the_fused_network_agrees_with_the_plain_one() -> None:
    x = torch.from_numpy(data.load("digits").test.images / 16.0).float()[:, None]
    plain, fused = zoo.load(NAME), fuse(zoo.load(NAME))

    with torch.inference_mode():
        z, z_fused = plain(x), fused(x)

    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in fused.modules())
    # float32 has 6e-8 relative error a rounding; logits are about 10 and a sum has 217 terms.
    assert float((z - z_fused).abs().max()) < 1e-4
    assert torch.equal(z.argmax(dim=1), z_fused.argmax(dim=1))


def test_the_engine_labels_as_the_plain_network_does(engine: Engine) -> None:
    images = engine.test.images
    with torch.inference_mode():
        z = zoo.load(NAME)(torch.from_numpy(images / 16.0).float()[:, None])

    labels = engine.infer(images).labels

    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, z.argmax(dim=1).numpy())


def test_a_batch_of_eight_is_labelled_as_its_images_alone(engine: Engine) -> None:
    images = engine.test.images

    for first in range(0, len(images) - 7, 8):
        batch = images[first : first + 8]
        alone = [int(engine.infer(image[None]).labels[0]) for image in batch]
        assert engine.infer(batch).labels.tolist() == alone


def test_the_cost_is_cpu_time_of_the_thread_that_called(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by: list[int] = []

    def clock_s() -> float:
        read_by.append(threading.get_ident())
        return (5.0, 7.5)[len(read_by) - 1]

    def infer() -> tuple[Inference, int]:
        return engine.infer(engine.test.images[:1]), threading.get_ident()

    monkeypatch.setattr(time, "thread_time", clock_s)  # a CPU clock has no exact value to expect
    with ThreadPoolExecutor(max_workers=1) as pool:
        inference, caller = pool.submit(infer).result()

    assert inference.cpu_s == 2.5
    assert read_by == [caller, caller]


@pytest.mark.parametrize(
    ("runs_s", "billed_s"),
    [
        ((0.0001, 0.0009, 0.0003), 0.0003),  # the first counts for nothing; short: repeated
        ((0.0001, 0.0003, 0.0009), 0.0003),
        ((0.0001, 0.002), 0.002),  # long: not repeated
    ],
)
def test_a_timed_inference_bills_a_run_after_the_first_and_repeats_short_ones(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    runs_s: tuple[float, ...],
    billed_s: float,
) -> None:
    readings_s = iter([t for run_s in runs_s for t in (0.0, run_s)])
    images = engine.test.images[:8]
    expected = engine.infer(images).labels

    monkeypatch.setattr(time, "thread_time", lambda: next(readings_s))
    inference = engine.time(images)

    assert inference.cpu_s == billed_s
    assert list(readings_s) == []
    np.testing.assert_array_equal(inference.labels, expected)
