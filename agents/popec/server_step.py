"""A server's own problem in the consensus: how much of each user's tasks to take.

Weighs what its queue costs everybody against what its members asked for. Source:
docs/popec.md, Who solves what; symbols as in `fractional.py`.
"""

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.freshness import Floats, Waiting, waiting, waiting_s


class ServerInfo(Struct, frozen=True, eq=False):
    """How a server's step went."""

    wait_s: Floats  # (K,): W_k at the answer
    iterations: int
    converged: bool  # False: the last iterate is feasible, but no minimum


SERVER_ITERATIONS_MAX = 50  # Newton needs 1 to 4 warm, 8 cold
HALVINGS_MAX = 40
PASSES_MAX = 10  # of pinning rates to zero within one step: 1 warm, 2 to 5 cold
START_LOAD_MAX = 0.97  # a start beyond it is scaled down: at load one the cost is infinite
TOLERANCE = 1e-10  # of the step that the gradient still asks for, relative to the largest request


def server_step(
    requests_hz: Floats,
    penalties: Floats,
    omegas: Floats,
    classes: NDArray[np.int64],
    mean_s: Floats,
    second_moment_s2: Floats,
    start_hz: Floats,
) -> tuple[Floats, ServerInfo]:
    """Minimises G(y) + sum rho / 2 (y - r)^2 over y >= 0, G = sum_n omega_n y_n W_k(n)(y).

    All arrays are (n,) over the members but the moments, (K,) over the classes. A projected Newton
    method from `start_hz` (the last answer, or the requests) with Armijo's rule: linear in n. Any
    iterate keeps the load below one.
    """
    count = len(mean_s)
    if len(requests_hz) == 0:
        return np.zeros(0), ServerInfo(np.zeros(count), 0, True)

    def by_class(values: Floats) -> Floats:
        return cast(Floats, np.bincount(classes, values, count))  # its stub says integers

    def cost(rates_hz: Floats) -> float:
        waits_s = waiting_s(by_class(rates_hz), mean_s, second_moment_s2)
        if waits_s[-1] == math.inf:
            return math.inf
        asked = rates_hz - requests_hz
        return float(by_class(omegas * rates_hz) @ waits_s + 0.5 * (penalties * asked) @ asked)

    rates_hz = np.maximum(start_hz, 0.0)
    start_load = float(by_class(rates_hz) @ mean_s)
    if start_load > START_LOAD_MAX:
        rates_hz *= START_LOAD_MAX / start_load
    scale_hz = max(float(np.abs(requests_hz).max()), 1e-9)
    value = cost(rates_hz)
    converged = False
    iterations = 0
    while iterations < SERVER_ITERATIONS_MAX:
        aged = by_class(omegas * rates_hz)  # h_k
        wait = waiting(by_class(rates_hz), mean_s, second_moment_s2)
        slope = omegas * wait.wait_s[classes] + (aged @ wait.slope)[classes]
        slope += penalties * (rates_hz - requests_hz)
        inverse = ((rates_hz > 0.0) | (slope < 0.0)) / penalties
        # A rate that the bound stops short asks for no more than the way to the bound.
        asked_hz = np.minimum(inverse * slope, rates_hz)
        if np.abs(asked_hz).max() <= TOLERANCE * scale_hz:
            converged = True
            break
        iterations += 1
        step_hz = _newton(rates_hz, slope, inverse, omegas, aged, wait, by_class, classes)
        found = _search(cost, rates_hz, value, slope, step_hz)
        if found is None:
            break
        rates_hz, value = found
    waits_s = waiting_s(by_class(rates_hz), mean_s, second_moment_s2)
    return rates_hz, ServerInfo(waits_s, iterations, converged)


def _newton(
    rates_hz: Floats,
    slope: Floats,
    inverse: Floats,
    omegas: Floats,
    aged: Floats,
    wait: Waiting,
    by_class: Callable[[Floats], Floats],
    classes: NDArray[np.int64],
) -> Floats:
    """Returns the step (n,) to the minimum of the quadratic model over rates >= 0.

    The Hessian is diag(rho) + A' M A, where the 2K rows of A say who is in class k, and with which
    omega: Woodbury's identity leaves a 2K x 2K system. Rates that would turn negative are pinned
    to zero and the rest solved again; clipping them alone would leave their class a sum that the
    model never meant, which close to load one is worse than no step. `inverse` is 1 / rho, or zero
    for members that stay.
    """
    count = len(aged)
    middle = np.zeros((2 * count, 2 * count))
    middle[:count, :count] = np.tensordot(aged, wait.curvature, 1)
    middle[:count, count:] = wait.slope.T
    middle[count:, :count] = wait.slope
    gram = np.zeros((2, count, 2, count))  # A D A': diagonal in the classes
    diagonal = np.arange(count)
    for _ in range(PASSES_MAX):
        free = inverse
        step_hz = alone_hz = -inverse * slope
        for _ in range(PASSES_MAX):
            weighted = omegas * free
            gram[0, diagonal, 0, diagonal] = by_class(free)
            gram[0, diagonal, 1, diagonal] = gram[1, diagonal, 0, diagonal] = by_class(weighted)
            gram[1, diagonal, 1, diagonal] = by_class(omegas * weighted)
            sums = np.concatenate([by_class(alone_hz), by_class(omegas * alone_hz)])
            system = np.eye(2 * count) + middle @ gram.reshape(2 * count, 2 * count)
            prices = np.linalg.solve(system, middle @ sums)
            step_hz = alone_hz - free * (prices[:count][classes] + omegas * prices[count:][classes])
            below = step_hz < -rates_hz
            if not below.any():
                break
            free = np.where(below, 0.0, free)
            alone_hz = np.where(below, -rates_hz, alone_hz)
        step_hz = np.maximum(step_hz, -rates_hz)
        if slope @ step_hz < 0.0:
            break
        inverse = 0.25 * inverse  # not convex here: more of the diagonal makes it so
    return step_hz


def _search(
    cost: Callable[[Floats], float],
    rates_hz: Floats,
    value: float,
    slope: Floats,
    step_hz: Floats,
) -> tuple[Floats, float] | None:
    """Halves the step until the cost falls as Armijo asks; None if it never does."""
    fall = float(slope @ step_hz)
    noise = 1e-13 * abs(value)  # close to the minimum differences of costs are rounding
    share = 1.0
    for _ in range(HALVINGS_MAX):
        tried_hz = rates_hz + share * step_hz
        tried = cost(tried_hz)
        if tried <= value + 1e-4 * share * fall + noise:
            return tried_hz, tried
        share *= 0.5
    return None
