"""Six rules that a new protocol must beat. Each is one method; read one before you write yours."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal

from msgspec import Struct

from agents.bodies import NodeId
from agents.policy import (
    Cell,
    CellPolicy,
    CellView,
    Placement,
    Protocol,
    Reach,
    UserPolicy,
    UserView,
)
from agents.protocols.delay_baselines import LocalDiscipline, LotDiscipline, TurnDiscipline
from agents.tasks import Task, Uniform

HEARD = 0.5  # of its last ten beacons or so: below, a base station is taken to be dark


class LocalOnly(UserPolicy):
    """Offloads nothing."""

    def place(self, task: Task, now_s: float) -> Placement | None:
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
    """Draws a server of the nearest base station."""

    options: RandomOptions

    def __init__(self, view: UserView, uniform: Uniform, options: RandomOptions) -> None:
        super().__init__(view, uniform, options)
        self.hand_over(view.cells)

    def hand_over(self, cells: Sequence[Cell]) -> None:
        super().hand_over(cells)
        bs, servers, weights = cells[0].bs, cells[0].servers, self.options.weights
        self._cumulative, self._placements = _lottery(bs, servers, weights)

    def place(self, task: Task, now_s: float) -> Placement | None:
        drawn = self.uniform() * self._cumulative[-1]
        return self._placements[bisect_right(self._cumulative, drawn)]


class RoundRobin(UserPolicy):
    """Takes the servers of the nearest base station in turn, from a random first one."""

    def __init__(self, view: UserView, uniform: Uniform, options: Struct) -> None:
        super().__init__(view, uniform, options)
        self._turn = int(uniform() * len(view.cells[0].servers))

    def place(self, task: Task, now_s: float) -> Placement | None:
        cell = self.view.cells[0]
        self._turn = (self._turn + 1) % len(cell.servers)
        return Placement(cell.bs, cell.servers[self._turn].server)


class BestChannel(UserPolicy):
    """Takes the base station it hears best; that one takes its nearest server."""

    def place(self, task: Task, now_s: float) -> Placement | None:
        quality = self.view.quality
        best = max(self.view.cells, key=lambda cell: quality[cell.bs].at(now_s))
        return Placement(best.bs, None)


class NearestHeard(UserPolicy):
    """Takes the nearest base station that it hears, so that it fails over while that one is dark.

    Where none is heard it stays with the nearest.
    """

    def place(self, task: Task, now_s: float) -> Placement | None:
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
