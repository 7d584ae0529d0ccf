"""The shipped networks by name: what each is, and its weights, checked against their hash.

A network is a folder `weights/<name>/` with `weights.safetensors` and `manifest.json`. Weights are
never pickles.
"""

import hashlib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from torch import nn

WIDTHS = {"digits-s": 12}  # name -> width of DigitsConv
NAMES = tuple(WIDTHS)
WEIGHTS = Path(__file__).parent / "weights"


class ModelError(ValueError):
    """A network or its measurements cannot be had; the message says what to do."""


class Manifest(Struct, frozen=True):
    """Where a network's weights come from, and what they are worth."""

    name: str
    dataset: str
    command: str
    seed: int
    epochs: int
    parameters: int
    val_accuracy: float
    test_accuracy: float
    torch: str
    created: str
    sha256: str


def manifest(name: str, root: Path = WEIGHTS) -> Manifest:
    """Reads what is known of a network, without torch; ModelError if the name is unknown."""
    if name not in NAMES:
        close = get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ModelError(f"unknown network '{name}'{hint} (known: {', '.join(NAMES)})")
    path = root / name / "manifest.json"
    if not path.exists():
        raise ModelError(f"{path} is missing: train it with `python -m models.train {name}`")
    return msgspec.json.decode(path.read_bytes(), type=Manifest)


def build(name: str) -> "nn.Module":
    """Returns the untrained network."""
    from models.networks import DigitsConv

    return DigitsConv(WIDTHS[name])


def load(name: str, root: Path = WEIGHTS) -> "nn.Module":
    """Returns the trained network in evaluation mode; ModelError if its weights were changed."""
    from safetensors.torch import load as load_tensors

    expected = manifest(name, root).sha256
    path = root / name / "weights.safetensors"
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != expected:
        raise ModelError(
            f"{path} has sha256 {found}, its manifest says {expected}; install Fresco again, or "
            f"train it with `python -m models.train {name}`"
        )
    network = build(name)
    network.load_state_dict(load_tensors(packed))
    return network.eval()
