"""Six rules that a new protocol must beat. Each is one method; read one before you write yours."""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Literal

from msgspec import Struct

from agents.messages import NodeId
from agents.policy import (
    CellPolicy,
    CellView,
    Placement,
    Protocol,
    Reach,
    UserPolicy,
    UserView,
)
from agents.tasks import Task, Uniform
from agents.todg.baselines import LocalDiscipline, LotDiscipline, TurnDiscipline

HEARD = 0.5  # of its last ten beacons or so: below, a base station is taken to be dark


class LocalOnly(UserPolicy):
    """Offloads nothing."""

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        return None


class RandomOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`weights: speed` draws servers in proportion to their speed, `equal` evenly."""

    weights: Literal["speed", "equal"] = "speed"


@lru_cache(maxsize=1024)
def _lottery(
    bs: NodeId, servers: tuple[Reach, ...], weights: str
) -> tuple[tuple[float, ...], tuple[Placement, ...]]:
    """Returns cumulative weights and placements, once for all users of a cell."""
    speeds = (reach.speed if weights == "speed" else 1.0 for reach in servers)
    return tuple(accumulate(speeds)), tuple(Placement(bs, reach.server) for reach in servers)


class Random(UserPolicy):
    """Draws a server of the nearest base station, or of the one that granted a slot."""

    options: RandomOptions

    def __init__(self, view: UserView, uniform: Uniform, options: RandomOptions) -> None:
        super().__init__(view, uniform, options)
        self._lots = {
            cell.bs: _lottery(cell.bs, cell.servers, options.weights) for cell in view.cells
        }

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        cumulative, placements = self._lots[bs or self.view.cells[0].bs]
        return placements[bisect_right(cumulative, self.uniform() * cumulative[-1])]


class RoundRobin(UserPolicy):
    """Takes the servers of that base station in turn, from a random first one."""

    def __init__(self, view: UserView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        self._behind = {cell.bs: cell.servers for cell in view.cells}
        self._turn = int(uniform() * len(view.cells[0].servers))

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        bs = bs or self.view.cells[0].bs
        servers = self._behind[bs]
        self._turn += 1
        return Placement(bs, servers[self._turn % len(servers)].server)


class BestChannel(UserPolicy):
    """Takes the base station it hears best; that one takes its nearest server."""

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        if bs is not None:
            return Placement(bs, None)
        quality = self.view.quality
        best = max(self.view.cells, key=lambda cell: quality[cell.bs].at(now_s))
        return Placement(best.bs, None)


class NearestHeard(UserPolicy):
    """Takes the nearest base station that it hears, so that it fails over while that one is dark.

    Where none is heard it stays with the nearest.
    """

    def place(self, task: Task, now_s: float, bs: NodeId | None = None) -> Placement | None:
        if bs is not None:
            return Placement(bs, None)
        quality, cells = self.view.quality, self.view.cells
        heard = (cell for cell in cells if quality[cell.bs].at(now_s) >= HEARD)
        return Placement(next(heard, cells[0]).bs, None)


class ShortestWait(CellPolicy):
    """Takes the server with the least expected delay: its last report, and what was sent since."""

    view: CellView

    def route(self, task: Task, now_s: float) -> NodeId:
        return min(self.view.servers, key=self.view.expected_delay_s).server


LOCAL_ONLY = Protocol(
    "Every user serves its own tasks.", user=LocalOnly, local=True, discipline=LocalDiscipline
)
RANDOM = Protocol(
    "A random server, in proportion to speed.",
    user=Random,
    options=RandomOptions,
    discipline=LotDiscipline,
)
ROUND_ROBIN = Protocol("Every server in turn.", user=RoundRobin, discipline=TurnDiscipline)
NEAREST = Protocol("The nearest base station and its nearest server.")
BEST_CHANNEL = Protocol("The base station heard best.", user=BestChannel, beacons=True)
SHORTEST_WAIT = Protocol(
    "The nearest base station that is heard; there the server with the least expected delay.",
    user=NearestHeard,
    cell=ShortestWait,
    beacons=True,
    reports=True,
)
