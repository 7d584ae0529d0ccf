"""The fractional transform of the peak age and the three exact steps that minimise it by consensus.

Each function is what one node computes from its own numbers: a user from its edges, a base station
or a server from the requests of its members. Nothing here knows the network, time or messages.
Source: freshness specification, sections 4 (transform), 5 (steps, penalties) and 6 (cold start).
The transform is exact at its fixed points only; no proof covers parameters that move every round.

| symbol | meaning | unit | equation |
| --- | --- | --- | --- |
| x_b, l_m | the user's copies: transmissions through b, tasks to m | 1/s | sec. 5 |
| L | sum_b p_b x_b = sum_m l_m, delivered tasks | 1/s | sec. 1 |
| omega, c | w / L and mean delay: the parameters of the transform | s, s | sec. 4 |
| t_e, r_e, z_e | state, request 2 x_e - t_e and answer of an edge | 1/s | sec. 5 |
| rho_e | penalty, the curvature of w / L | s^3 | sec. 5 |
| lin_e | linear cost | s^2 | (3) |
| pi, kappa, theta | prices of a task, of a delivery, of a transmission | s^2 | sec. 5 |

One round: r = 2 x - t with x = `user_step`(t); z = `cell_step`(r) or `server_step`(r);
t <- t + eta (z - x), 0 < eta < 2, where eta = 1 is plain ADMM.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.freshness import Floats, Waiting, waiting, waiting_s

GAMMA = 0.3  # penalty relative to the curvature of w / L; 0.2 to 0.5 serve 10 to 200 users
ETA = 1.6  # over-relaxation


class Edges(Struct, frozen=True, gc=False):
    """One number for each edge of a user: towards its base stations, towards its servers."""

    cells: list[float]
    servers: list[float]


class Transform(Struct, frozen=True, gc=False):
    """The objective of one user around its present allocation, equation 3."""

    omega: float  # w / L, in s
    delay_s: float  # c
    costs: Edges  # lin


def transform(
    weight: float,
    success: Sequence[float],
    copies_hz: Edges,
    delays_s: Edges,
    waits_s: Sequence[float],
) -> Transform:
    """Linearises the delay of a user in its split, at its copies (some must be positive).

    `delays_s` is D_b of its base stations and D_m + E[S_km] of its servers; `waits_s` the last
    W_km of these. The wait enters c only: its own cost is the server's (`server_step`).
    """
    rate_hz = sum(copies_hz.servers)
    radio = sum(p * x * d for p, x, d in zip(success, copies_hz.cells, delays_s.cells, strict=True))
    tasks = sum(
        rate * (service_s + wait_s)
        for rate, service_s, wait_s in zip(
            copies_hz.servers, delays_s.servers, waits_s, strict=True
        )
    )
    omega = weight / rate_hz
    delay_s = (radio + tasks) / rate_hz
    cells = [omega * p * d for p, d in zip(success, delays_s.cells, strict=True)]
    servers = [omega * (service_s - delay_s) for service_s in delays_s.servers]
    return Transform(omega, delay_s, Edges(cells, servers))


class UserInfo(Struct, frozen=True, gc=False):
    """How a user's step went."""

    rate_hz: float  # L
    capped: bool  # L is the sampling cap
    iterations: int


class _Supply:
    """The cheapest way to bring a rate up along some edges, as prices of a task more.

    Edge e opens at price c_e = (lin_e - rho_e t_e) / p_e and then brings p_e^2 / rho_e per price,
    so the rate is convex in the price and the price concave in the rate.
    """

    __slots__ = ("_pieces",)

    def __init__(self, opens: Sequence[float], slopes: Sequence[float]) -> None:
        order = sorted(range(len(opens)), key=opens.__getitem__)
        self._pieces: list[tuple[float, float, float]] = []  # (from rate, slope, offset)
        slope = offset = 0.0
        for edge in order:
            begins_hz = slope * opens[edge] - offset
            slope += slopes[edge]
            offset += slopes[edge] * opens[edge]
            self._pieces.append((begins_hz, slope, offset))

    def price(self, rate_hz: float) -> tuple[float, float]:
        """Returns the price at a rate, and its slope there."""
        slope, offset = self._pieces[0][1:]
        for begins_hz, next_slope, next_offset in self._pieces[1:]:
            if begins_hz >= rate_hz:
                break
            slope, offset = next_slope, next_offset
        return (rate_hz + offset) / slope, 1.0 / slope


USER_ITERATIONS_MAX = 100  # Newton needs 4 to 8; from far below the root L grows 1.5x each


def user_step(
    weight: float,
    rate_max_hz: float,
    success: Sequence[float],
    targets_hz: Edges,
    penalties: Edges,
    costs: Edges,
) -> tuple[Edges, UserInfo]:
    """Minimises w / L + lin.(x, l) + sum rho / 2 (x - t)^2 over balanced x, l >= 0, L <= Lmax.

    Given L both sides fill their cheapest edges up to it, at prices kappa(L) and pi(L). At the
    optimum kappa + pi = w / L^2, or L = Lmax if that is less. The difference of the two sides is
    increasing and concave in L, so Newton's method cannot cycle: after one step it is left of the
    root and climbs. A user needs a base station and a server, each p > 0 and rho > 0.
    """
    if not targets_hz.cells or not targets_hz.servers:
        raise ValueError("a user needs at least one base station and one server to allocate to")
    cell_opens = [
        (cost - rho * target) / p
        for p, target, rho, cost in zip(
            success, targets_hz.cells, penalties.cells, costs.cells, strict=True
        )
    ]
    server_opens = [
        cost - rho * target
        for target, rho, cost in zip(
            targets_hz.servers, penalties.servers, costs.servers, strict=True
        )
    ]
    cell_gains = [p / rho for p, rho in zip(success, penalties.cells, strict=True)]
    radio = _Supply(cell_opens, [p * gain for p, gain in zip(success, cell_gains, strict=True)])
    tasks = _Supply(server_opens, [1.0 / rho for rho in penalties.servers])

    rate_hz = sum(target for target in targets_hz.servers if target > 0.0) or rate_max_hz
    iterations = 0
    while iterations < USER_ITERATIONS_MAX:
        iterations += 1
        kappa, kappa_slope = radio.price(rate_hz)
        pi, pi_slope = tasks.price(rate_hz)
        gain = weight / (rate_hz * rate_hz)
        newton_hz = rate_hz - (kappa + pi - gain) / (kappa_slope + pi_slope + 2.0 * gain / rate_hz)
        before_hz, rate_hz = rate_hz, newton_hz if newton_hz > 0.0 else 0.5 * rate_hz
        if abs(rate_hz - before_hz) <= 1e-13 * rate_hz:
            break

    capped = rate_hz >= rate_max_hz
    rate_hz = min(rate_hz, rate_max_hz)
    kappa, pi = radio.price(rate_hz)[0], tasks.price(rate_hz)[0]
    copies = Edges(
        [
            gain * (kappa - opens) if kappa > opens else 0.0
            for gain, opens in zip(cell_gains, cell_opens, strict=True)
        ],
        [
            (pi - opens) / rho if pi > opens else 0.0
            for rho, opens in zip(penalties.servers, server_opens, strict=True)
        ],
    )
    return copies, UserInfo(rate_hz, capped, iterations)


def cell_step(requests_hz: Floats, penalties: Floats, capacity_hz: float) -> tuple[Floats, float]:
    """Projects requests (n,) onto {v >= 0, sum v <= C} in the norm of the penalties (n,).

    Returns the grants v = [r - theta / rho]+ and theta, the price of a transmission, which is 0
    if the capacity does not bind.
    """
    grants_hz = np.maximum(requests_hz, 0.0)
    if grants_hz.sum() <= capacity_hz:
        return grants_hz, 0.0
    # A member drops out when theta reaches r rho. With the j most reluctant in, theta_j spends
    # exactly C; it is the price if it also shuts out the next one.
    closes = requests_hz * penalties
    order = np.argsort(-closes)
    theta = (np.cumsum(requests_hz[order]) - capacity_hz) / np.cumsum(1.0 / penalties[order])
    next_closes = np.append(closes[order[1:]], 0.0)
    price = float(theta[np.argmax(theta >= np.maximum(next_closes, 0.0))])
    return np.maximum(requests_hz - price / penalties, 0.0), price


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


def cell_hints_hz(weights: Floats, success: Floats, capacity_hz: float) -> Floats:
    """Returns a first guess of the members' transmissions (n,): C q / sum q, q = sqrt(w) p^1.5."""
    shares = np.sqrt(weights) * success**1.5
    hints_hz: Floats = capacity_hz * shares / shares.sum()
    return hints_hz


def server_hints_hz(weights: Floats, mean_s: Floats) -> Floats:
    """Returns a first guess of the members' tasks (n,), at load 0.7, from their E[S] (n,)."""
    shares = np.sqrt(weights / mean_s)
    hints_hz: Floats = 0.7 * shares / (shares @ mean_s)
    return hints_hz


def cold_start(
    weight: float,
    rate_max_hz: float,
    success: Sequence[float],
    hints_hz: Edges,
    gamma: float = GAMMA,
) -> tuple[Edges, Edges]:
    """Returns a user's first copies, which are its first t too, and its penalties.

    Lhat is what both sides' hints can carry; rho = gamma 2 w / Lhat^3, times p^2 to base stations.
    """
    radio_hz = sum(p * hint for p, hint in zip(success, hints_hz.cells, strict=True))
    tasks_hz = sum(hints_hz.servers)
    rate_hz = min(radio_hz, tasks_hz, rate_max_hz)
    copies_hz = Edges(
        [hint * rate_hz / radio_hz for hint in hints_hz.cells],
        [hint * rate_hz / tasks_hz for hint in hints_hz.servers],
    )
    rho = penalty(weight, rate_hz, gamma)
    return copies_hz, Edges([rho * p * p for p in success], [rho] * len(hints_hz.servers))


def penalty(weight: float, rate_hz: float, gamma: float = GAMMA) -> float:
    """Returns gamma times the curvature 2 w / L^3 of w / L; towards base stations times p^2."""
    return gamma * 2.0 * weight / rate_hz**3


def rescaled(copies_hz: Edges, targets_hz: Edges, old: Edges, new: Edges) -> Edges:
    """Returns the states t that keep every dual rho (x - t) when penalties go from old to new.

    Needed whenever rho changes, as with p: without it the user would start over (section 7).
    """

    def of(
        copies: list[float], targets: list[float], was: list[float], now: list[float]
    ) -> list[float]:
        return [
            x + (t - x) * rho / rho_new
            for x, t, rho, rho_new in zip(copies, targets, was, now, strict=True)
        ]

    return Edges(
        of(copies_hz.cells, targets_hz.cells, old.cells, new.cells),
        of(copies_hz.servers, targets_hz.servers, old.servers, new.servers),
    )
