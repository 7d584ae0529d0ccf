"""Everything that nodes say to each other, to the runtime and to the journal: a closed union.

A body carries what its receiver needs and nothing it could know already. `size_bits` is what the
body costs on the air; bodies that never cross the network have none.
"""

import math
from typing import Literal

from msgspec import Struct

from agents.messages.slots import Allocated, Burst, Sense, Sensed, SlotControl
from agents.reasons import Cause, Reason
from agents.tasks import HEADER_BITS, Task

NodeId = str
Outcome = Literal["completed", "expired", "dropped"]
NONE = Reason.NONE  # to look it up in its enumeration costs as much as a call


class Wake(Struct, frozen=True, gc=False, tag="wake", array_like=True):
    """To `@clock`: call my `on_tick` with this same value at `at_s`."""

    at_s: float
    cause: Cause
    key: int = 0


class Offload(Struct, frozen=True, gc=False, tag="offload", array_like=True):
    """A task on its way to a server. `server` None: the base station is to choose.

    `attempts` counts the radio attempts of the hops before a base station passed it on.
    """

    task: Task
    server: NodeId | None
    attempts: int = 0

    @property
    def size_bits(self) -> float:
        return HEADER_BITS + self.task.size_bits


class Request(Struct, frozen=True, gc=False, tag="request", array_like=True):
    """A user asks its base station for a channel for the task at the head of its queue.

    `seq` is that of the task: once it has come, what still asks for it is void.
    """

    priority: int
    born_s: float
    seq: int
    size_bits: float = HEADER_BITS + 128.0


class Grant(Struct, frozen=True, gc=False, tag="grant", array_like=True):
    """A base station gives one of its channels to one user until `until_s`."""

    channel: int
    until_s: float
    size_bits: float = HEADER_BITS + 96.0


class Vacate(Struct, frozen=True, gc=False, tag="vacate", array_like=True):
    """A user hands the rest of a `Grant` back, which both name by what it said."""

    channel: int
    until_s: float
    size_bits: float = HEADER_BITS + 96.0


class ServerReport(Struct, frozen=True, gc=False, tag="server-report", array_like=True):
    """What a server says of itself.

    `backlog` counts waiting and running tasks. `mean_s` and `second_moment_s2` are running
    estimates of E[S] and E[S^2] per task; they steer the next decisions, and so close the loop
    from measured inference latency to offloading. `busy_s` is how long it has served so far.
    """

    server: NodeId
    at_s: float
    backlog: int
    mean_s: float
    second_moment_s2: float
    size_bits: float = HEADER_BITS + 320.0
    busy_s: float = 0.0  # last: journals of before had none


class Beacon(Struct, frozen=True, gc=False, tag="beacon", array_like=True):
    """A base station's periodic broadcast; users judge the channel by how many they miss."""

    seq: int
    every_s: float
    size_bits: float = HEADER_BITS + 96.0


class Join(Struct, frozen=True, gc=False, tag="join", array_like=True):
    """A user tells a base station or server that it wants a share, and what that is worth.

    `success` is that of its radio link to the base station; a server does not ask for it.
    """

    priority: int
    weight: float
    success: float = 1.0
    size_bits: float = HEADER_BITS + 128.0


class Hint(Struct, frozen=True, gc=False, tag="hint", array_like=True):
    """Answers a `Join` with a first guess of the share; `mean_s` is E[S] at a server, else 0."""

    rate_hz: float
    mean_s: float = 0.0
    size_bits: float = HEADER_BITS + 128.0


class Ask(Struct, frozen=True, gc=False, tag="ask", array_like=True):
    """A user asks for a rate: transmissions per second of a base station, tasks of a server.

    `penalty` is what missing it by 1/s squared costs twice, `urgency` what one task per second
    waiting for one second costs. Later `seq` supersedes.
    """

    seq: int
    rate_hz: float
    penalty: float
    urgency: float
    priority: int
    size_bits: float = HEADER_BITS + 256.0


class Share(Struct, frozen=True, gc=False, tag="share", array_like=True):
    """A base station or server gives a user a rate; `seq` is that of the newest `Ask` it knows.

    From a server also the expected wait of the user's class, and E[S].
    """

    seq: int
    rate_hz: float
    wait_s: float = 0.0
    mean_s: float = 0.0
    size_bits: float = HEADER_BITS + 256.0


class Result(Struct, frozen=True, gc=False, tag="result", array_like=True):
    """A finished task on its way home. `correct` None: nobody looked at the image."""

    task: Task
    server: NodeId
    arrived_s: float
    started_s: float
    finished_s: float
    correct: bool | None
    attempts: int
    size_bits: float = HEADER_BITS + 64.0


class Execute(Struct, frozen=True, gc=False, tag="execute", array_like=True):
    """To `@accelerator`: run my network on these images, as one batch. `waiting` more wait."""

    tasks: tuple[Task, ...]
    waiting: int = 0


class Abort(Struct, frozen=True, gc=False, tag="abort", array_like=True):
    """To `@accelerator`: give up the batch in service; its tasks are the sender's again."""


class Executed(Struct, frozen=True, gc=False, tag="executed", array_like=True):
    """From `@accelerator`, when `service_s` has passed. `correct` is empty or one per task."""

    tasks: tuple[Task, ...]
    service_s: float
    correct: tuple[bool, ...] = ()


class Undelivered(Struct, frozen=True, gc=False, tag="undelivered", array_like=True):
    """From `@radio`: the link layer gave up; the task inside is the sender's again."""

    lost: "Offload | Result | Burst"
    target: NodeId
    reason: Reason
    attempts: int


class Tempo(Struct, frozen=True, gc=False, tag="tempo", array_like=True):
    """From `@clock`: from now on this user generates `factor` times as many tasks as declared.

    `moved_s`: its clock was set forward by so much just now.
    """

    factor: float
    moved_s: float = 0.0


class Handover(Struct, frozen=True, gc=False, tag="handover", array_like=True):
    """From `@radio`: these base stations are gone, use the others; empty: all are back."""

    gone: tuple[NodeId, ...]


class TaskEnd(Struct, frozen=True, gc=False, tag="task-end", array_like=True):
    """To `@journal`: the one end of one task, told by whoever held it.

    Instants in seconds; nan where the task never got that far. `received_s` is when the user had
    the result, `ended_s` when the task ended, whatever its outcome.
    """

    user: NodeId
    seq: int
    priority: int
    born_s: float
    due_s: float
    ended_s: float
    outcome: Outcome
    reason: Reason = Reason.NONE
    server: NodeId = ""
    arrived_s: float = math.nan
    started_s: float = math.nan
    finished_s: float = math.nan
    attempts: int = 0
    correct: bool | None = None


Control = Join | Hint | Ask | Share | SlotControl
"""What protocols negotiate with; it crosses the control channel where the scenario has one."""

Airborne = Offload | Request | Grant | Vacate | ServerReport | Beacon | Burst | Result | Control
"""The bodies that cross the network; each has `size_bits`."""

Local = Wake | Sense | Sensed | Execute | Abort | Executed | Undelivered | Tempo | Handover
"""What a node and its own surroundings tell each other."""

Body = Airborne | Local | TaskEnd | Allocated


def ended(
    task: Task,
    now_s: float,
    outcome: Outcome,
    reason: Reason,
    server: NodeId = "",
    attempts: int = 0,
) -> TaskEnd:
    """Tells the end of a task that brought no result."""
    return TaskEnd(
        user=task.user,
        seq=task.seq,
        priority=task.priority,
        born_s=task.born_s,
        due_s=task.due_s,
        ended_s=now_s,
        outcome=outcome,
        reason=reason,
        server=server,
        attempts=attempts,
    )


def completed(result: Result, now_s: float) -> TaskEnd:
    """Tells the end of a task whose result its user has now."""
    task = result.task
    return TaskEnd(
        task.user,
        task.seq,
        task.priority,
        task.born_s,
        task.due_s,
        now_s,
        "completed",
        NONE,
        result.server,
        result.arrived_s,
        result.started_s,
        result.finished_s,
        result.attempts,
        result.correct,
    )


def tag_of(body: type) -> str:
    return str(body.__struct_config__.tag)  # type: ignore[attr-defined]


def tasks_in(body: Body) -> tuple[Task, ...]:
    """Names the tasks that a body on its way carries; the runtime counts what is in flight."""
    match body:
        case Offload(task=task) | Result(task=task):
            return (task,)
        case Execute(tasks=tasks) | Executed(tasks=tasks) | Burst(tasks=tasks):
            return tasks
        case Undelivered(lost=lost):
            return tasks_in(lost)
        case _:
            return ()
