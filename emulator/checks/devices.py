"""Whether the devices of a scenario are consistent and can serve. As in `check.py`."""

import math
from collections.abc import Iterator

from emulator.checks.complaints import Complaint, Where, suggest
from emulator.scenario import schema
from emulator.scenario.distributions import SCV_MAX, SCV_MIN
from emulator.scenario.fields import Distribution
from emulator.scenario.schema import Scenario
from models import data, engines, latency, zoo
from models.splits import DataError


def problems(chosen: Scenario) -> Iterator[Complaint]:
    works = any(group.work != 1.0 for group in chosen.users)
    for where, device in _every(chosen):
        accelerator = device.accelerator
        if works and not isinstance(accelerator, schema.FittedAccelerator):
            text = "a network takes as long for every image, yet some users say work"
            yield (*where, "accelerator", "kind"), text, "leave work out, or choose kind: fitted"
        if isinstance(accelerator, schema.FittedAccelerator):
            yield from distribution((*where, "accelerator", "service"), accelerator.service)
            continue
        place = (*where, "accelerator")
        yield from network((*place, "model"), accelerator.model, accelerator)
        for number, name in enumerate(accelerator.students):
            yield from network((*place, "students", number), name, accelerator)
        datasets = {
            zoo.manifest(name).dataset
            for name in (accelerator.model, *accelerator.students)
            if is_sound(name)
        }
        if len(datasets) > 1:
            text = f"these networks answer different questions: {', '.join(sorted(datasets))}"
            yield (*place, "students"), text, "choose networks of one data set"
        if accelerator.kind == "live":
            try:
                engines.require(accelerator.engine)
            except zoo.ModelError as error:
                yield (*place, "engine"), str(error), "or choose engine: torch"


def network(where: Where, name: str, accelerator: schema.NetworkAccelerator) -> Iterator[Complaint]:
    """Checks that a network is known, was measured, and has its images at hand."""
    if name not in zoo.names():
        yield where, f"unknown network '{name}'", suggest(name, zoo.names())
        return
    try:
        made = zoo.manifest(name)
        if made.architecture == zoo.ONNX_MODEL and accelerator.engine == engines.TORCH:
            yield where, f"'{name}' is an ONNX model, which torch cannot run", "set engine: onnx"
            return
        latency.trace(name, accelerator.batch_max, accelerator.engine)
        if accelerator.kind == "live":
            zoo.checked_weights(zoo.folder(name))
            data.require(made.dataset)
    except zoo.ModelError as error:
        yield where, str(error), "or choose another network"
    except DataError as error:
        yield where, str(error), "or choose a digits or scenes network"


def is_sound(name: str) -> bool:
    """Says whether a network is known and its manifest can be read; `network` says what is not."""
    try:
        zoo.manifest(name)
    except zoo.ModelError:
        return False
    return True


def distribution(where: Where, given: Distribution) -> Iterator[Complaint]:
    """Checks that a distribution of durations exists."""
    if given.distribution == "hyperexponential" and given.scv <= 1.0:
        text = f"a hyperexponential distribution has scv above 1, not {given.scv:g}"
        yield (*where, "scv"), text, "raise scv, or use gamma"
    if given.distribution in ("deterministic", "exponential") and given.scv != 1.0:
        fixed = 0 if given.distribution == "deterministic" else 1
        text = f"the {given.distribution} distribution has scv {fixed}"
        yield (*where, "scv"), text, "leave scv out, or use gamma or lognormal"
    scv_max = SCV_MAX.get(given.distribution, math.inf)
    if given.scv > scv_max:
        text = (
            f"the {given.distribution} distribution cannot be drawn exactly with scv {given.scv:g}"
        )
        heavier = [name for name, most in SCV_MAX.items() if most >= given.scv]
        remedy = f"at most {scv_max:g}" + (f", or use {' or '.join(heavier)}" if heavier else "")
        yield (*where, "scv"), text, remedy
    elif given.distribution in SCV_MAX and given.scv < SCV_MIN:
        text = f"a {given.distribution} distribution with scv {given.scv:g} is constant"
        yield (*where, "scv"), text, "use distribution: deterministic"


def machines(chosen: Scenario) -> Iterator[Complaint]:
    """Times that were measured on different processors do not compare."""
    found: dict[str, str] = {}
    for where, device in _every(chosen):
        accelerator = device.accelerator
        if isinstance(accelerator, schema.FittedAccelerator):
            continue
        for name in (accelerator.model, *accelerator.students):
            processor = latency.read(name, accelerator.engine).processor
            found.setdefault(processor, f"{name} ({accelerator.engine})")
            if len(found) > 1:
                reported = ", ".join(f"{what} on {processor}" for processor, what in found.items())
                remedy = "measure all on one, with `fresco profile NETWORK --engine all --write`"
                yield (*where, "accelerator"), f"latencies were measured apart: {reported}", remedy
                return


def _every(chosen: Scenario) -> Iterator[tuple[Where, schema.Device]]:
    for index, group in enumerate(chosen.servers):
        yield ("servers", index), group
    for index, user in enumerate(chosen.users):
        if user.cpu is not None:
            yield ("users", index, "cpu"), user.cpu
