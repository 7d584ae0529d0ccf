"""Phase 1 of the channel allocation: the greedy schedule, found by neighbours in mini-rounds.

An undecided vertex wins once every heavier vertex that conflicts with it has lost, and loses once
one that conflicts has won; ties go to the lower number. Repeated to the end that is the central
greedy schedule, whatever the order of messages. Cut short, what is undecided has lost. Source:
specification section 4, phase 1; guarantees (i) to (iii) there.

A neighbour sends, instead of every boundary vertex, the heaviest undecided one of each channel and
where it has won: on one channel its winner, if it has one, has beaten all its other vertices, so
nothing else can change the receiver's decision. The size of a message does not depend on the
number of users. Silence means no: who conflicts with an unheard neighbour cannot win.
"""

import numpy as np
from numpy.typing import NDArray

from agents.scheduled.conflict import Hood
from agents.slot_bodies import Table

Keys = NDArray[np.uint64]
"""Vertices in order of decision: a larger key is heavier, or as heavy with a lower number.

The high half are the bits of the weight as float32, which rise with the weight; the low half is
2^32 - 1 - vertex. 0 means no vertex.
"""

BLOCKED = np.uint64(2**64 - 1)  # no key is larger: nothing wins against it
LOWEST = np.uint64(2**32 - 1)


def keys(weights: NDArray[np.float32], users: NDArray[np.uint64]) -> Keys:
    """Returns the keys of vertices (user, channel) from their weights; weight <= 0 has none."""
    channels = weights.shape[1]
    vertex = users[:, None] * np.uint64(channels) + np.arange(channels, dtype=np.uint64)
    found: Keys = np.maximum(weights, np.float32(0.0)).view(np.uint32).astype(np.uint64)
    found <<= np.uint64(32)
    found |= LOWEST - vertex.astype(np.uint64)
    found[weights <= 0.0] = 0
    return found


class Greedy:
    """One base station's part. `hear` what arrives, `settle`, send a `table` to each neighbour."""

    def __init__(self, hood: Hood) -> None:
        self.hood = hood
        self._users = np.array(hood.users, dtype=np.uint64)
        self._mine = {bs: np.array(at.mine, np.intp) for bs, at in hood.neighbours.items()}
        self._is_mine = {bs: np.zeros(len(hood.users) + 1, np.bool_) for bs in self._mine}
        for bs, rows in self._mine.items():
            self._is_mine[bs][rows] = True  # the last entry answers for row -1: no
        self.begin(0, 0, np.zeros((len(hood.users), hood.channels), dtype=np.float32))

    def begin(self, slot: int, epoch: int, weights: NDArray[np.float32]) -> None:
        """Starts a slot. `weights` (row, channel) in the order of `hood.users`."""
        self._slot, self._epoch = slot, epoch
        self._live = keys(weights, self._users)  # of undecided vertices, else 0
        self._holder = np.full(self.hood.channels, -1, dtype=np.intp)  # row that won the channel
        self._heard: dict[int, Table] = {}
        self._fresh: set[int] = set()  # whose table has come since the last `settle`

    def hear(self, source: int, table: Table) -> None:
        """Takes a table in; one of another slot, epoch or an earlier round says nothing new."""
        newest = self._heard.get(source)
        if (table.slot, table.epoch) != (self._slot, self._epoch) or source not in self._mine:
            return
        if newest is None or newest.number < table.number:
            self._heard[source] = table
            self._fresh.add(source)

    def settle(self) -> None:
        """Decides what can be decided now. One pass over what is known is enough."""
        if not self._live.any():
            return
        rivals = self._rivals()
        live = self._live
        while True:
            best = (live == live.max(axis=1, keepdims=True)) & (live == live.max(axis=0))
            rows, channels = np.nonzero(best & (live > rivals))
            if not len(rows):
                return
            self._holder[channels] = rows
            live[rows] = 0
            live[:, channels] = 0

    def _rivals(self) -> Keys:
        """Returns the heaviest conflicting undecided key of others (row, channel).

        Gives up, on the way, what conflicts with a winner heard of since the last time.
        """
        rivals = np.zeros_like(self._live)
        for bs, at in self.hood.neighbours.items():
            table = self._heard.get(bs)
            mine = self._mine[bs]
            if table is None:
                rivals[slice(None) if at.theirs else mine] = BLOCKED
                continue
            if bs in self._fresh:
                self._lose_to(table, mine)
            if table.top_heard:
                np.maximum(rivals, np.frombuffer(table.top_heard, dtype="<u8"), out=rivals)
            if table.top and len(mine):
                rivals[mine] = np.maximum(rivals[mine], np.frombuffer(table.top, dtype="<u8"))
        self._fresh.clear()
        return rivals

    def _lose_to(self, table: Table, mine: NDArray[np.intp]) -> None:
        """Gives up what conflicts with a neighbour's winners; `mine` are the rows it hears."""
        if table.won_heard:
            self._live[:, _channels(table.won_heard)] = 0
        if table.won and len(mine):
            self._live[mine[:, None], _channels(table.won)] = 0

    def tables(self, number: int) -> dict[int, Table]:
        """Returns what to tell neighbours in mini-round `number`.

        A neighbour that has said it has nothing left to decide against us needs no more tables.
        """
        live = self._live
        top = live.max(axis=0, initial=0)
        all_top = top.tobytes() if top.any() else b""
        won = _bitmap(self._holder >= 0)
        said: dict[int, Table] = {}
        for bs, at in self.hood.neighbours.items():
            newest = self._heard.get(bs)
            if newest is not None and newest.is_last_word:
                continue
            mine = self._mine[bs]
            top_heard, won_heard = b"", 0
            if len(mine):
                heard = live[mine].max(axis=0)
                top_heard = heard.tobytes() if heard.any() else b""
                won_heard = _bitmap(self._is_mine[bs][self._holder])
            said[bs] = Table(
                slot=self._slot,
                epoch=self._epoch,
                number=number,
                channels=self.hood.channels,
                top=all_top if at.theirs else b"",
                top_heard=top_heard,
                won=won if at.theirs else 0,
                won_heard=won_heard,
            )
        return said

    @property
    def undecided(self) -> int:
        """Counts the vertices that have neither won nor lost."""
        return int(np.count_nonzero(self._live))

    def schedule(self) -> NDArray[np.intp]:
        """Returns the channel won by each row, -1 for none; undecided vertices have lost."""
        channel = np.full(len(self.hood.users), -1, dtype=np.intp)
        won = np.flatnonzero(self._holder >= 0)
        channel[self._holder[won]] = won
        return channel


def _bitmap(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _channels(bitmap: int) -> NDArray[np.intp]:
    """Returns the channels named by a bitmap, in rising order."""
    raw = np.frombuffer(bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "little"), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(raw, bitorder="little"))
