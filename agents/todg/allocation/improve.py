"""Phase 2 of the channel allocation: a leader re-optimises a region, release before acquire.

A round has three steps. Members and ring push their `State` to the leader; the leader solves its
region (`search.py`) and, only if that is strictly better, sends `Propose` with the users
that are to fall silent; a member obeys at once and answers `Released`; the leader then sends
`Commit` with those users whose rivals have all confirmed. A lost message only loses throughput:
two winners never conflict. Source: ours (docs/todg.md, The knob). The member's part is in
`allocator.py`. What depends on a cell's own releases alone is acquired
in the Propose itself: a swap inside one cell costs one message and can be lost only as a whole.

Where a State is missing the region does not shrink: only what might conflict with the silent base
station is frozen, which keeps more and is as safe. Users keep what they hold in any case: that is
known not to conflict.
"""

import numpy as np
from numpy.typing import NDArray

from agents.messages.slots import Commit, Propose, Released, State
from agents.todg.allocation.channel_plan import Region
from agents.todg.allocation.region import Cells, Floats
from agents.todg.allocation.search import Solution, solve

GAP_OPEN = 4e-3  # of a region with a ring: later rounds move the ring by more than that
GAP_WHOLE = 0.0  # of a whole component: nobody mends it later, so it is solved to the end
GAIN_MIN = 1e-9  # relative; less is the rounding of a sum and not worth a message
WORK_MAX = 1e7  # table entries per solve. Nine cells at two hops meet it; with caps of 4e6 and
# 4e7 they keep 0.998 and 0.9999 of the optimum, in 34 and 312 ms at worst (benchmarks/todg.py, M)
WIDTH_MAX = 10  # cells in one table; a denser region loses its farthest members to the ring
PREPARED_MAX = 8  # structures kept per leader; without loss it needs one per epoch

Prepared = dict[tuple[tuple[int, tuple[int, ...]], ...], Cells]
"""The structures a leader has met, by (home, heard) of their users."""


class Leader:
    """One round of one leader. `hear` its states, `propose`, `hear` releases, `commit`."""

    def __init__(self, region: Region, slot: int, epoch: int, number: int, channels: int) -> None:
        self._region = region
        self._stamp = (slot, epoch, number)
        self._channels = channels
        self._states: dict[int, State] = {}
        self._members: list[int] = []
        self._waiting: dict[int, frozenset[int]] = {}  # row -> whose releases it waits for
        self._released: set[int] = set()
        self.solution: Solution | None = None  # kept for measurements and for its prices

    def hear(self, source: int, body: State | Released) -> None:
        if source not in self._region.hops or (body.slot, body.epoch, body.number) != self._stamp:
            return
        match body:
            case State():
                self._states[source] = body
            case Released():
                self._released.add(source)

    def propose(self, prepared: Prepared) -> dict[int, Propose]:
        """Solves the region; returns who is to release what. Empty if nothing is gained."""
        cells = self._gather(prepared)
        if cells is None:
            return {}
        states = [self._states[bs] for bs in self._members]
        self._before = np.array([k for state in states for k in state.channel], dtype=np.intp)
        weights = self._allowed()
        self.solution = solve(
            cells,
            weights,
            self._before,
            _floats(b"".join(state.prices for state in states)),
            gap=GAP_WHOLE if self._region.is_whole else GAP_OPEN,
            evaluations_max=max(1, int(WORK_MAX / (cells.size * self._channels))),
        )
        held = self._before >= 0
        stands = float(weights[held, self._before[held]].sum())
        if self.solution.weight <= stands * (1.0 + GAIN_MIN):
            return {}
        after = self.solution.channel
        leaving = np.flatnonzero(held & (self._before != after)).tolist()
        arriving = np.flatnonzero((after >= 0) & (self._before != after)).tolist()
        self._waiting = {row: self._awaited(row, leaving) for row in arriving}
        awaited = frozenset[int]().union(*self._waiting.values())
        return {bs: body for bs in self._members if (body := self._proposal(bs, leaving, awaited))}

    def commit(self) -> dict[int, Commit]:
        """Returns who may take what: only users none of whose rivals may still be transmitting."""
        granted: dict[int, list[tuple[int, int]]] = {}
        for row, awaited in self._waiting.items():
            if awaited and awaited <= self._released:
                granted.setdefault(self._names[row][0], []).append(self._acquired(row))
        return {bs: Commit(*self._stamp, tuple(users)) for bs, users in granted.items()}

    def _awaited(self, row: int, leaving: list[int]) -> frozenset[int]:
        """Names the cells that have to silence a user before `row` may transmit.

        Empty if that is its own cell alone, which will do both at once. But if it waits for
        others too, its Commit will not say what to silence, and its own cell has to confirm too.
        """
        home, channel = self._names[row][0], self._after(row)
        cells = frozenset(
            away
            for other in leaving
            if self._before[other] == channel
            and (
                (away := self._names[other][0]) == home
                or away in self._ears(row)
                or home in self._ears(other)
            )
        )
        return frozenset() if cells <= {home} else cells

    def _proposal(self, bs: int, leaving: list[int], awaited: frozenset[int]) -> Propose | None:
        """Returns what to ask of a cell, None for nothing."""
        first, last = self._rows[bs]
        release = tuple(self._names[row][1] for row in leaving if first <= row < last)
        acquire = tuple(
            self._acquired(row)
            for row, cells in self._waiting.items()
            if first <= row < last and not cells
        )
        if not release and not acquire:
            return None
        return Propose(*self._stamp, release, acquire, bs in awaited, self._prices(bs))

    def _acquired(self, row: int) -> tuple[int, int]:
        return self._names[row][1], self._after(row)

    def _after(self, row: int) -> int:
        assert self.solution is not None, "asked only once there is something to propose"
        return int(self.solution.channel[row])

    def own_prices(self) -> bytes:
        """Returns the prices of the leader's own users, b"" before it has solved."""
        if self.solution is None:
            return b""
        return self._prices(self._region.leader)

    def _prices(self, bs: int) -> bytes:
        assert self.solution is not None, "asked only once it is solved"
        return self.solution.prices[slice(*self._rows[bs])].astype("<f4").tobytes()

    def _gather(self, prepared: Prepared) -> Cells | None:
        """Chooses the members and lays out the rows; None if there is nothing to schedule."""
        self._members = [bs for bs in self._region.members if bs in self._states]
        while True:
            inside = frozenset(self._members)
            kinds = tuple(
                (bs, tuple(ear for ear in heard if ear in inside))
                for bs in self._members
                for heard in self._states[bs].heard
            )
            if not kinds:
                return None
            cells = prepared.get(kinds)
            if cells is None:
                cells = Cells([bs for bs, _ in kinds], [frozenset(ears) for _, ears in kinds])
                if len(prepared) >= PREPARED_MAX:
                    prepared.clear()
                prepared[kinds] = cells
            if cells.width <= WIDTH_MAX:
                break
            self._members.pop()  # the farthest; it counts as ring from now on
        self._rows: dict[int, tuple[int, int]] = {}
        self._names: list[tuple[int, int]] = []
        for bs in self._members:
            first = len(self._names)
            self._names += [(bs, user) for user in self._states[bs].users]
            self._rows[bs] = (first, len(self._names))
        return cells

    def _allowed(self) -> Floats:
        """Returns the weights (row, channel) of what may be scheduled, 0 elsewhere."""
        states = [self._states[bs] for bs in self._members]
        weights = _floats(b"".join(state.weights for state in states))
        weights = weights.reshape(-1, self._channels)
        kept = weights[self._before >= 0, self._before[self._before >= 0]]
        known = self._states.keys()
        busy = dict.fromkeys(known, 0)  # bitmap of channels served there, by the fixed ring
        loud = dict.fromkeys(known, 0)  # bitmap of channels on which the fixed ring is heard
        for bs in known - set(self._members):
            state = self._states[bs]
            for ears, channel in zip(state.heard, state.channel, strict=True):
                if channel >= 0:
                    busy[bs] |= 1 << channel
                    for ear in ears:
                        if ear in loud:
                            loud[ear] |= 1 << channel
        every = (1 << self._channels) - 1
        row = 0
        for bs, state in zip(self._members, states, strict=True):
            frozen = any(other not in known for other in state.hears)
            for ears in state.heard:
                closed = every if frozen else loud[bs]
                for ear in ears:
                    closed |= busy.get(ear, every)
                if closed:
                    weights[row, _flags(closed, self._channels)] = 0.0
                row += 1
        weights[self._before >= 0, self._before[self._before >= 0]] = kept
        return weights

    def _ears(self, row: int) -> tuple[int, ...]:
        bs, _ = self._names[row]
        return self._states[bs].heard[row - self._rows[bs][0]]


def _floats(raw: bytes) -> Floats:
    return np.frombuffer(raw, dtype="<f4").astype(np.float64)


def _flags(bitmap: int, channels: int) -> NDArray[np.intp]:
    return np.array([k for k in range(channels) if bitmap >> k & 1], dtype=np.intp)
