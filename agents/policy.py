"""What a protocol is: three small policies, one per role, and what each may look at.

The roles (`user.py`, `base_station.py`, `edge_server.py`) own the mechanics and ask their policy
where a choice is to be made. The defaults below are the plainest sensible choice, so a protocol
overrides only what it is about.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from agents.api import Message, Send, Unhandled
from agents.blocks import block_of
from agents.messages import NodeId, Request, ServerReport, Wake
from agents.moments import Moments
from agents.queues import PriorityQueue
from agents.tasks import Task, Uniform

if TYPE_CHECKING:
    from agents.reference.problem import Allocation, Problem
    from agents.todg.discipline import Discipline

Allotment = dict[NodeId, float]
"""A share in 1/s of, or for, each peer: of a user also of itself to each."""

Access = Literal["dedicated", "contention", "granted", "slotted", "scheduled"]


class Reach(Struct, frozen=True):
    """A server that can be reached, and what is known of it before any report."""

    server: NodeId
    delay_s: float  # one-way backhaul delay
    speed: float  # relative to the reference device
    mean_s: float  # nominal E[S] per task
    second_moment_s2: float  # nominal E[S^2] per task


class Cell(Struct, frozen=True):
    """A base station as its users know it."""

    bs: NodeId
    distance_m: float
    access: Access
    servers: tuple[Reach, ...]  # in the scenario's order; never empty
    success: float = 1.0  # nominal probability that an attempt gets through
    airtime_s: float = 0.0  # nominal, of one task


class BeaconQuality:
    """One user's estimate of the success probability of one radio link.

    An exponentially weighted share of the beacons that arrived. Sequence numbers show what was
    missed, elapsed time shows silence, so a dead base station fades without a word.
    """

    GAIN = 0.1  # one beacon in ten: about 1 s of memory at the default beacon period

    def __init__(self) -> None:
        self._quality = 1.0  # optimistic: every link is tried before it is judged
        self._seq = -1
        self._heard_s = 0.0
        self._every_s = math.inf

    def hear(self, seq: int, every_s: float, now_s: float) -> None:
        if seq == self._seq:
            return  # a copy that the network made
        # Those before the first one that it heard are none that it missed: it was not there.
        missed = max(0, seq - self._seq - 1) if self._seq >= 0 else 0
        self._quality *= (1.0 - self.GAIN) ** missed
        self._quality += self.GAIN * (1.0 - self._quality)
        self._seq, self._heard_s, self._every_s = max(seq, self._seq), now_s, every_s

    def at(self, now_s: float) -> float:
        """Returns the estimate in [0, 1], counting the beacons that should have come by now."""
        silent = block_of(now_s - self._heard_s, self._every_s)
        return self._quality * float((1.0 - self.GAIN) ** silent)


class UserView(Struct):
    """What a user knows: its cells, nearest first, and how well it hears each.

    `allotment`, here and below: what the protocol planned for this node, if it plans.
    """

    name: NodeId
    cells: tuple[Cell, ...]
    priority: int = 0
    weight: float = 1.0
    allotment: Allotment = {}
    quality: dict[NodeId, BeaconQuality] = {}

    def __post_init__(self) -> None:
        self.quality = {cell.bs: BeaconQuality() for cell in self.cells}


class CellView(Struct):
    """What a base station knows: its users and channels, its servers' last reports.

    `slot_s` is the length of a slot where access is slotted, else 0. `sent_since` counts the tasks
    sent to a server since its last report.
    """

    name: NodeId
    servers: tuple[Reach, ...]
    users: tuple[NodeId, ...] = ()
    channels: int = 0
    slot_s: float = 0.0
    allotment: Allotment = {}
    reports: dict[NodeId, ServerReport] = {}
    sent_since: dict[NodeId, int] = {}

    def __post_init__(self) -> None:
        self.sent_since = {reach.server: 0 for reach in self.servers}

    def hear(self, report: ServerReport) -> None:
        newest = self.reports.get(report.server)
        if newest is None or report.at_s > newest.at_s:
            self.reports[report.server] = report
            self.sent_since[report.server] = 0

    def expected_delay_s(self, reach: Reach) -> float:
        """Returns the expected time from here to the end of service at that server.

        Backlog ahead times E[S], less what the running task has done on average (its residual
        is E[S^2] / 2 E[S]), plus the backhaul and the task's own service.
        """
        report = self.reports.get(reach.server)
        told = reach if report is None else report
        ahead = self.sent_since[reach.server] + (0 if report is None else report.backlog)
        mean_s, second_s2 = told.mean_s, told.second_moment_s2
        wait_s = (ahead - 1) * mean_s + 0.5 * second_s2 / mean_s if ahead else 0.0
        return reach.delay_s + wait_s + mean_s


class ServerView(Struct):
    """What a server knows: the running estimates of its own service time."""

    name: NodeId
    moments: Moments
    allotment: Allotment = {}


class Placement(Struct, frozen=True, gc=False):
    """Where a task goes: through `bs` to `server` (None: the base station chooses)."""

    bs: NodeId
    server: NodeId | None


class Policy:
    """What the three have in common: a policy that negotiates is a state machine of its own.

    Its wake-ups and the messages that its role does not know come to it; it wakes for causes of its
    own.
    """

    view: Any  # what it may look at

    def __init__(self, view: Any, uniform: Uniform, options: Struct) -> None:
        self.view = view
        self.uniform = uniform
        self.options = options

    def start(self, now_s: float) -> list[Send]:
        return []

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        raise Unhandled(wake)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        raise Unhandled(message)

    def readings(self, now_s: float) -> dict[str, float]:
        return {}


class UserPolicy(Policy):
    """Places tasks. Default: the nearest base station, which is to choose the server."""

    view: UserView

    def hand_over(self, cells: Sequence[Cell]) -> None:
        """Is told of the cells to use from now on, nearest first, because others went or came."""
        self.view.cells = tuple(cells)

    def wants(self, bs: NodeId, now_s: float) -> bool:
        """Says whether to use a slot that a base station granted for a fresh task."""
        return True

    def sent(self, bs: NodeId, seq: int, until_s: float, now_s: float) -> list[Send]:
        """Is told of a transmission of task `seq` in a slot: through, unless `lost` follows."""
        return []

    def lost(self, bs: NodeId, seq: int, now_s: float) -> list[Send]:
        """Is told that the transmission of task `seq` to that base station was lost."""
        return []

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        """Returns where the task goes; None: to the user's own CPU.

        `bs`: the base station whose slot it is made for, and past which it has to go.
        """
        return Placement(bs or self.view.cells[0].bs, None)


class CellPolicy(Policy):
    """Routes tasks that name no server, and hands out channels."""

    view: CellView

    def draw(self, now_s: float) -> list[NodeId | None]:
        """Returns for every channel who may use the slot that begins now. Default: by lot."""
        users = self.view.users or (None,)  # a cell without users grants its slots to nobody
        return [users[int(self.uniform() * len(users))] for _ in range(self.view.channels)]

    def route(self, task: Task, now_s: float) -> NodeId:
        """Returns the server for a task. Default: the one with the shortest backhaul."""
        return min(self.view.servers, key=lambda reach: reach.delay_s).server

    def grant(
        self, requests: dict[NodeId, Request], free: Sequence[int], now_s: float
    ) -> dict[NodeId, int]:
        """Returns a channel for some users. Default: most urgent class first, oldest first."""
        by_urgency = sorted(
            requests, key=lambda user: (requests[user].priority, requests[user].born_s, user)
        )
        return dict(zip(by_urgency, free, strict=False))


class ServerPolicy(Policy):
    """Orders service."""

    view: ServerView

    def select(self, queue: PriorityQueue, now_s: float) -> int:
        """Returns the index, in order of service, of the next job. Default: the first."""
        return 0


class Reading(Struct, frozen=True):
    """A number that policies report over time, for the report and for Prometheus.

    Shown is the sum over all nodes, divided by the sum of `per` where that is given, and then its
    square root where `root`. Where both rise only, it is the rise of one by that of the other.
    """

    name: str
    about: str
    unit: str = ""
    per: str = ""
    root: bool = False
    log: bool = False  # falls by a factor at a time: drawn on a logarithmic axis
    counts: bool = False  # only rises: shown is by how much
    every_s: float = 1.0  # in so long


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a protocol that has none."""


class Protocol(Struct, frozen=True):
    """One algorithm: a policy per role, the options it takes, and what it needs to hear."""

    about: str
    user: type[UserPolicy] = UserPolicy
    cell: type[CellPolicy] = CellPolicy
    server: type[ServerPolicy] = ServerPolicy
    options: type[Struct] = NoOptions
    beacons: bool = False  # users judge base stations by their beacons
    reports: bool = False  # base stations hear from servers
    local: bool = False  # users need a CPU of their own
    slotted: bool = False  # base stations need slotted access
    says: Sequence[type[Struct]] = ()  # the messages its policies send each other
    plan: "Callable[[Problem, Any], Allocation] | None" = None  # decides before the run
    readings: Sequence[Reading] = ()  # what its policies' `readings` tell
    discipline: "type[Discipline] | None" = None  # what it does where access is scheduled
    bounded: bool = False  # promises that no task stays beyond its deadline
