"""Static rules of allocation, from naive to optimal: what PoPeC must beat.

Each is a pure function of the whole problem, which no node knows, and answers with a feasible
allocation. Rules that do not know of stability are capped at server load `LOAD_MAX`, which flatters
them. A protocol decides by one of them before the run, for the network as it is without faults, and
then acts on that. Source: docs/popec.md, Scenarios.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs

from agents.freshness import Floats, load
from agents.policy import NoOptions, Protocol
from agents.popec.allotment import AllottedCell, AllottedUser
from agents.reference.optimum import optimum
from agents.reference.problem import Allocation, Paths, Problem, class_sums

LOAD_MAX = 0.9


def equal_share_by_speed(problem: Problem) -> Allocation:
    """Divides each base station evenly, each share by the speed of the servers behind."""
    return _rule(problem, _near(problem), _speeds(problem))


def greedy_channel(problem: Problem) -> Allocation:
    """Sends each user to its best base station only, shared by p; servers by speed."""
    best = problem.success == problem.success.max(axis=1, keepdims=True)
    return _rule(problem, best * problem.success, _speeds(problem))


def fixed_rate(problem: Problem, rate_hz: float) -> Allocation:
    """Has every user deliver `rate_hz`, or what is left of it where resources do not suffice.

    Each sends equally often to all its base stations and splits by the speed of the servers behind.
    """
    # Whom nothing reaches sends nothing: its sum is zero, and its mask too.
    sent_hz = rate_hz / np.maximum(problem.success.sum(axis=1, keepdims=True), 1e-300)
    grants_hz = sent_hz * _near(problem)
    use = grants_hz.sum(axis=0) / problem.capacity_hz
    return _split(problem, grants_hz / np.maximum(use, 1.0), _speeds(problem))


def priority_agnostic(problem: Problem) -> Allocation:
    """Optimises as if all users weighed the same; the servers' queues still go by class."""
    equal = np.full_like(problem.weights, problem.weights.mean())
    return _optimum(structs.replace(problem, weights=equal))


def static_optimum(problem: Problem) -> Allocation:
    """Optimises once, for the network as it is now."""
    return _optimum(problem)


def _optimum(problem: Problem) -> Allocation:
    """Optimises over the users that reach something; the others have no age that is finite."""
    reached = np.bincount(Paths(problem).user, minlength=len(problem.weights)) > 0
    allocation = Allocation(np.zeros_like(problem.success), np.zeros(problem.reach.shape))
    if reached.any():
        part = structs.replace(
            problem,
            weights=problem.weights[reached],
            priorities=problem.priorities[reached],
            rate_max_hz=problem.rate_max_hz[reached],
            success=problem.success[reached],
            reach=problem.reach[reached],
        )
        best, _ = optimum(part)
        allocation.grants_hz[reached] = best.grants_hz
        allocation.splits_hz[reached] = best.splits_hz
    return allocation


def _near(problem: Problem) -> Floats:
    """Returns 1 where a user reaches a base station, else 0 (N, B)."""
    return (problem.success > 0.0).astype(np.float64)


def _speeds(problem: Problem) -> Floats:
    """Returns 1 / E[S] of each user's class at the servers it reaches (N, M)."""
    speeds: Floats = problem.reach / problem.mean_s.T[problem.priorities]
    return speeds


def _rule(problem: Problem, cell_shares: Floats, server_shares: Floats) -> Allocation:
    """Spends every base station in proportion to shares (N, B), then splits by shares (N, M)."""
    # A base station that nobody chose has shares of zero and grants nothing.
    total = np.maximum(cell_shares.sum(axis=0), 1e-300)
    return _split(problem, problem.capacity_hz * cell_shares / total, server_shares)


def _split(problem: Problem, grants_hz: Floats, shares: Floats) -> Allocation:
    """Sends what the radio delivers to the servers behind, and stops it where these overload."""
    paths = Paths(problem)
    user, cell, server = paths.user, paths.cell, paths.server
    weights = shares[user, server]
    behind = np.zeros_like(grants_hz)  # (N, B): the sum of the shares behind a base station
    np.add.at(behind, (user, cell), weights)
    supplies_hz = problem.success * grants_hz
    rates_hz = supplies_hz[user, cell] * weights / np.maximum(behind[user, cell], 1e-300)
    rates_hz /= np.maximum(paths.of_users(rates_hz) / problem.rate_max_hz, 1.0)[user]
    loads = load(class_sums(problem, paths.allocation(rates_hz).splits_hz), problem.mean_s)
    return paths.allocation(
        rates_hz * np.minimum(1.0, LOAD_MAX / np.maximum(loads, LOAD_MAX))[server]
    )


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
    lambda problem, options: equal_share_by_speed(problem),
)
GREEDY = _planned(
    "Each user to its best channel, servers by speed.",
    lambda problem, options: greedy_channel(problem),
)
FIXED_RATE = _planned(
    "Every user at the same rate, if there is room.",
    lambda problem, options: fixed_rate(problem, options.rate_hz),
    FixedRateOptions,
)
PRIORITY_AGNOSTIC = _planned(
    "The optimum as if all users weighed the same.",
    lambda problem, options: priority_agnostic(problem),
)
STATIC_OPTIMUM = _planned(
    "The optimum for the network before the run.",
    lambda problem, options: static_optimum(problem),
)
