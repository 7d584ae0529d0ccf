"""The numbers of the live page's top row."""

from msgspec import Struct

from emulator.scenario.schema import Scenario
from emulator.scenario.slots import is_scheduled, readings_of


class Tile(Struct, frozen=True):
    """One number of the page's top row; the frame carries its value under `name`."""

    name: str
    label: str
    unit: str


def tiles(chosen: Scenario) -> list[Tile]:
    """Names the numbers of the top row."""
    urgent = min(group.priority for group in chosen.users)
    readings = {reading.name for reading in readings_of(chosen)}
    return [
        Tile("age_mean", "age, mean over users", "s"),
        Tile("age_p95", "age, 95th percentile", "s"),
        Tile("peak_p95", f"peak age of class {urgent}, 95th percentile", "s"),
        Tile("delay_p95", "delay, 95th percentile", "s"),
        Tile("lost", "tasks lost", "per s"),
        Tile("loss", "uplink attempts lost", "ratio"),
        *([Tile("primal", "primal residual", "")] if "primal" in readings else []),
        *([Tile("overdue", "late tasks and broken bounds", "")] if is_scheduled(chosen) else []),
        Tile("faults", "faults active", ""),
        Tile("lateness", "lateness of this machine, p99", "s"),
    ]
