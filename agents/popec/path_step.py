"""A user's own problem where not every base station leads to every server.

What `user_step` of `fractional.py` solves by the sums of either side, over the rates l_bm of the
paths there are: x_b = sum_m l_bm / p_b, l_m = sum_b l_bm, L their sum. Symbols as there. Source:
docs/popec.md, Who solves what.
"""

from collections.abc import Sequence

from agents.popec.fractional import Edges, UserInfo, worth_its_price
from agents.popec.routes import Routes

PATH_ITERATIONS_MAX = 200  # 1 to 3 from the last answer, one or two per path from nothing
RIDGE = 1e-13  # of the curvature: two ways between the same ends have none along the circle
TOLERANCE = 1e-11  # of the prices that meet at a path


def path_step(
    weight: float,
    rate_max_hz: float,
    success: Sequence[float],
    targets_hz: Edges,
    penalties: Edges,
    costs: Sequence[float],
    routes: Routes,
    start_hz: Sequence[float],
) -> tuple[list[float], UserInfo]:
    """Minimises w / L + lin.l + sum rho / 2 (x - t)^2 over path rates l >= 0 with L <= Lmax.

    `costs`, `start_hz` and the answer are by path. An active-set method: on the paths in use the
    optimum is linear in the price g of a task, so that w / L^2 = g is one root; a path that would
    turn negative is left, then the one that pays most is taken up, until none pays. Each stop is
    balanced and better than the one before, so none comes twice.
    """
    paths = routes.paths
    if not paths:
        raise ValueError("a user needs a base station that leads to a server")
    # Prices are lin + sum of curvature times rate, less a pull to the targets.
    of_cells = [rho / (p * p) for rho, p in zip(penalties.cells, success, strict=True)]
    of_servers = penalties.servers
    pulls = [
        rho * t / p for rho, t, p in zip(penalties.cells, targets_hz.cells, success, strict=True)
    ]
    pushes = [rho * t for rho, t in zip(of_servers, targets_hz.servers, strict=True)]
    opens = [cost - pulls[b] - pushes[m] for cost, (b, m) in zip(costs, paths, strict=True)]
    scale = max(map(abs, opens))
    rates_hz = list(start_hz)
    used = [path for path, hz in enumerate(rates_hz) if hz > 0.0]
    if not used:
        used = [min(range(len(paths)), key=opens.__getitem__)]
    capped = False
    iterations = 0
    while iterations < PATH_ITERATIONS_MAX:
        iterations += 1
        rows = [
            [
                of_cells[b] * (b == other_b) + of_servers[m] * (m == other_m)
                for other_b, other_m in (paths[other] for other in used)
            ]
            + [-opens[path], 1.0]
            for path, (b, m) in ((path, paths[path]) for path in used)
        ]
        free_hz, per_price_hz = _solve(rows)
        base_hz, gain_hz = sum(free_hz), sum(per_price_hz)
        wanted_hz = _worth(weight, sum(rates_hz) or rate_max_hz, base_hz, gain_hz)
        capped = wanted_hz >= rate_max_hz
        price = (min(wanted_hz, rate_max_hz) - base_hz) / gain_hz
        aims_hz = [free + price * more for free, more in zip(free_hz, per_price_hz, strict=True)]
        shares = [
            (rates_hz[path] / (rates_hz[path] - aim), path)
            for path, aim in zip(used, aims_hz, strict=True)
            if aim < 0.0
        ]
        if shares:
            share, first = min(shares)
            for path, aim in zip(used, aims_hz, strict=True):
                rates_hz[path] += share * (aim - rates_hz[path])
            rates_hz[first] = 0.0
            used.remove(first)
            continue
        for path, aim in zip(used, aims_hz, strict=True):
            rates_hz[path] = aim
        sums_hz = routes.sums(rates_hz)
        best, gain = -1, TOLERANCE * (scale + abs(price))
        for path, (b, m) in enumerate(paths):
            at = opens[path] + of_cells[b] * sums_hz.cells[b] + of_servers[m] * sums_hz.servers[m]
            if price - at > gain and path not in used:
                best, gain = path, price - at
        if best < 0:
            break
        used.append(best)
    return rates_hz, UserInfo(sum(rates_hz), capped, iterations)


def _worth(weight: float, start_hz: float, base_hz: float, gain_hz: float) -> float:
    """Returns the L at which a task is worth its price, where L = base + gain price."""
    return worth_its_price(
        weight, start_hz, lambda rate_hz: ((rate_hz - base_hz) / gain_hz, 1.0 / gain_hz)
    )[0]


def _solve(rows: list[list[float]]) -> tuple[list[float], list[float]]:
    """Solves a positive definite system with two right-hand sides, the ends of the rows.

    By hand: of two to six unknowns a library call costs more than the elimination.
    """
    count = len(rows)
    for k, row in enumerate(rows):
        row[k] *= 1.0 + RIDGE
    for k, row in enumerate(rows):
        for below in rows[k + 1 :]:
            factor = below[k] / row[k]
            if factor:
                for j in range(k, count + 2):
                    below[j] -= factor * row[j]
    first, second = [0.0] * count, [0.0] * count
    for k in range(count - 1, -1, -1):
        row = rows[k]
        first[k] = (row[count] - sum(row[j] * first[j] for j in range(k + 1, count))) / row[k]
        second[k] = (row[count + 1] - sum(row[j] * second[j] for j in range(k + 1, count))) / row[k]
    return first, second
