"""What the faults of nodes must say, and which of them a scenario has no use for. As `check.py`."""

from collections.abc import Collection, Iterator

from emulator.checks import devices as check_devices
from emulator.checks.complaints import Complaint, suggest
from emulator.faults.node_types import (
    ActorKill,
    ArrivalBurst,
    BsOutage,
    ModelSwap,
    NodeFault,
    UserChurn,
)
from emulator.scenario.arrival_kinds import TraceArrivals
from emulator.scenario.nominal import images_of
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import members
from models import zoo


def problems(chosen: Scenario, fault: NodeFault, hit: Collection[str]) -> Iterator[Complaint]:
    """Yields what is wrong with a fault that hits the nodes `hit`; places are fields of it."""
    match fault:
        case BsOutage(handover="nearest"):
            yield from _handover(chosen)
        case ModelSwap():
            yield from _swap(chosen, fault, hit)
        case UserChurn() | ArrivalBurst():
            for name, user in members(chosen.users):
                arrival = user.arrival
                is_rateless = isinstance(fault, ArrivalBurst) and not arrival.declared_hz
                if name in hit and (is_rateless or isinstance(arrival, TraceArrivals)):
                    text = f"'{name}' has arrivals of kind {arrival.kind}"
                    remedy = f"{fault.type} needs others: poisson or periodic"
                    yield ("target",), text, remedy
                    return
        case ActorKill():
            if chosen.runtime.kind != "ray":
                text = "in the loop all nodes live in one process, which is not killed"
                yield ("type",), text, "run it on Ray, or use server_crash or bs_outage"


def _handover(chosen: Scenario) -> Iterator[Complaint]:
    others = {group.access for group in chosen.base_stations} - {"dedicated", "scheduled"}
    if others:
        text = f"users of {' and '.join(sorted(others))} access keep to their base stations"
        yield ("handover",), text, "leave it out, or choose access: dedicated or scheduled"
    topology = chosen.topology
    if topology.kind == "generated" and topology.cells_per_user == 1:
        text = "users reach one base station only, and have no other to go to"
        yield ("handover",), text, "raise topology.cells_per_user"


def _swap(chosen: Scenario, fault: ModelSwap, hit: Collection[str]) -> Iterator[Complaint]:
    where = ("model",)
    if fault.model not in zoo.names():
        yield where, f"unknown network '{fault.model}'", suggest(fault.model, zoo.names())
        return
    groups = {group.name: group for name, group in members(chosen.servers) if name in hit}
    for group in groups.values():
        accelerator = group.accelerator
        if accelerator.kind == "fitted":
            text = f"'{group.name}' serves by a fitted distribution and has no network"
            yield ("target",), text, "use server_slowdown, or accelerator kind replay or live"
            continue
        wrong = list(check_devices.network(where, fault.model, accelerator))
        yield from wrong
        if not wrong and check_devices.is_sound(accelerator.model):
            own, other = zoo.manifest(accelerator.model), zoo.manifest(fault.model)
            plain = chosen.model_copy(update={"faults": []})
            if own.dataset != other.dataset:
                text = f"'{fault.model}' answers questions of {other.dataset}, not {own.dataset}"
                yield where, text, f"choose a network of {own.dataset}"
            elif other.test_images < images_of(plain):
                text = f"'{fault.model}' was tested on {other.test_images} images, too few"
                yield where, text, f"choose one tested on {images_of(plain)} or more"
