"""ONNX Runtime answers as torch does, in float32 and int8, on the thread that is billed."""

import importlib.metadata
import time

import numpy as np
import pytest

from models import data, engines
from models.engine import Engine
from models.zoo import ModelError

NAMES = ("digits-xs", "digits-l")
IMAGES = data.load("digits").test.images
LABELS = data.load("digits").test.labels


def engine(name: str, kind: str) -> Engine:
    return Engine(name, batch_max=1, kind=kind)


@pytest.mark.parametrize("name", NAMES)
def test_float32_logits_agree_with_fused_torch(name: str) -> None:
    z, z_torch = engine(name, "onnx").logits(IMAGES), engine(name, "torch").logits(IMAGES)

    # float32 has 6e-8 relative error a rounding; logits are about 10, sums have up to 864 terms.
    assert float(np.abs(z - z_torch).max()) < 1e-4
    np.testing.assert_array_equal(z.argmax(axis=1), z_torch.argmax(axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_right_as_often_within_a_point(name: str) -> None:
    found, plain = engine(name, "onnx-int8"), engine(name, "torch")

    z = found.logits(IMAGES)

    def right(logits: np.ndarray) -> float:
        return float((logits.argmax(axis=1) == LABELS).mean())

    assert abs(right(z) - right(plain.logits(IMAGES))) <= 0.01
    # Else it would not be int8: eight bits leave an error of a few 1/256 of the largest logit.
    assert float(np.abs(z - plain.logits(IMAGES)).max()) > 1e-3


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8"])
def test_batches_of_any_size_are_labelled_as_their_images_alone(kind: str) -> None:
    found = engine("digits-xs", kind)
    alone = [int(found.infer(image[None]).labels[0]) for image in IMAGES[:60]]

    for size in (1, 3, 8, 60):
        labels = found.infer(IMAGES[:size]).labels
        assert labels.tolist() == alone[:size]


def test_with_one_thread_all_work_is_on_the_calling_thread() -> None:
    found = engine("digits-l", "onnx")

    process_s, thread_s = time.process_time(), time.thread_time()
    billed_s = sum(found.infer(IMAGES[:64]).cpu_s for _ in range(30))
    process_s, thread_s = time.process_time() - process_s, time.thread_time() - thread_s

    # A pool of its own would compute on other threads: half of the work with two of them.
    assert thread_s > 0.95 * process_s
    assert billed_s > 0.9 * thread_s


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(package: str) -> str:
        if package == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(engines, "version", version)

    with pytest.raises(ModelError, match=r"needs onnxruntime.*pip install -e '\.\[ort\]'"):
        engine("digits-xs", "onnx")
    assert engine("digits-xs", "torch").infer(IMAGES[:1]).labels.shape == (1,)
