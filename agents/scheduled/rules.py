"""The slot decisions of the TODG-style protocol in closed form: pure functions, one node's view.

Drift plus penalty: each slot minimises a bound on the growth of a quadratic function of the queues
minus V times the utility; the bound falls into the terms decided here and in `queues.py`.
Re-derived from the abstract of arXiv 2101.02772 and from Neely's epsilon-persistent queues; not
the paper's equations; docs/todg.md explains them.

| symbol | name | unit | equation |
| --- | --- | --- | --- |
| V | `Settings.v_slots` | slots | |
| u_f | `rate` | tasks/slot | declared, a contract and not a measurement |
| eps | `rate_min` | tasks/slot | eps_frac u_f; e_s F_s / C_sc at a server |
| T | `threshold` | tasks | V eps delta_c; psi V eps delta_c at a server; delta_c = D_c / max D |
| theta, eta | `weight` | value/task^2 | beta_c / (eps delta_c); 1/psi of it at a server |
| W | `wait_max_slots` | slots | bound on the stay in one queue, theorem 2 |
| M | `inflow_max` | tasks/slot | A_max at a user; ceil(m eps) + 2 at a server |
| Q, H | backlog | tasks | whole tasks; half-sent bits do not count |
| Z, Y | persistence | tasks | `queues.py` |
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

Mode = Literal["hol", "capped", "persistent"]
"""What Z is: eps times the head's missed slots; the literature's queue; that queue, capped."""

Floats = NDArray[np.float64]

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
    """The constants of the protocol; a scenario's defaults are in `todg.TodgOptions`.

    `v_slots` V; `persistence` eps / u; `server_persistence` e_s, share of a server's rate promised
    to each class; `inflow_slots` m; `server_share` psi; `arrivals_max` A_max in tasks per slot.
    """

    v_slots: float
    mode: Mode = "hol"
    persistence: float = 1.5
    server_persistence: float = 0.3
    inflow_slots: float = 4.0
    server_share: float = 0.3
    arrivals_max: int = 4


class QueueRule(Struct, frozen=True):
    """The constants of one queue, of a flow at its user or of a class at a server.

    `value` is beta of the class. The stay of any task is at most `wait_max_slots`, the backlog at
    most `backlog_max`, the persistence at most `persistence_max` (theorems 1 and 2), whatever the
    service, if at most `inflow_max` tasks come per slot.
    """

    mode: Mode
    value: float
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
        value=task.value,
        rate_min=rate_min,
        threshold=at.v_slots * rate_min * share,
        weight=task.value / (rate_min * share),
        inflow_max=at.arrivals_max,
    )


def server_rule(
    task: TaskClass, work_per_slot: float, work: float, deadline_max_slots: int, at: Settings
) -> QueueRule:
    """Returns the constants of a class at a server: F_s work units per slot, C_sc per task."""
    rate_min = at.server_persistence * work_per_slot / work
    share = task.deadline_slots / deadline_max_slots
    return QueueRule(
        mode=at.mode,
        value=task.value,
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
    rates: Sequence[Sequence[float]],
    servers: Sequence[tuple[float, Sequence[float]]],
    at: Settings,
) -> float:
    """Returns the largest V whose delay bounds keep every deadline; `at.v_slots` is not read.

    `rates[c]` are the distinct declared rates of class c, `servers` (work per slot, work per task
    of each class). Raises ValueError where not even V = 0 does.
    """
    longest = max(task.deadline_slots for task in tasks)

    def keeps(v_slots: float) -> bool:
        chosen = replace(at, v_slots=v_slots)
        return all(
            age_max_slots(
                task,
                [user_rule(task, rate, longest, chosen) for rate in rates[c]],
                [server_rule(task, speed, work[c], longest, chosen) for speed, work in servers],
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


def server_prices(weight: Floats, backlog: Floats, usable: NDArray[np.bool_]) -> Floats:
    """Returns min over usable servers of eta H for each class; inf if there is none.

    `weight` and `backlog` are (server, class), `usable` (server,).
    """
    price: Floats = np.where(usable[:, None], weight * backlog, np.inf).min(axis=0, initial=np.inf)
    return price


def vertex_weights(
    urgency: Floats, price: Floats, movable: Floats
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Returns what each (user, channel) is worth this slot, and the flow that makes it so.

    w_ik = max_f [urgency_f - price_f]^+ movable_fk. `urgency` = theta (Q + Z) and `price` = the
    least eta H of the flow's class are (user, flow), `movable` = min(r_ik / L_c, Q_f) tasks is
    (user, flow, channel); a user with fewer flows than others has movable 0 there. Weights are
    rounded to float32, as they are on the air, so that all nodes compare the same numbers.
    """
    gain = np.maximum(urgency - price, 0.0)[:, :, None] * movable
    return gain.max(axis=1).astype(np.float32), gain.argmax(axis=1)


def choose_server(
    weight: Sequence[float],
    backlog: Sequence[int],
    sent: Sequence[int],
    credit: Sequence[int],
    usable: Sequence[bool],
    slots_per_task: Sequence[float],
) -> int | None:
    """Returns the server for one task of a class, None if none has credit left.

    The least eta (H + sent), where `sent` is what this base station sent there this slot; ties go
    to the faster (`slots_per_task` = C / F). All arguments are by server.
    """
    open_ = [s for s in range(len(weight)) if usable[s] and sent[s] < credit[s]]
    cost = {s: (weight[s] * (backlog[s] + sent[s]), slots_per_task[s], s) for s in open_}
    return min(open_, key=cost.__getitem__, default=None)


def choose_own(urgency: Mapping[int, float], cpu_slots: Mapping[int, int]) -> int | None:
    """Returns the flow whose head the idle CPU pulls: largest theta (Q + Z) / n_c; None if all 0.

    Offer only flows with a head that is not half-sent and for which `can_compute` holds.
    """
    best = max(urgency, key=lambda flow: (urgency[flow] / cpu_slots[flow], -flow), default=None)
    return best if best is not None and urgency[best] > 0.0 else None


def service_order(
    weight: Sequence[float], pressure: Sequence[float], work: Sequence[float]
) -> list[int]:
    """Returns the classes in order of service at a server: falling eta (H + Y) / C.

    `pressure` is H + Y. Serve each class first come first served until the slot's work is used up.
    """
    index = [w * p / c for w, p, c in zip(weight, pressure, work, strict=True)]
    return sorted(range(len(index)), key=lambda c: (-index[c], c))
