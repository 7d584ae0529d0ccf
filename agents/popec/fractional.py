"""The fractional transform of the peak age and the exact steps of users and base stations.

Each function is what one node computes from its own numbers: a user from its edges, a base station
or a server from the requests of its members. Nothing here knows the network, time or messages.
Source: docs/popec.md, The fractional transform and Who solves what.
The transform is exact at its fixed points only; no proof covers parameters that move every round.

| symbol | meaning | unit | equation |
| --- | --- | --- | --- |
| x_b, l_m | the user's copies: transmissions through b, tasks to m | 1/s | sec. 5 |
| L | sum_b p_b x_b = sum_m l_m, delivered tasks | 1/s | sec. 1 |
| omega, c | w / L and mean delay: the parameters of the transform | s, s | sec. 4 |
| t_e, r_e, z_e | state, request 2 x_e - t_e and answer of an edge | 1/s | sec. 5 |
| rho_e | penalty, the curvature of w / L | s^3 | sec. 5 |
| lin_e | linear cost: omega p D_b, or omega (D_m + E[S] - c) | s^2 | (3) |
| pi, kappa, theta | prices of a task, of a delivery, of a transmission | s^2 | sec. 5 |

One round: r = 2 x - t with x = `user_step`(t); z = `cell_step`(r), or that of `server_step.py`;
t <- t + eta (z - x), 0 < eta < 2, where eta = 1 is plain ADMM.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from agents.freshness import Floats

GAMMA = 0.3  # penalty relative to the curvature of w / L; 0.2 to 0.5 serve 10 to 200 users


class Edges(Struct, frozen=True, gc=False):
    """One number for each edge of a user: towards its base stations, towards its servers."""

    cells: list[float]
    servers: list[float]


class Transform(Struct, frozen=True, gc=False):
    """The parameters of one user's objective around its present allocation, equation 3."""

    omega: float  # w / L, in s
    delay_s: float  # c


def transform(weight: float, rates_hz: Sequence[float], delays_s: Sequence[float]) -> Transform:
    """Linearises the delay of a user in its path rates (some must be positive).

    `delays_s` is D_b + D_bm + E[S_km] + W_km by path. A task more on a path then costs omega times
    its delay less c, but for the wait, whose cost is the server's (`server_step`).
    """
    rate_hz = sum(rates_hz)
    under_way = sum(hz * delay_s for hz, delay_s in zip(rates_hz, delays_s, strict=True))
    return Transform(weight / rate_hz, under_way / rate_hz)


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


def worth_its_price(
    weight: float, rate_hz: float, price: Callable[[float], tuple[float, float]]
) -> tuple[float, int]:
    """Returns the rate L whose price is w / L^2, what a task more is worth; and the iterations.

    `price` gives price and slope at a rate, and rises, concave. So does its difference to the
    worth, so Newton's method cannot cycle: after one step it is left of the root and climbs.
    """
    iterations = 0
    while iterations < USER_ITERATIONS_MAX:
        iterations += 1
        asked, slope = price(rate_hz)
        gain = weight / (rate_hz * rate_hz)
        newton_hz = rate_hz - (asked - gain) / (slope + 2.0 * gain / rate_hz)
        before_hz, rate_hz = rate_hz, newton_hz if newton_hz > 0.0 else 0.5 * rate_hz
        if abs(rate_hz - before_hz) <= 1e-13 * rate_hz:
            break
    return rate_hz, iterations


def user_step(
    weight: float,
    rate_max_hz: float,
    success: Sequence[float],
    targets_hz: Edges,
    penalties: Edges,
    costs: Edges,
) -> tuple[Edges, UserInfo]:
    """Minimises w / L + lin.(x, l) + sum rho / 2 (x - t)^2 over balanced x, l >= 0, L <= Lmax.

    For users whose base stations all lead to all their servers; `path_step.py` is for the others.
    Given L both sides fill their cheapest edges up to it, at prices kappa(L) and pi(L). At the
    optimum kappa + pi = w / L^2, or L = Lmax if that is less. A user needs a base station and a
    server, each p > 0 and rho > 0.
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

    def price(rate_hz: float) -> tuple[float, float]:
        kappa, kappa_slope = radio.price(rate_hz)
        pi, pi_slope = tasks.price(rate_hz)
        return kappa + pi, kappa_slope + pi_slope

    rate_hz = sum(target for target in targets_hz.servers if target > 0.0) or rate_max_hz
    rate_hz, iterations = worth_its_price(weight, rate_hz, price)
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


def cell_hints_hz(weights: Floats, success: Floats, capacity_hz: float) -> Floats:
    """Returns a first guess of the members' transmissions (n,): C q / sum q, q = sqrt(w) p^1.5.

    Nothing for those that nothing gets through from.
    """
    shares = np.sqrt(weights) * success**1.5
    hints_hz: Floats = capacity_hz * shares / max(shares.sum(), 1e-300)
    return hints_hz


def server_hints_hz(weights: Floats, mean_s: Floats) -> Floats:
    """Returns a first guess of the members' tasks (n,), at load 0.7, from their E[S] (n,)."""
    shares = np.sqrt(weights / mean_s)
    hints_hz: Floats = 0.7 * shares / (shares @ mean_s)
    return hints_hz


def penalty(weight: float, rate_hz: float, gamma: float = GAMMA) -> float:
    """Returns gamma times the curvature 2 w / L^3 of w / L; towards base stations times p^2."""
    return gamma * 2.0 * weight / rate_hz**3
