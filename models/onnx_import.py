"""Makes a network folder from somebody's ONNX file: looked at, run on a data set, and judged.

The model itself is kept as it is. Needs the optional part `ort`.
"""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models import scores, zoo
from models.files import write_whole
from models.onnx_engine import session_logits
from models.splits import Split, Splits
from models.torch_engine import Logits
from models.zoo import ModelError

BATCH = 100  # images at a time when it is judged
REMEDY = "export it again with one input of images and one output of logits"


def read(path: Path) -> bytes:
    """Returns an ONNX model, its weights inside; ModelError if it is none."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        packed: bytes = model.SerializeToString()
    except Exception as error:  # protobuf and onnx raise errors of many kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path} is no ONNX model that can be read ({said})") from error
    return packed


def write(
    folder: Path,
    packed: bytes,
    splits: Splits,
    *,
    dataset: str,
    command: str,
    on_part: Callable[[float], None] = lambda share: None,
) -> zoo.Manifest:
    """Judges a model on a data set and writes its folder; ModelError where the two do not fit.

    `splits` are normalised as the model was trained; `on_part` is told the share that is done.
    """
    logits = _session(packed, splits)
    _require_fit(logits, splits)
    total = len(splits.val.labels) + len(splits.test.labels)
    done = 0

    def judged(split: Split) -> float:
        nonlocal done
        answered = []
        for first in range(0, len(split.labels), BATCH):
            answered.append(logits(split.images[first : first + BATCH]).argmax(axis=1))
            done += len(answered[-1])
            on_part(done / total)
        return scores.score(np.concatenate(answered), split.labels, splits.classes, splits.ignored)

    made = zoo.Manifest(
        name=folder.name,
        architecture=zoo.ONNX_MODEL,
        dataset=dataset,
        classes=splits.classes,
        recipe="imported",
        teacher="",
        command=command,
        seed=0,
        epochs=0,
        parameters=_parameters(packed),
        val_accuracy=judged(splits.val),
        test_accuracy=judged(splits.test),
        test_images=len(splits.test.labels),
        torch="",
        created=date.today().isoformat(),
        sha256=hashlib.sha256(packed).hexdigest(),
        measure="top-1" if splits.ignored is None else "mIoU",
        right_share=splits.right_share,
        mean=splits.mean,
        deviation=splits.deviation,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / zoo.ONNX_FILE, packed)
    write_whole(folder / "manifest.json", json.dumps(msgspec.to_builtins(made), indent=1) + "\n")
    return made


def _session(packed: bytes, splits: Splits) -> Logits:
    """Loads a model; ModelError unless it has one input of images and one output."""
    try:
        session = onnxruntime.InferenceSession(packed, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own, of many kinds
        raise ModelError(f"ONNX Runtime cannot run it ({str(error).splitlines()[0]})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        found = ", ".join(each.name for each in (*inputs, *outputs))
        text = f"it has {len(inputs)} inputs and {len(outputs)} outputs ({found})"
        raise ModelError(f"{text}; {REMEDY}")
    wanted = inputs[0]
    if wanted.type != "tensor(float)" or len(wanted.shape) != 4:
        text = f"its input '{wanted.name}' is {wanted.type} of shape {wanted.shape}"
        raise ModelError(f"{text}, not float32 [batch, channels, height, width]; {REMEDY}")
    if isinstance(wanted.shape[0], int):
        text = f"it takes batches of {wanted.shape[0]} images only"
        raise ModelError(f"{text}; export it with a free first dimension (dynamic_shapes)")
    shape = _shape(splits)
    for own, given in zip(wanted.shape[1:], shape, strict=True):
        if isinstance(own, int) and own != given:
            text = f"it takes images of {_by(wanted.shape[1:])}, the data set has {_by(shape)}"
            raise ModelError(f"{text} (channels, height, width); name the set that it is for")
    return session_logits(session, splits)


def _require_fit(logits: Logits, splits: Splits) -> None:
    """Runs a few images; ModelError unless each gets a finite logit for each class."""
    for count in (1, 3):
        images = splits.test.images[:count]
        try:
            found: NDArray[Any] = logits(images)
        except Exception as error:
            text = f"it cannot run a batch of {len(images)} ({str(error).splitlines()[0]})"
            raise ModelError(f"{text}; {REMEDY}") from error
        expected = (len(images), splits.classes, *splits.test.labels.shape[1:])
        if found.shape != expected:
            text = f"it answers {len(images)} images with {_by(found.shape)} numbers"
            raise ModelError(f"{text}, expected {_by(expected)}; name the set that it is for")
        if not np.isfinite(found).all():
            raise ModelError("its logits are not finite; was it exported with its weights?")


def _shape(splits: Splits) -> tuple[int, ...]:
    shape = splits.test.images.shape[1:]
    return (1, *shape) if len(shape) == 2 else shape


def _by(shape: Any) -> str:
    return " x ".join(str(size) for size in shape)


def _parameters(packed: bytes) -> int:
    """Counts the numbers of a model's weights; whole numbers of 64 bits are shapes and axes."""
    tensors = onnx.load_from_string(packed).graph.initializer
    weights = (each for each in tensors if each.data_type != onnx.TensorProto.INT64)
    return sum(math.prod(tensor.dims) for tensor in weights)
