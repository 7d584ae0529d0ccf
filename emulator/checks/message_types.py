"""Which protocol messages the nodes of a scenario may send, by type."""

from typing import TYPE_CHECKING, get_args

from agents.messages import AllocationBody, Beacon, Grant, Request, ServerReport, Vacate
from agents.messages.slots import Board, QueueReport, SlotGrant
from agents.protocols import PROTOCOLS
from emulator.sim.disturbance import message_type

if TYPE_CHECKING:
    from emulator.scenario.schema import Scenario


def message_types(chosen: "Scenario") -> list[str]:
    """Returns the types of protocol messages that a scenario can have; none of an unknown one."""
    protocol = PROTOCOLS.get(chosen.protocol.kind)
    if protocol is None:
        return []
    access = {group.access for group in chosen.base_stations}
    bodies: list[type] = []
    if "scheduled" in access:
        bodies += [QueueReport, Board, SlotGrant, *get_args(AllocationBody)]
    else:
        bodies += protocol.says
        bodies += [Beacon] if protocol.beacons else []
        bodies += [ServerReport] if protocol.reports else []
        bodies += [Request, Vacate] if "granted" in access else []
        bodies += [Grant] if access & {"granted", "slotted"} else []
    return [message_type(body) for body in bodies]
