"""Phase 1 of the channel allocation: the greedy schedule, found by neighbours in mini-rounds.

An undecided vertex wins once every heavier vertex that conflicts with it has lost, and loses once
one that conflicts has won; ties go to the lower number. Repeated to the end that is the central
greedy schedule, whatever the order of messages. Cut short, what is undecided has lost. The
guarantees: docs/todg.md, The knob.

A neighbour sends, instead of every boundary vertex, the heaviest undecided one of each channel and
where it has won: on one channel its winner, if it has one, has beaten all its other vertices, so
nothing else can change the receiver's decision. The size of a message does not depend on the
number of users. Silence means no: who conflicts with an unheard neighbour cannot win.

Users that the same neighbours hear are a group: what comes from neighbours is worked out for a
group at a time, in few operations on whole arrays, for with 28 users and 64 channels the number of
operations is what costs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.messages.slots import Table
from agents.todg.allocation.conflict_graph import Neighbourhood

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
    """One base station's part. `hear` what arrives, `settle`, send a `table` to each neighbour.

    Many attributes: arrays made once, because a slot has 27 ms for a thousand users.
    """

    def __init__(self, neighbourhood: Neighbourhood) -> None:
        self.neighbourhood = neighbourhood
        self._users = np.array(neighbourhood.users, dtype=np.uint64)
        rows, channels = len(neighbourhood.users), neighbourhood.channels
        self._first = np.arange(rows) * channels  # vertex of each row, in a line
        rivals = neighbourhood.neighbours.keys()
        self._ears = [tuple(sorted(heard & rivals)) for heard in neighbourhood.heard]
        position = {bs: n for n, bs in enumerate(neighbourhood.neighbours)}
        groups = sorted(set(self._ears))
        self._group = np.array([groups.index(heard) for heard in self._ears], dtype=np.intp)
        self._ears_of_group = _padded(
            [[position[bs] for bs in heard] for heard in groups], padding=len(position)
        )
        mine = [at.mine for at in neighbourhood.neighbours.values()]
        self._rows_of_ear = _padded(mine, padding=rows)
        self._bytes, self._width = 8 * channels, (channels + 7) // 8  # keys, bitmap
        self._nothing = bytes(self._bytes)
        blocked = BLOCKED.tobytes() * channels
        self._silence = {  # of those not heard from: they may hold anything
            bs: Table(0, 0, -1, channels, blocked, blocked if at.theirs else b"", 0, 0)
            for bs, at in neighbourhood.neighbours.items()
        }
        self.begin(0, 0, np.zeros((rows, channels), dtype=np.float32))

    def begin(self, slot: int, epoch: int, weights: NDArray[np.float32]) -> None:
        """Starts a slot. `weights` (row, channel) in the order of `neighbourhood.users`."""
        self._slot, self._epoch = slot, epoch
        self._padded = np.zeros((len(weights) + 1, self.neighbourhood.channels), dtype=np.uint64)
        self._live = self._padded[:-1]  # keys of undecided vertices, else 0
        self._live[:] = keys(weights, self._users)
        self._channel = np.full(len(weights), -1, dtype=np.intp)  # won by each row
        self._won = 0  # bitmap of channels
        self._won_heard = dict.fromkeys(self._silence, 0)  # of those whose winner is heard there
        self._heard = dict(self._silence)  # in the order of `neighbourhood.neighbours`
        self._has_news = True
        self._is_done = False  # nothing is undecided

    def hear(self, source: int, table: Table) -> None:
        """Takes a table in; one of another slot, epoch or an earlier round says nothing new."""
        newest = self._heard.get(source)
        if newest is None or (table.slot, table.epoch) != (self._slot, self._epoch):
            return
        if newest.number < table.number:
            self._heard[source] = table
            self._has_news = True

    def settle(self) -> None:
        """Decides what can be decided now. One pass over what is known is enough."""
        if self._is_done or not self._has_news:
            return
        self._has_news = False
        tables = list(self._heard.values())
        self._lose(tables)
        rivals = self._rivals(tables)
        live = self._live
        while True:
            best = live.argmax(axis=1)  # what is not its user's best has to wait
            vertex = self._first + best
            key = live.take(vertex)
            wins = (key > rivals.take(vertex)) & (key == live.max(axis=0, initial=0).take(best))
            rows = np.flatnonzero(wins)
            if not len(rows):
                self._is_done = not key.any()
                return
            self._win(rows, best[rows])

    def _win(self, rows: NDArray[np.intp], channels: NDArray[np.intp]) -> None:
        self._channel[rows] = channels
        self._live[rows] = 0
        self._live[:, channels] = 0
        for row, channel in zip(rows.tolist(), channels.tolist(), strict=True):
            self._won |= 1 << channel
            for bs in self._ears[row]:
                self._won_heard[bs] |= 1 << channel

    def _lose(self, tables: list[Table]) -> None:
        """Gives up what conflicts with the neighbours' winners."""
        everywhere = 0
        for table in tables:
            everywhere |= table.won_heard
        bitmaps = [table.won | everywhere for table in tables] + [everywhere]
        if any(bitmaps):
            raw = b"".join([bitmap.to_bytes(self._width, "little") for bitmap in bitmaps])
            packed = np.frombuffer(raw, dtype=np.uint8).reshape(-1, self._width)
            lost = np.bitwise_or.reduce(packed.take(self._ears_of_group, axis=0), axis=0)
            bits = np.unpackbits(lost, axis=1, count=self.neighbourhood.channels, bitorder="little")
            gone: NDArray[np.bool_] = bits.view(np.bool_)
            np.putmask(self._live, gone.take(self._group, axis=0), 0)

    def _rivals(self, tables: list[Table]) -> Keys:
        """Returns the heaviest conflicting undecided key of others (row, channel)."""
        top = self._keys([table.top for table in tables])
        by_group = top.take(self._ears_of_group, axis=0).max(axis=0)
        if any(table.top_heard for table in tables):
            everywhere = self._keys([table.top_heard for table in tables])
            np.maximum(by_group, everywhere.max(axis=0), out=by_group)
        rivals: Keys = by_group.take(self._group, axis=0)
        return rivals

    def _keys(self, raw: list[bytes]) -> Keys:
        """Returns what was sent (neighbour, channel), and a last row of no vertices."""
        joined = b"".join([each or self._nothing for each in raw] + [self._nothing])
        return np.frombuffer(joined, dtype="<u8").reshape(-1, self.neighbourhood.channels)

    def tables(self, number: int) -> dict[int, Table]:
        """Returns what to tell neighbours in mini-round `number`.

        A neighbour that has said it has nothing left to decide against us needs no more tables.
        """
        top, heard = b"", [b""] * len(self._heard)
        if not self._is_done:
            top = self._live.max(axis=0, initial=0).tobytes()
            most = self._padded.take(self._rows_of_ear, axis=0).max(axis=0)
            raw, size = most.tobytes(), self._bytes
            is_any = (most.max(axis=1, initial=0) > 0).tolist()
            heard = [raw[n * size : (n + 1) * size] * has for n, has in enumerate(is_any)]
        said: dict[int, Table] = {}
        for top_heard, (bs, at) in zip(heard, self.neighbourhood.neighbours.items(), strict=True):
            if self._heard[bs].is_last_word:
                continue
            said[bs] = Table(
                slot=self._slot,
                epoch=self._epoch,
                number=number,
                channels=self.neighbourhood.channels,
                top=top if at.theirs else b"",
                top_heard=top_heard,
                won=self._won if at.theirs else 0,
                won_heard=self._won_heard[bs],
            )
        return said

    def schedule(self) -> NDArray[np.intp]:
        """Returns the channel won by each row, -1 for none; undecided vertices have lost."""
        return self._channel.copy()


def _padded(lists: Sequence[Sequence[int]], padding: int) -> NDArray[np.intp]:
    """Returns the lists as columns of one length, at least 1; `padding` fills the rest."""
    longest = max(map(len, lists), default=0)
    columns = np.full((max(longest, 1), len(lists)), padding, dtype=np.intp)
    for n, rows in enumerate(lists):
        columns[: len(rows), n] = rows
    return columns
