"""Protocols that decide once, before the run, and then act on it: what adapting has to beat.

Each is a rule of `share_rules.py` for the network as it is without faults. Source:
docs/popec.md, Scenarios.
"""

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

from agents.policy import NoOptions, Protocol
from agents.popec.allotment import AllottedCell, AllottedUser
from agents.reference import share_rules
from agents.reference.problem import Allocation, Problem


class FixedRateOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks per second that every user is to deliver."""

    rate_hz: Annotated[float, Meta(gt=0.0)] = 3.0


def _planned(
    about: str,
    plan: Callable[[Problem, Any], Allocation],
    options: type[Struct] = NoOptions,
) -> Protocol:
    return Protocol(
        about, user=AllottedUser, cell=AllottedCell, options=options, slotted=True, plan=plan
    )


EQUAL_SHARE = _planned(
    "Slots evenly, servers by speed.",
    lambda problem, options: share_rules.equal_share_by_speed(problem),
)
GREEDY = _planned(
    "Each user to its best channel, servers by speed.",
    lambda problem, options: share_rules.greedy_channel(problem),
)
FIXED_RATE = _planned(
    "Every user at the same rate, if there is room.",
    lambda problem, options: share_rules.fixed_rate(problem, options.rate_hz),
    FixedRateOptions,
)
PRIORITY_AGNOSTIC = _planned(
    "The optimum as if all users weighed the same.",
    lambda problem, options: share_rules.priority_agnostic(problem),
)
STATIC_OPTIMUM = _planned(
    "The optimum for the network before the run.",
    lambda problem, options: share_rules.static_optimum(problem),
)
