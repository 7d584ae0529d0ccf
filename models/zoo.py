"""Networks by name: what each is, and its weights, checked against their hash.

A network is a folder with `manifest.json` and `weights.safetensors`, or `network.onnx` where it was
imported. Fresco ships some; others are looked for in $FRESCO_MODELS, where `fresco distill --out`
and `fresco import-onnx` put them. Weights are never pickles.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from models import data
from models.splits import Splits

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
OWN_VARIABLE = "FRESCO_MODELS"
ONNX_MODEL = "onnx"  # the architecture of a network that was imported, whatever it is inside
WEIGHTS_FILE, ONNX_FILE = "weights.safetensors", "network.onnx"


class ModelError(ValueError):
    """A network or its measurements cannot be had; the message says what to do."""


def unknown(what: str, name: str, known: Iterable[str], others: str = "") -> ModelError:
    """Returns the error of a name that means nothing, with the nearest that means something."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return ModelError(f"unknown {what} '{name}'{hint} (known: {', '.join(known)}{others})")


class Manifest(Struct, frozen=True, omit_defaults=True):
    """Where a network's weights come from, and what they are worth.

    Accuracies are in `measure`. An answer is right, for a run's `accuracy`, when at least
    `right_share` of its labels are: of one, or of all pixels that count. `mean` and `deviation` are
    those of the pixels that it was trained on, by channel; None: those of its data set.

    Its attributes are the keys of `manifest.json`.
    """

    name: str
    architecture: str
    dataset: str
    classes: int
    recipe: str
    teacher: str
    command: str
    seed: int
    epochs: int
    parameters: int
    val_accuracy: float
    test_accuracy: float
    test_images: int
    torch: str
    created: str
    sha256: str
    measure: Literal["top-1", "mIoU"] = "top-1"
    right_share: float = 1.0
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


def shelves() -> list[Path]:
    """Returns the folders that networks are looked for in."""
    own = os.environ.get(OWN_VARIABLE)
    return [WEIGHTS, *([Path(own)] if own else [])]


def names() -> tuple[str, ...]:
    """Names every network that is at hand."""
    found = [path.parent.name for shelf in shelves() for path in shelf.glob("*/manifest.json")]
    return tuple(sorted(set(found)))


def folder(name: str) -> Path:
    """Returns a network's folder; ModelError if there is none of that name."""
    for shelf in shelves():
        if (shelf / name / "manifest.json").exists():
            return shelf / name
    raise unknown("network", name, names(), f"; others from ${OWN_VARIABLE}")


def manifest(name: str) -> Manifest:
    """Reads what is known of a network, without torch; ModelError if the name is unknown."""
    return read_manifest(folder(name) / "manifest.json")


def read_manifest(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise ModelError(f"{path} is no manifest: {error}") from error


def data_of(name: str) -> Splits:
    """Loads the data set of a network, normalised as the network was trained."""
    made = manifest(name)
    splits = data.load(made.dataset)
    if made.mean is None or made.deviation is None:
        return splits
    return msgspec.structs.replace(splits, mean=made.mean, deviation=made.deviation)


def architectures() -> dict[str, "Callable[[int], nn.Module]"]:
    """Returns what makes an untrained network of so many classes, by the architecture's name."""
    from models import cifar_nets as nets
    from models import segmentation_nets as parsers
    from models.networks import digits

    narrow, wide = (16, 16, 32, 64), (32, 64, 128, 256)
    return {
        **{f"digits-conv{width}": partial(digits, width) for width in (2, 4, 12, 24, 48, 64)},
        **{f"resnet{depth}": partial(nets.resnet, depth, narrow) for depth in (20, 32, 56, 110)},
        **{f"resnet{depth}x4": partial(nets.resnet, depth, wide) for depth in (8, 32)},
        **{f"wrn-{depth}-2": partial(nets.wide_resnet, depth, 2) for depth in (16, 40)},
        **{f"vgg{depth}": partial(nets.vgg, depth) for depth in (8, 13)},
        "mobilenet-v2": nets.mobilenet_v2,
        "shufflenet-v2": nets.shufflenet_v2,
        **{f"plain{width}": partial(nets.plain, width) for width in (8, 16, 32)},
        "teacher24": nets.teacher24,
        **{f"psp-plain{width}": partial(parsers.psp_plain, width) for width in (4, 8, 12, 24)},
        "psp-resnet18": partial(parsers.psp_resnet, (2, 2, 2, 2), False),
        "psp-resnet101": partial(parsers.psp_resnet, (3, 4, 23, 3), True),
    }


def build(architecture: str, classes: int) -> "nn.Module":
    """Returns an untrained network; ModelError if there is no such architecture."""
    known = architectures()
    if architecture not in known:
        raise unknown("architecture", architecture, known)
    return known[architecture](classes)


def load(name: str) -> "nn.Module":
    """Returns the trained network in evaluation mode; ModelError if its weights were changed."""
    return load_from(folder(name))


def load_from(place: Path) -> "nn.Module":
    """As `load`, from a folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    made, packed = checked_weights(place)
    if made.architecture == ONNX_MODEL:
        raise ModelError(
            f"'{made.name}' is an ONNX model, which torch cannot run: use engine: onnx"
        )
    network = build(made.architecture, made.classes)
    try:
        network.load_state_dict(load_tensors(packed))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{place / WEIGHTS_FILE} does not hold a {made.architecture} of {made.classes} classes "
            f"({str(error).splitlines()[0]}); make it with `{made.command}`"
        ) from error
    return network.eval()


def checked_weights(place: Path) -> tuple[Manifest, bytes]:
    """Reads a network's manifest and weights, without torch; ModelError if either is damaged."""
    made = read_manifest(place / "manifest.json")
    path = place / (ONNX_FILE if made.architecture == ONNX_MODEL else WEIGHTS_FILE)
    again = f"install Fresco again, or make it with `{made.command}`"
    if not path.exists():
        raise ModelError(f"{path} is missing; {again}")
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != made.sha256:
        raise ModelError(f"{path} has sha256 {found}, its manifest says {made.sha256}; {again}")
    return made, packed
