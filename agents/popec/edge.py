"""One edge of a user in PoPeC: all it knows of one base station or server.

Source: docs/popec.md, Who solves what.
"""

import math
from collections.abc import Sequence

from agents.messages import NodeId, Share
from agents.popec.fractional import Edges


class Edge:
    """One base station or server as this user sees it.

    Many attributes: the state of one edge of the consensus is one record (docs/popec.md).
    """

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

    def open(self, copy_hz: float, wish_hz: float, now_s: float) -> None:
        """Takes up a new copy and the ask that follows from it, to be sent now."""
        self.copy_hz, self.asked_hz = copy_hz, wish_hz
        self.seq += 1
        self.is_open, self.tries = True, 0
        self.first_s = now_s

    def hear(self, share: Share) -> None:
        """Takes in what the peer grants, and of a server how long tasks take there."""
        self.share_was_hz, self.share_hz = self.share_hz, share.rate_hz
        self.alive = True
        if not self.is_cell:
            self.wait_s = share.wait_s
            self.service_s = share.mean_s

    def rescale(self, scale: float, copy_hz: float) -> None:
        """Multiplies the penalty; what was asked in the old scale is forgotten.

        Whoever was given up goes on being asked, in the new scale: else it would never be back.
        """
        self.penalty *= scale
        self.target_hz = copy_hz + (self.target_hz - copy_hz) / scale
        self.seq += 1
        if self.alive:
            self.is_open, self.asked_hz = False, math.inf
        else:
            self.asked_hz = 2.0 * copy_hz - self.target_hz


def mean_hints(cells: Sequence[Edge], servers: Sequence[Edge]) -> Edges | None:
    """Returns the mean of the hints of either side; None where a side gave none."""
    sides = [[e.hint_hz for e in edges if e.hint_hz > 0.0] for edges in (cells, servers)]
    if not all(sides):
        return None
    means = [[sum(hints_hz) / len(hints_hz)] for hints_hz in sides]
    return Edges(*means)
