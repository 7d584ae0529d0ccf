"""Networks in ONNX Runtime: exported from our own weights, in float32 or quantised to int8.

The optional part `ort`. Nothing is kept on disk: an export takes about a second of CPU, three for
the first one in a process. int8 is static: ranges of activations come from training images.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime import quantization

from models import zoo
from models.splits import Splits
from models.torch_engine import Logits, fuse

CALIBRATION_IMAGES = 256  # of the training split; twice as many change no label of the digits
CALIBRATION_BATCH = 32
EXAMPLE_BATCH = 8  # an example of one image would be taken for a batch that is always one


def onnx_logits(name: str, splits: Splits, threads: int, is_int8: bool) -> Logits:
    """Loads a network into ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pool that waits by spinning would burn the cores that other nodes compute on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = exported(name, is_int8)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session_logits(session, splits)


def session_logits(session: onnxruntime.InferenceSession, splits: Splits) -> Logits:
    """Returns what maps images to a session's first output."""
    images_name = session.get_inputs()[0].name

    def compute(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {images_name: pixels(images, splits)})[0]
        return logits

    return compute


def pixels(images: NDArray[np.uint8], splits: Splits) -> NDArray[np.float32]:
    """Returns images as a network wants them: float32 [B, C, H, W], normalised."""
    raw = images[:, None] if images.ndim == 3 else images
    scaled = raw.astype(np.float32) * np.float32(1.0 / splits.scale)
    if splits.mean == (0.0,) and splits.deviation == (1.0,):
        return scaled
    mean, deviation = (
        np.asarray(each, np.float32)[:, None, None] for each in (splits.mean, splits.deviation)
    )
    normalised: NDArray[np.float32] = (scaled - mean) / deviation
    return normalised


@cache
def exported(name: str, is_int8: bool) -> bytes:
    """Returns a network as an ONNX model, batch norms folded, for batches of any size."""
    splits = zoo.data_of(name)
    with _quiet():
        model = _model(name, splits)
        if not is_int8:
            packed: bytes = model.SerializeToString()
            return packed
        with TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            calibration = _Calibration(splits, model.graph.input[0].name)
            quantization.quantize_static(model, path, calibration, per_channel=True)
            return path.read_bytes()


def _model(name: str, splits: Splits) -> Any:
    """Returns the model that was imported, or exports our own weights."""
    made, packed = zoo.checked_weights(zoo.folder(name))
    if made.architecture == zoo.ONNX_MODEL:
        return onnx.load_from_string(packed)
    example = torch.from_numpy(pixels(splits.train.images[:EXAMPLE_BATCH], splits))
    program = torch.onnx.export(
        fuse(zoo.load(name)),
        (example,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


class _Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands training images to the quantiser."""

    def __init__(self, splits: Splits, images_name: str) -> None:
        self._name = images_name
        images = splits.train.images[:CALIBRATION_IMAGES]
        self._batches = iter(
            pixels(images[first : first + CALIBRATION_BATCH], splits)
            for first in range(0, len(images), CALIBRATION_BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks on torch's own code, and on packages that we do not use, away.

    Errors are exceptions; nothing of them is lost.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
