"""What a run is made from: the scenario, everything it refers to, and everything drawn for it."""

from pathlib import Path

from msgspec import Struct

from agents.api import NodeId
from agents.policy import Allotment
from agents.todg.frame import Frame
from emulator.faults.timeline import Order
from emulator.scenario import traces
from emulator.scenario.occurrences import places_of, schedule
from emulator.scenario.schema import Scenario
from emulator.scenario.slots import frame_of, mean_rates_hz
from emulator.scenario.topology import Layout, build, layout


class Plan(Struct, frozen=True):
    """The driver makes it, every host gets it. `stopwatch`: live inference is timed, not looked up.

    `orders` is when which of the scenario's faults hits whom. `allotments` is what the protocol
    decided before the run, for the protocols that plan.
    """

    scenario: Scenario
    layout: Layout
    arrivals: dict[str, tuple[float, ...]]  # trace file -> instants
    channels: dict[str, traces.ChannelTrace]  # trace file -> trace
    stopwatch: bool
    orders: list[Order] = []
    allotments: dict[NodeId, Allotment] = {}

    def frame(self) -> Frame:
        """Returns what is public where access is scheduled."""
        return frame_of(self.scenario, self.layout, mean_rates_hz(self.arrivals))

    @property
    def names(self) -> list[NodeId]:
        """All nodes: users, base stations, servers."""
        return list(self.layout.position_m)


def draw(chosen: Scenario, stopwatch: bool) -> Plan:
    """Reads and draws what the scenario refers to; no protocol plans."""
    arrivals = {
        group.arrival.file: traces.read_times(Path(group.arrival.file))
        for group in chosen.users
        if group.arrival.kind == "trace"
    }
    channels = {
        spec.file: traces.read_channel(Path(spec.file))
        for spec in chosen.channels
        if spec.kind == "trace"
    }
    tables = layout(build(chosen), chosen.backhaul.delay_s)
    orders = schedule(chosen, places_of(chosen, tables)) if chosen.faults else []
    return Plan(chosen, tables, arrivals, channels, stopwatch, orders)
