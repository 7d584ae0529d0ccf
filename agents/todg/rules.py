"""The constants of the TODG-style protocol and the bounds that follow from them.

Drift plus penalty: each slot minimises a bound on the growth of a quadratic function of the queues
minus V times the utility; the bound falls into the terms decided in `todg/protocol.py` and in
`queues.py`. Re-derived from the abstract of arXiv 2101.02772 and from Neely's epsilon-persistent
queues; not the paper's equations; docs/todg.md explains them.

| symbol | name | unit | equation |
| --- | --- | --- | --- |
| V | `Settings.v_slots` | slots | |
| u_f | `rate` | tasks/slot | declared, a contract and not a measurement |
| eps | `rate_min` | tasks/slot | eps_frac u_f; e_s F_s / C_sc at a server |
| T | `threshold` | tasks | V eps delta_c; psi V eps delta_c at a server; delta_c = D_c / max D |
| theta, eta | `weight` | value/task^2 | beta_c / (eps delta_c); 1/psi of it at a server |
| W | `wait_max_slots` | slots | bound on the sojourn time in one queue, theorem 2 |
| M | `inflow_max` | tasks/slot | A_max at a user; ceil(m eps) + 2 at a server |
| Q, H | backlog | tasks | whole tasks; half-sent bits do not count |
| Z, Y | persistence | tasks | `queues.py` |
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

Mode = Literal["hol", "capped", "persistent"]
"""What Z is: eps times the head's missed slots; the literature's queue; that queue, capped."""

V_SEARCH_MAX = 1e6  # slots; a deadline that allows more would be half a day of 50 ms slots
ROUNDING = 1e-9  # tasks; thresholds are products of floats, backlogs are whole


class TaskClass(Struct, frozen=True):
    """One kind of task. `value` is beta: what completing one is worth, and dropping one costs.

    `cpu_slots` is its time on the user's own CPU.
    """

    size_bits: float
    value: float
    deadline_slots: int
    cpu_slots: int


class Settings(Struct, frozen=True):
    """The constants of the protocol, from `protocol.TodgOptions` and the network.

    `v_slots` V; `persistence` eps / u; `server_persistence` e_s, share of a server's rate promised
    to each class; `inflow_slots` m; `server_share` psi; `arrivals_max` A_max in tasks per slot.
    """

    v_slots: float
    mode: Mode
    persistence: float
    server_persistence: float
    inflow_slots: float
    server_share: float
    arrivals_max: int


class QueueRule(Struct, frozen=True):
    """The constants of one queue, of a flow at its user or of a class at a server.

    The sojourn time of any task is at most `wait_max_slots`, the backlog at most `backlog_max`, the
    persistence at most `persistence_max` (theorems 1 and 2), whatever the service, if at most
    `inflow_max` tasks come per slot.
    """

    mode: Mode
    rate_min: float
    threshold: float
    weight: float
    inflow_max: int

    @property
    def wait_max_slots(self) -> int:
        if self.threshold + ROUNDING < 1.0:
            return 1  # nothing survives its first slot
        if self.mode == "hol":
            most = self.threshold - 1.0
        else:
            most = 2.0 * self.threshold + self.inflow_max - 2.0
        return math.floor((most + 2.0 * ROUNDING) / self.rate_min) + 2

    @property
    def backlog_max(self) -> float:
        return self.threshold + self.inflow_max

    @property
    def persistence_max(self) -> float:
        return self.threshold + self.rate_min


def user_rule(task: TaskClass, rate: float, deadline_max_slots: int, at: Settings) -> QueueRule:
    """Returns the constants of a flow of declared `rate` tasks per slot."""
    rate_min = at.persistence * rate
    share = task.deadline_slots / deadline_max_slots
    return QueueRule(
        mode=at.mode,
        rate_min=rate_min,
        threshold=at.v_slots * rate_min * share,
        weight=task.value / (rate_min * share),
        inflow_max=at.arrivals_max,
    )


def server_rule(
    task: TaskClass, mean_slots: float, deadline_max_slots: int, at: Settings
) -> QueueRule:
    """Returns the constants of a class at a server, where a task takes `mean_slots` C_sc / F_s."""
    rate_min = at.server_persistence / mean_slots
    share = task.deadline_slots / deadline_max_slots
    return QueueRule(
        mode=at.mode,
        rate_min=rate_min,
        threshold=at.server_share * at.v_slots * rate_min * share,
        weight=task.value / (at.server_share * rate_min * share),
        inflow_max=math.ceil(at.inflow_slots * rate_min) + 2,
    )


def can_compute(task: TaskClass, rule: QueueRule) -> bool:
    """Says whether the user's own CPU may pull from this flow and still keep the deadline."""
    return rule.wait_max_slots + task.cpu_slots <= task.deadline_slots


def age_max_slots(
    task: TaskClass, flows: Sequence[QueueRule], servers: Sequence[QueueRule], has_cpu: bool
) -> int:
    """Returns W_c, the bound on the age of any task of a class when it ends (theorem 3).

    `flows` and `servers` are the rules of this class at all its users and servers.
    """
    tail = max((rule.wait_max_slots for rule in servers), default=0)
    if has_cpu and any(can_compute(task, rule) for rule in flows):
        tail = max(tail, task.cpu_slots)
    return max((rule.wait_max_slots for rule in flows), default=0) + tail


def v_max_slots(
    tasks: Sequence[TaskClass],
    rates: Sequence[float],
    mean_slots: Sequence[Sequence[float]],
    at: Settings,
) -> float:
    """Returns the largest V whose delay bounds keep every deadline; `at.v_slots` is not read.

    `rates` are declared, by class; `mean_slots` C / F is (server, class). Raises ValueError where
    not even V = 0 does.
    """
    longest = max(task.deadline_slots for task in tasks)

    def keeps(v_slots: float) -> bool:
        chosen = replace(at, v_slots=v_slots)
        return all(
            age_max_slots(
                task,
                [user_rule(task, rates[c], longest, chosen)],
                [server_rule(task, slots[c], longest, chosen) for slots in mean_slots],
                has_cpu=False,  # `can_compute` sees to the CPU, flow by flow
            )
            <= task.deadline_slots
            for c, task in enumerate(tasks)
        )

    low, high = 0.0, V_SEARCH_MAX
    if not keeps(low):
        raise ValueError("some deadline is shorter than 2 slots, or inflow_slots is too large")
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def credits(inflow_max: int, stations: int, turn: int) -> tuple[int, ...]:
    """Shares a server's intake cap M among its base stations: whole credits that sum to M.

    `turn` rotates the remainder, so that servers and classes do not all favour the same ones.
    """
    each, left = divmod(inflow_max, stations)
    return tuple(each + ((turn + bs) % stations < left) for bs in range(stations))
