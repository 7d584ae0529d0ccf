"""One edge of a user in the freshness protocol: all it knows of one base station or server.

Source: docs/popec.md, Who solves what.
"""

import math
from collections.abc import Sequence

from agents.bodies import NodeId
from agents.protocols.fractional import Edges


class Edge:
    """One base station or server as this user sees it."""

    __slots__ = (
        "alive",
        "asked_hz",
        "asked_s",
        "base_hz",
        "copy_hz",
        "first_s",
        "hint_hz",
        "is_cell",
        "is_open",
        "name",
        "penalty",
        "seq",
        "service_s",
        "share_hz",
        "share_was_hz",
        "target_hz",
        "tries",
        "wait_s",
    )

    def __init__(self, name: NodeId, is_cell: bool, service_s: float = 0.0) -> None:
        self.name = name
        self.is_cell = is_cell
        self.service_s = service_s  # E[S]
        self.wait_s = 0.0  # W of this user's class
        self.alive = True
        self.hint_hz = math.nan  # nan: has not answered the join yet
        self.penalty = math.nan  # nan: not part of the negotiation yet
        self.target_hz = 0.0  # t
        self.base_hz = 0.0  # t when the last ask was answered
        self.copy_hz = 0.0  # x when it was sent
        self.share_hz = self.share_was_hz = 0.0  # z, and the one before
        self.seq = 0
        self.is_open = False  # an ask is unanswered
        self.tries = 0  # how often the open ask was sent
        self.asked_hz = math.inf  # r; inf: ask whatever it is
        self.asked_s = self.first_s = -math.inf  # when it was last sent, first sent


def mean_hints(cells: Sequence[Edge], servers: Sequence[Edge]) -> Edges | None:
    """Returns the mean of the hints of either side; None where a side gave none."""
    sides = [[e.hint_hz for e in edges if e.hint_hz > 0.0] for edges in (cells, servers)]
    if not all(sides):
        return None
    means = [[sum(hints_hz) / len(hints_hz)] for hints_hz in sides]
    return Edges(*means)
