"""Makes the kernel of one host: its share of the world, ready to start."""

from collections.abc import Callable, Collection

from agents.api import NodeId
from emulator.build.nodes import Assembly
from emulator.build.plan import Plan
from emulator.build.slot_nodes import ScheduledAssembly
from emulator.scenario.slots import is_scheduled
from emulator.sim.clock import Pace
from emulator.sim.delivery import Remote
from emulator.sim.kernel import Kernel


def assemble(
    plan: Plan,
    names: Collection[NodeId],
    pace: Pace | None = None,
    remote: Remote | None = None,
    die: Callable[[], None] | None = None,
) -> Kernel:
    """Returns a kernel with the named nodes, ready to start."""
    if is_scheduled(plan.scenario):
        return ScheduledAssembly(plan).kernel(names, pace, remote, die)
    return Assembly(plan).kernel(names, pace, remote, die)
