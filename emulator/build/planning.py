"""The last step to a plan: what a protocol decides before the run, where it plans."""

import msgspec

from agents.protocols import PROTOCOLS
from emulator.build.plan import Plan, draw
from emulator.scenario.schema import Scenario


def plan(chosen: Scenario, stopwatch: bool) -> Plan:
    """Reads and draws what the scenario refers to, and lets its protocol plan."""
    drawn = draw(chosen, stopwatch)
    protocol = PROTOCOLS[chosen.protocol.kind]
    if protocol.plan is None:
        return drawn
    from emulator.build.problem import (
        whole_of,  # planning needs scipy: 0.5 s that others need not pay
    )

    whole = whole_of(drawn)
    options = msgspec.convert(chosen.protocol.options, protocol.options)
    allotments = whole.allotments(protocol.plan(whole.problem, options))
    return msgspec.structs.replace(drawn, allotments=allotments)
