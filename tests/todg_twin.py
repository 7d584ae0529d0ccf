"""The decisions of TODG once more, naively: one number at a time, from the words of docs/todg.md.

Written without the product's code, which `test_todg_rules.py` compares with it. `kind` is
(value, deadline, input bits, cpu slots) with times in slots.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    value: float
    deadline: int
    bits: float
    cpu: int


class Constants(NamedTuple):
    """Of one queue: eps, T, its weight (theta or eta), and the most that comes in a slot."""

    eps: float
    threshold: float
    weight: float
    inflow: int


def at_user(kind: Kind, rate: float, longest: int, v: float, persistence: float, most: int):
    eps = persistence * rate
    delta = kind.deadline / longest
    return Constants(eps, v * eps * delta, kind.value / (eps * delta), most)


def at_server(kind: Kind, slots: float, longest: int, v: float, promised: float, psi: float, m):
    eps = promised * (1 / slots)  # what it could serve of that kind in a slot is 1 / slots
    delta = kind.deadline / longest
    return Constants(
        eps, psi * v * eps * delta, kind.value / (psi * eps * delta), math.ceil(m * eps) + 2
    )


def sojourn_max(queue: Constants, mode: str) -> int:
    if queue.threshold < 1:
        return 1
    if mode == "hol":
        return math.floor((queue.threshold - 1) / queue.eps) + 2
    return math.floor((2 * queue.threshold + queue.inflow - 2) / queue.eps) + 2


def weight(
    user: Constants, kind: Kind, q: int, z: float, bits: float, prices: Sequence[float]
) -> float:
    """w = [theta (Q + Z) - min eta H]^+ min(r / L, Q); `prices` are eta H of usable servers."""
    if not prices:
        return 0.0
    gain = user.weight * (q + z) - min(prices)
    return gain * min(bits / kind.bits, q) if gain > 0 else 0.0


def servers(costs: Sequence[float], slots: Sequence[float], is_open: Sequence[bool]) -> set[int]:
    """The servers that may be chosen: least eta (H + sent) of those open, ties to the faster."""
    open_ = [s for s in range(len(costs)) if is_open[s]]
    if not open_:
        return set()
    least = min(costs[s] for s in open_)
    cheap = [s for s in open_ if math.isclose(costs[s], least, rel_tol=1e-9, abs_tol=1e-12)]
    fastest = min(slots[s] for s in cheap)
    return {s for s in cheap if math.isclose(slots[s], fastest, rel_tol=1e-9)}


def shares(intake: int, stations: int, turn: int) -> list[int]:
    """Deals a server's intake out, one task at a time, beginning at a station that turns."""
    dealt = [0] * stations
    for n in range(intake):
        dealt[(n - turn) % stations] += 1
    return dealt


class Queue:
    """Arrival slots of the tasks, oldest first, and Z; `end_slot` is the drop rule."""

    def __init__(self, at: Constants, mode: str) -> None:
        self.at, self.mode = at, mode
        self.came: list[int] = []
        self.z = 0.0

    def end_slot(self, slot: int, served: int) -> int:
        """Drops heads while Q + Z > T, moves Z on; returns how many went."""
        carried = max(0.0, self.z - served)
        dropped = 0
        while self.came:
            passed_over = max(slot - self.came[0] - 1, 0) * self.at.eps
            z = {
                "hol": passed_over,
                "capped": min(carried, passed_over),
                "persistent": carried,
            }[self.mode]
            if len(self.came) + z <= self.at.threshold + 1e-9:
                self.z = z + self.at.eps
                return dropped
            del self.came[0]
            dropped += 1
            carried = max(0.0, carried - 1)
        self.z = 0.0
        return dropped


class Door:
    """G, and the pace at which a backlog is served, over W slots with a backlog."""

    def __init__(self, at: Constants, mode: str, rate: float) -> None:
        self.at, self.mode, self.rate = at, mode, rate
        self.g, self.pace = 0.0, float(at.inflow)

    def admit(self, arrivals: int, backlog: int, served: int) -> int:
        w = sojourn_max(self.at, self.mode)
        if backlog > 0:
            self.pace = self.pace * (w - 1) / w + served / w
        in_vain = (
            self.mode == "hol"
            and backlog > 0
            and (self.pace == 0 or backlog + self.at.eps * backlog / self.pace > self.at.threshold)
        )
        admitted = 0 if backlog > self.g or in_vain else min(arrivals, self.at.inflow)
        if self.g == 0:
            wish = float(self.at.inflow)
        else:
            wish = self.rate * (self.at.threshold / self.g - 1)
            wish = max(0.0, min(wish, self.at.inflow))
        self.g = max(0.0, self.g + wish - admitted)
        return admitted
