"""What a protocol decides in a scheduled network: admission, dropping, weights, servers, service.

One class with a method per decision; every node makes an instance of its own and asks only for its
part. The base is best effort: everything is admitted, and waits until it is served or late.
`todg/protocol.py` and `todg/baselines.py` override what they are about.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.queues import Job
from agents.tasks import Uniform
from agents.todg.allocation.allocator import EFFORTS, Effort
from agents.todg.frame import Frame
from agents.todg.queues import Admission, Backlog
from agents.todg.rules import QueueRule

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class UsersSeen(Struct, frozen=True, eq=False):
    """What a base station knows of its users in one slot, row by row; arrays are (users,)."""

    slot: int
    kind: Ints
    backlog: Floats  # Q, tasks; 0 where nothing is known
    persistence: Floats  # Z, tasks
    slack_slots: Floats  # until the deadline of the head, at least 1
    idle_slots: Floats  # since the user was last granted a channel
    bits: Floats  # (users, channels): what each channel carries in what is left of the slot
    size_bits: Floats  # of one task


class ServersSeen:
    """What a base station knows of its servers in one slot; arrays are (servers, kinds).

    `backlog` H is from the last boards; `sent` is what this base station sent in this slot.
    """

    def __init__(self, frame: Frame, station: int) -> None:
        shape = len(frame.machines), len(frame.kinds)
        self.station = station
        self.backlog = np.zeros(shape)
        self.slowness = np.ones(shape[0])  # E[S] measured over E[S] declared
        self.usable = np.zeros(shape[0], dtype=np.bool_)
        self.sent = np.zeros(shape)


class Discipline(ABC):
    """Best effort: admits all, sends where it is done first, serves in order of arrival."""

    offloads = True

    def __init__(self, frame: Frame, options: Struct, uniform: Uniform) -> None:
        self.frame = frame
        self.options = options
        self.uniform = uniform
        self.effort: Effort = EFFORTS[2]
        self.mean_slots = np.array(  # (server, kind), as declared
            [
                [frame.mean_slots(s, c) for c in range(len(frame.kinds))]
                for s in range(len(frame.machines))
            ]
        )

    # Queues

    def user_rule(self, kind: int) -> QueueRule:
        """Returns the constants of a user's queue."""
        return self._unbounded()

    def server_rule(self, server: int, kind: int) -> QueueRule:
        """Returns the constants of a server's queue of one kind."""
        return self._unbounded()

    def admission(self, kind: int) -> Admission | None:
        """Returns who decides what is let in; None: everything is."""
        return None

    def computes(self, kind: int) -> bool:
        """Says whether a user's own CPU, if it has one, takes part. Here: it may be in time."""
        task = self.frame.kinds[kind]
        return task.cpu_slots <= task.deadline_slots

    @staticmethod
    def _unbounded(weight: float = 1.0) -> QueueRule:
        return QueueRule("hol", 0.0, threshold=math.inf, weight=weight, inflow_max=1)

    # A base station, each slot

    @abstractmethod
    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        """Returns what every (user, channel) is worth; <= 0 where it is to stay idle."""

    def choose(self, kind: int, servers: ServersSeen) -> int | None:
        """Returns the server for one more task; None: it is to wait at the user.

        Here the one that is done first, by its backlog of all kinds.
        """
        waiting = ((servers.backlog + servers.sent) * self.mean_slots).sum(axis=1)
        done_slots = (waiting + self.mean_slots[:, kind]) * servers.slowness
        done_slots[~servers.usable] = math.inf
        best = int(done_slots.argmin())
        return best if servers.usable[best] else None

    # A server, whenever it is free

    def next_kind(self, server: int, lines: Sequence[Backlog[Job]]) -> int:
        """Returns the kind to serve next; some line is not empty. Here first come first served."""
        heads = [(line.first.arrived_s, c) for c, line in enumerate(lines) if len(line)]
        return min(heads)[1]
