"""The distributed channel allocation: one base station's part in one slot, with its `effort`.

A maximum-weight independent set of the conflict graph, approached by messages: `greedy.py`
decides in mini-rounds between neighbours, `improve.py` re-optimises regions. Source:
docs/todg.md, The knob. Whoever runs it calls `begin`, then `step` 0 .. steps - 1 at a public pace
(one step = time enough for a message to its farthest reader), hands over what arrives by `hear`,
and takes the schedule by `finish`, which may come early: at any instant, whatever was lost, late
or doubled, the winners known to all base stations together are independent.

With no loss the weight is 1 / (2 + most neighbours) of the optimum or more, if the mini-rounds
decided every vertex, and the optimum where leaders see all. With loss only independence holds.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from networkx import Graph
from numpy.typing import NDArray

from agents.messages.slots import AllocationBody, Commit, Propose, Released, State, Table
from agents.todg.allocation.channel_plan import Plan, plan_rounds
from agents.todg.allocation.conflict_graph import ConflictGraph, Neighbourhood
from agents.todg.allocation.greedy import Greedy
from agents.todg.allocation.improve import Leader, Prepared

STEPS_PER_ROUND = 3  # of the re-optimisation: State, Propose (answered at once), Commit


class Effort(Struct, frozen=True):
    """One level of the knob: greedy mini-rounds, and hops of a region (None: no second phase)."""

    greedy_rounds: int
    reach: int | None = None


EFFORTS = (
    Effort(1),
    Effort(2),
    Effort(6),  # the whole greedy schedule, but for chains longer than any measured
    Effort(4, 0),  # from here the second phase mends what two more rounds would
    Effort(4, 1),
    Effort(4, 2),
)
GREEDY_IF_WHOLE = 1  # mini-rounds where leaders see all: a schedule to fall back on. Each of the
# three others was 1 ms of the 35 that are left to send; one is best at 20 % loss of messages, too
VERTICES_MAX = 200  # (user, channel) pairs that a leader solves unasked: a few milliseconds


def effort_default(graph: ConflictGraph) -> int:
    """Returns the level for a network: the least whose leaders see all that matters, else 2.

    Leaders with a ring take many turns, each of them `STEPS_PER_ROUND` steps in which nobody may
    send: at 50 ms a slot nine cells lose more air to level 4 than it makes better use of.
    """
    for level, effort in enumerate(EFFORTS):
        plan = plan_for(effort, graph.stations)
        if plan.is_whole and _vertices_max(plan, graph) <= VERTICES_MAX:
            return level
    return 2


def _vertices_max(plan: Plan, graph: ConflictGraph) -> int:
    regions = [region.members for part in plan.rounds for region in part]
    return graph.channels * max(sum(len(graph.cell(bs)) for bs in inside) for inside in regions)


def plan_for(effort: Effort, stations: "Graph[int]") -> Plan:
    """Returns the rounds of the second phase; computed once per epoch, the same everywhere."""
    return Plan() if effort.reach is None else plan_rounds(stations, effort.reach)


def greedy_rounds(effort: Effort, plan: Plan) -> int:
    """Returns the mini-rounds of the first phase; fewer where the second starts from nothing."""
    return GREEDY_IF_WHOLE if plan.is_whole else effort.greedy_rounds


def steps(effort: Effort, plan: Plan) -> int:
    """Returns how many mini-rounds pass in a slot before channels are granted."""
    return greedy_rounds(effort, plan) + STEPS_PER_ROUND * len(plan.rounds)


Letters = list[tuple[int, AllocationBody]]
"""(base station, body), in the order of sending"""


class Allocator:
    """A sans-IO state machine: nothing here knows the time, and nothing is sent but letters.

    Many attributes: the state of both phases of one slot.
    """

    def __init__(self, neighbourhood: Neighbourhood, effort: Effort, plan: Plan) -> None:
        self.neighbourhood = neighbourhood
        self.greedy_rounds = greedy_rounds(effort, plan)
        self.steps = steps(effort, plan)
        self.leader: Leader | None = None  # of the round now on, if this base station leads
        self._greedy = Greedy(neighbourhood)
        self._leads = {
            n: r for n, part in enumerate(plan.rounds) for r in part if r.leader == neighbourhood.bs
        }
        self._tells = [[r for r in part if neighbourhood.bs in r.hops] for part in plan.rounds]
        self._row = {user: row for row, user in enumerate(neighbourhood.users)}
        self._prepared: Prepared = {}
        nothing = np.zeros((len(self._row), neighbourhood.channels), dtype=np.float32)
        self.begin(0, 0, nothing)

    def begin(self, slot: int, epoch: int, weights: NDArray[np.float32]) -> None:
        """Starts a slot; `weights` (row, channel), rows as `neighbourhood.users`; <= 0: none."""
        self._slot, self._epoch = slot, epoch
        self._weights = weights
        self._greedy.begin(slot, epoch, weights)
        self._prices = np.zeros(len(weights), dtype="<f4").tobytes()
        self._channel: NDArray[np.intp] | None = None  # None during the first phase
        self._round_told = -1  # the last round of the second phase this cell was reported for
        self._is_open = True
        self.leader = None

    def step(self, number: int) -> Letters:
        """Does what is due at a step of the slot; returns what is to be sent."""
        if number < self.greedy_rounds:
            self._greedy.settle()
            return list(self._greedy.tables(number).items())
        if self._channel is None:
            self._greedy.settle()
            self._channel = self._greedy.schedule()
        round_, phase = divmod(number - self.greedy_rounds, STEPS_PER_ROUND)
        if phase == 0:
            return self._report(round_)
        if self.leader is None:
            return []
        copies = self._leads[round_].copies
        if phase == 1:
            proposed = self.leader.propose(self._prepared)
            self._prices = self.leader.own_prices() or self._prices
            return self._deliver(proposed, copies)
        return self._deliver(self.leader.commit(), copies)

    def hear(self, source: int, body: AllocationBody) -> Letters:
        """Takes a message in; returns the answer to it, if any."""
        if not self._is_open or (body.slot, body.epoch) != (self._slot, self._epoch):
            return []
        match body:
            case Table():
                if self._channel is None:
                    self._greedy.hear(source, body)
            case State() | Released():
                if self.leader is not None:
                    self.leader.hear(source, body)
            case Propose() | Commit() if self._channel is None or body.number < self._round_told:
                pass  # the State sent since then says otherwise, and others build on it
            case Propose():
                self._release(body)
                if body.must_answer:
                    return [(source, Released(body.slot, body.epoch, body.number))]
            case Commit():
                self._acquire(body)
        return []

    def schedule(self) -> dict[int, int]:
        """Returns the winners of this cell as they stand, user -> channel."""
        channel = self._greedy.schedule() if self._channel is None else self._channel
        users = self.neighbourhood.users
        return {users[row]: int(channel[row]) for row in np.flatnonzero(channel >= 0)}

    def finish(self) -> dict[int, int]:
        """Ends the slot, closed to messages from now on; returns the winners, user -> channel."""
        if self._channel is None:
            self._greedy.settle()
        self._is_open = False
        return self.schedule()

    def _report(self, number: int) -> Letters:
        """Pushes this cell's state to the leaders of a round that need it."""
        self.leader = None
        letters: Letters = []
        for region in self._tells[number]:
            self._round_told = number
            body = self._state(number, is_member=region.hops[self.neighbourhood.bs] <= region.reach)
            if region.leader == self.neighbourhood.bs:
                self.leader = Leader(
                    region, self._slot, self._epoch, number, self.neighbourhood.channels
                )
                self.leader.hear(self.neighbourhood.bs, body)
            else:
                letters += [(region.leader, body)] * region.copies
        return letters

    def _state(self, number: int, is_member: bool) -> State:
        channel = self._held.tolist()
        rows = [row for row, k in enumerate(channel) if is_member or k >= 0]
        rivals = self.neighbourhood.neighbours.keys()  # who has no users may hear, but has no say
        return State(
            slot=self._slot,
            epoch=self._epoch,
            number=number,
            users=tuple(self.neighbourhood.users[row] for row in rows),
            heard=tuple(tuple(sorted(self.neighbourhood.heard[row] & rivals)) for row in rows),
            hears=tuple(bs for bs, at in self.neighbourhood.neighbours.items() if at.theirs),
            channel=tuple(channel[row] for row in rows),
            prices=self._prices if is_member else b"",
            weights=self._weights.astype("<f4").tobytes() if is_member else b"",
        )

    def _deliver(self, said: Mapping[int, Propose] | Mapping[int, Commit], copies: int) -> Letters:
        """Obeys what the leader here says to its own cell; returns the rest as letters."""
        letters: Letters = []
        for bs, body in said.items():
            if bs != self.neighbourhood.bs:
                letters += [(bs, body)] * copies
                continue
            for _, answer in self.hear(bs, body):
                self.hear(bs, answer)
        return letters

    @property
    def _held(self) -> NDArray[np.intp]:
        assert self._channel is not None, "the second phase has begun"
        return self._channel

    def _release(self, body: Propose) -> None:
        if len(body.prices) == len(self._prices):
            self._prices = body.prices
        for user in body.release:
            if user in self._row:
                self._held[self._row[user]] = -1
        self._acquire(body)

    def _acquire(self, body: Propose | Commit) -> None:
        for user, channel in body.acquire:
            if user in self._row:
                self._held[self._row[user]] = channel
