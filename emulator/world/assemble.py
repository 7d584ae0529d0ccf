"""Makes the kernel of one host: its share of the world, ready to start."""

from collections.abc import Callable, Collection

from agents.api import NodeId
from emulator.spec.scheduling import is_scheduled
from emulator.surroundings.delivery import Remote
from emulator.surroundings.kernel import Kernel
from emulator.surroundings.pace import Pace
from emulator.world.assembly import Assembly
from emulator.world.plan import Plan
from emulator.world.scheduled import ScheduledAssembly


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
