"""What shipped scenarios do is pinned: `pins.py` says how, `make pins` writes the pins anew."""

import platform
import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from typing import Annotated, Any, get_args, get_origin

import pins
import pytest
from pydantic import BaseModel

from agents.protocols import PROTOCOLS
from emulator.faults.fold import AnyFault
from emulator.scenario import arrival_kinds, channel_kinds, schema
from emulator.scenario.schema import BaseStationGroup

REMEDY = """
To see the first record that differs, here and on the commit before, and compare with diff:
    python tests/pins.py {name}
If the change is meant: make pins, and say in the commit why the digest changes."""


@pytest.fixture(scope="module")
def process() -> Iterator[Executor]:
    with pins.plain_arithmetic() as process:
        yield process


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="the last bits of floats, and with them digests, are those of x86-64",
)
@pytest.mark.parametrize("name", pins.PINNED)
def test_a_scenario_does_what_is_pinned(name: str, process: Executor) -> None:
    pin = pins.pinned().pins.get(name)
    assert pin is not None, f"{name} has no pin: make pins"

    now, ends_s = process.submit(pins.found, name).result()

    if differs := list(pins.differences(pin, now, ends_s)):
        reported = "\n".join([f"{name} differs from its pin", *differs, *pins.other_versions()])
        pytest.fail(reported + REMEDY.format(name=shlex.quote(name)), pytrace=False)


def test_nothing_else_is_pinned() -> None:
    assert pins.pinned().pins.keys() <= pins.PINNED.keys(), "pins of what is gone: make pins"


@pytest.mark.parametrize("name", pins.PINNED)
def test_every_fault_of_a_pin_begins_and_ends_in_its_run(name: str) -> None:
    chosen = pins.short(name)

    for fault in chosen.faults:
        assert fault.at_s < chosen.duration_s
        assert fault.for_s is None or fault.until_s < chosen.duration_s


def test_a_difference_is_told_from_the_first_step_on() -> None:
    old = pins.Pin(
        "aa", {"completed": 3}, {"TaskEnd": 3}, {"delay_mean_s": 0.5}, "1111222233334444"
    )
    new = pins.Pin(
        "bb", {"completed": 2}, {"TaskEnd": 3}, {"delay_mean_s": 0.5}, "1111222255556666"
    )

    assert list(pins.differences(old, old, [1.0, 2.0, 3.0, 4.0])) == []
    assert list(pins.differences(old, new, [1.0, 2.0, 3.0, 4.0])) == [
        "the digest is bb, pinned is aa",
        "the first step that differs is the one that ends at 3 s",
        "balance: completed is 2, pinned is 3",
    ]


def members(union: Any) -> tuple[Any, ...]:
    """Returns what a union consists of, also one with a discriminator."""
    return get_args(get_args(union)[0] if get_origin(union) is Annotated else union)


def words(models: Iterable[type[BaseModel]], field: str = "kind") -> set[str]:
    """Returns the literal words that a field may be in any of the models."""
    return {word for each in models for word in get_args(each.model_fields[field].annotation)}


def test_pins_cover_every_kind_that_a_scenario_may_name() -> None:
    chosen = [pins.short(name) for name in pins.PINNED]
    servers = [server for each in chosen for server in each.servers]
    cpus = [user.cpu for each in chosen for user in each.users if user.cpu is not None]
    # What ends a run kills a process, of which virtual time has none to spare.
    faults = [fault for fault in get_args(AnyFault) if not fault.ends_run]
    declared = {
        "protocol": set(PROTOCOLS),
        "access": words([BaseStationGroup], "access"),
        "fault": words(faults, "type"),
        "channel": words(members(channel_kinds.Channel)),
        "accelerator": words(members(schema.Accelerator)),
        "arrival": words(members(arrival_kinds.Arrivals)),
        "topology": words(members(schema.Topology)),
    }
    covered = {
        "protocol": {each.protocol.kind for each in chosen},
        "access": {cell.access for each in chosen for cell in each.base_stations},
        "fault": {fault.type for each in chosen for fault in each.faults},
        "channel": {channel.kind for each in chosen for channel in each.channels},
        "accelerator": {device.accelerator.kind for device in (*servers, *cpus)},
        "arrival": {user.arrival.kind for each in chosen for user in each.users},
        "topology": {each.topology.kind for each in chosen},
    }

    missing = [f"{what} {word}" for what in declared for word in declared[what] - covered[what]]

    assert not missing, (
        f"not pinned: {', '.join(sorted(missing))}; ship a scenario that has it, or add a variant "
        "to tests/pins.py, then: make pins"
    )
