"""How each network is made: architecture, data, teacher, recipe and options, by name.

The networks for digits and scenes and small CIFAR-100 students are shipped. The pair for Cityscapes
has options of our own and was not trained. The pairs of the literature on CIFAR-100 follow the
240-epoch recipe of its code (SGD 0.9, rate 0.05, batch 64, a tenth at 150, 180 and 210); they need
CIFAR-100 on disk and, to end within a day, a GPU.
"""

from msgspec import Struct

from models.distill_options import Options
from models.zoo import unknown


class Preset(Struct, frozen=True):
    """`teacher` is the name of another preset; "" for a network that learns from labels."""

    architecture: str
    dataset: str
    teacher: str
    recipe: str
    options: Options


_DIGITS = Options(60, batch=50, rate=0.05, augment="shift")
_NOISY = Options(30, batch=50, rate=0.05, augment="shift")
_TEACHER = Options(7, rate=0.1, schedule="one-cycle", augment="flip", seed=0)
_QUICK = Options(12, rate=0.1, schedule="one-cycle", augment="flip")
_SCENES = Options(20, batch=16, rate=0.05, schedule="one-cycle", augment="flip")
_PARSED = Options(120, batch=8, rate=0.02, augment="flip")
_LONG = Options(240, batch=64, rate=0.05, schedule="steps", augment="crop")
_LONG_LIGHT = Options(240, batch=64, rate=0.01, schedule="steps", augment="crop")
_PAIRS = (  # student, teacher; the light ones take a fifth of the rate
    ("resnet20", "resnet56"),
    ("resnet32", "resnet110"),
    ("resnet8x4", "resnet32x4"),
    ("wrn-16-2", "wrn-40-2"),
    ("vgg8", "vgg13"),
    ("shufflenet-v2", "resnet32x4"),
    ("mobilenet-v2", "vgg13"),
)
_LIGHT = ("shufflenet-v2", "mobilenet-v2")


def _literature() -> dict[str, Preset]:
    found = {}
    for student, teacher in _PAIRS:
        options = _LONG_LIGHT if student in _LIGHT else _LONG
        made_by = f"cifar100-{teacher}"
        found[made_by] = Preset(teacher, "cifar100", "", "scratch", _LONG)
        found[f"cifar100-{student}"] = Preset(student, "cifar100", made_by, "bdd", options)
    return found


PRESETS = {
    "digits-teacher": Preset("digits-conv64", "digits", "", "scratch", _DIGITS),
    "digits-xs": Preset("digits-conv2", "digits", "digits-teacher", "bdd", _DIGITS),
    "digits-s": Preset("digits-conv12", "digits", "digits-teacher", "bdd", _DIGITS),
    "digits-m": Preset("digits-conv24", "digits", "digits-teacher", "bdd", _DIGITS),
    "digits-l": Preset("digits-conv48", "digits", "digits-teacher", "bdd", _DIGITS),
    "noisy-teacher": Preset("digits-conv64", "digits-noisy", "", "scratch", _NOISY),
    "noisy-xs": Preset("digits-conv2", "digits-noisy", "noisy-teacher", "bdd", _NOISY),
    "noisy-s": Preset("digits-conv4", "digits-noisy", "noisy-teacher", "bdd", _NOISY),
    "noisy-m": Preset("digits-conv12", "digits-noisy", "noisy-teacher", "bdd", _NOISY),
    "noisy-l": Preset("digits-conv48", "digits-noisy", "noisy-teacher", "bdd", _NOISY),
    "cifar100-teacher": Preset("teacher24", "cifar100", "", "scratch", _TEACHER),
    "cifar100-s": Preset("plain8", "cifar100", "cifar100-teacher", "bdd", _QUICK),
    "cifar100-m": Preset("plain16", "cifar100", "cifar100-teacher", "bdd", _QUICK),
    "cifar100-l": Preset("plain32", "cifar100", "cifar100-teacher", "bdd", _QUICK),
    "scenes-teacher": Preset("psp-plain24", "scenes", "", "scratch", _SCENES),
    "scenes-xs": Preset("psp-plain4", "scenes", "scenes-teacher", "bdd", _SCENES),
    "scenes-s": Preset("psp-plain8", "scenes", "scenes-teacher", "bdd", _SCENES),
    "scenes-m": Preset("psp-plain12", "scenes", "scenes-teacher", "bdd", _SCENES),
    "cityscapes-psp-resnet101": Preset("psp-resnet101", "cityscapes", "", "scratch", _PARSED),
    "cityscapes-psp-resnet18": Preset(
        "psp-resnet18", "cityscapes", "cityscapes-psp-resnet101", "bdd", _PARSED
    ),
    **_literature(),
}


def preset(name: str) -> Preset:
    """Returns a preset; ModelError with the nearest name if there is none."""
    if name in PRESETS:
        return PRESETS[name]
    raise unknown("preset", name, PRESETS)
