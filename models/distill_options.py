"""How a network is trained, as plain values: nothing here needs torch."""

import math
from typing import Literal

from msgspec import Struct


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How to train. `milestones` are shares of the epochs at which `steps` divides the rate by 10.

    `augment`: shift by a pixel each way, flip left to right, or crop (padded by 4) and flip.
    `labelled`: only so many training images keep their label; the teacher sees all.
    """

    epochs: int
    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "steps", "one-cycle"] = "cosine"
    milestones: tuple[float, ...] = (0.625, 0.75, 0.875)
    augment: Literal["none", "shift", "flip", "crop"] = "none"
    labelled: int | None = None
    seed: int = 1


def rate_at(options: Options, done: float) -> float:
    """Returns the learning rate when the share `done` of all steps is done."""
    match options.schedule:
        case "cosine":
            return options.rate * 0.5 * (1.0 + math.cos(math.pi * done))
        case "steps":
            return options.rate * 0.1 ** sum(done >= at for at in options.milestones)
        case "one-cycle":
            rise = 0.3
            if done < rise:
                return options.rate * (0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * done / rise)))
            return options.rate * 0.5 * (1.0 + math.cos(math.pi * (done - rise) / (1.0 - rise)))
