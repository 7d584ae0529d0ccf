"""Faults: all of them as one type, and how several fold into one effect on a link.

A fault is a named value, the same in YAML, on the wire and in the journal; what each is and does
stands in `link_types.py` and `node_types.py`, what all share in `base.py`. The effective state of a
link is a fold of the active faults over the healthy baseline (`effects.py`), so healing them in any
order returns exactly to it. `sim/disturbance.py` applies the effect.
"""

import math
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from agents.messages import NodeId
from emulator.faults.base import LinkKind
from emulator.faults.effects import HEALTHY, Effect, combined
from emulator.faults.link_types import LinkFault
from emulator.faults.node_types import NodeFault

AnyFault = LinkFault | NodeFault
Fault = Annotated[AnyFault, Field(discriminator="type")]


def fold(
    active: Iterable[AnyFault],
    source: NodeId,
    target: NodeId,
    kind: LinkKind,
    now_s: float = math.inf,
) -> Effect:
    """Folds the active faults onto one link.

    `now_s` says how far faults that grow have come; infinity: all have their full strength.
    """
    touching = (fault for fault in active if fault.touches(source, target, kind))
    effects = [fault.effect(fault.share(now_s)) for fault in touching]
    return combined(effects) if effects else HEALTHY
