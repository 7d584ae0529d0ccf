"""Rivals of TODG in scheduled networks: each weighs (user, channel) pairs by one idea.

All admit everything and expire what is late; channels go by the distributed greedy schedule, tasks
to the server that is done first unless said otherwise. Source: docs/todg.md, Rivals.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from agents.policy import Protocol
from agents.queues import Job
from agents.tasks import Uniform
from agents.todg.discipline import Bools, Discipline, Floats, ServersSeen, UsersSeen
from agents.todg.frame import Frame
from agents.todg.queues import Backlog

TIE = 1e-6  # share by which the better channel wins among equals


class LotDiscipline(Discipline):
    """Channels and servers by lot."""

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        drawn = [self.uniform() for _ in users.bits.flat]
        return np.where(_can_send(users), np.reshape(drawn, users.bits.shape), 0.0)

    def choose(self, kind: int, servers: ServersSeen) -> int | None:
        usable = np.flatnonzero(servers.usable)
        return int(usable[int(self.uniform() * len(usable))]) if len(usable) else None


class TurnDiscipline(Discipline):
    """The user that went longest without a channel; servers in turn."""

    def __init__(self, frame: Frame, options: Struct, uniform: Uniform) -> None:
        super().__init__(frame, options, uniform)
        self._turn = 0

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        waited = users.idle_slots[:, None] * (1.0 + TIE * _relative(users))
        return np.where(_can_send(users), waited, 0.0)

    def choose(self, kind: int, servers: ServersSeen) -> int | None:
        usable = np.flatnonzero(servers.usable)
        self._turn += 1
        return int(usable[self._turn % len(usable)]) if len(usable) else None


class MaxRateDiscipline(Discipline):
    """The channel that carries most."""

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        return np.where(_can_send(users), users.bits, 0.0)


class EdfDiscipline(Discipline):
    """The head whose deadline is nearest, on the air and at servers."""

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        urgency = (1.0 / users.slack_slots)[:, None] * (1.0 + TIE * _relative(users))
        return np.where(_can_send(users), urgency, 0.0)

    def next_kind(self, server: int, lines: Sequence[Backlog[Job]]) -> int:
        return min((line.first.task.due_s, c) for c, line in enumerate(lines) if len(line))[1]


class LocalDiscipline(Discipline):
    """Every user serves its own tasks."""

    offloads = False

    def weigh(self, users: UsersSeen, servers: ServersSeen) -> Floats:
        return np.zeros_like(users.bits)


MAX_RATE = Protocol("The best channels first.", discipline=MaxRateDiscipline)
EDF = Protocol("The earliest deadlines first.", discipline=EdfDiscipline)


def _can_send(users: UsersSeen) -> Bools:
    return (users.backlog[:, None] > 0.0) & (users.bits > 0.0)


def _relative(users: UsersSeen) -> Floats:
    return users.bits / max(1.0, float(users.bits.max(initial=0.0)))
