"""The best users of each channel in a small region of cells, once users have prices.

`search.py` moves the prices; this file answers one question of it, for all channels at
once: which independent users have the largest sum of (weight - price)? Source: ours.

One cell serves at most one user of a channel, and a served user excludes just the cells that
hear it. So the maximum runs over the sets of active cells, not over the sets of users: dynamic
programming over a tree decomposition of the cells, in numpy with the channels as last axis. The
cost of a question grows as two to the tree-width (`Cells.width`), which the caller has to limit.
"""

from collections.abc import Sequence
from itertools import pairwise

import networkx as nx
import numpy as np
from networkx.algorithms.approximation import treewidth_min_degree
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

BAG_CELLS = 7  # bags are merged up to this size: 128 rows cost hardly more than the numpy call


class _Bag:
    """Some cells whose activity is enumerated together: in pattern p cell n is active if bit n is.

    The cells shared with the parent are the least significant bits, so that the maximum over the
    others is one reshape and a reduction over the leading axis, the one that numpy does fastest.
    """

    def __init__(self, shared: list[int], others: list[int], parent: int) -> None:
        self.cells = shared + others
        self.parent = parent
        self.rest = 1 << len(others)
        self.shared = 1 << len(shared)
        self.patterns = np.arange(1 << len(self.cells))
        self.from_parent: Ints = np.zeros(0, dtype=np.intp)  # the parent's pattern -> shared bits

    def bits(self, cells: Sequence[int]) -> Ints:
        """Returns for each pattern the number whose bits are the activity of `cells`."""
        found = np.zeros_like(self.patterns)
        for n, cell in enumerate(cells):
            found |= ((self.patterns >> self.cells.index(cell)) & 1) << n
        return found

    def seat(self, seats: dict[int, list[tuple[int, tuple[int, ...]]]], padding: int) -> None:
        """Gives some cells to this bag: home -> the (row, heard) of its groups.

        Fills `rows` (group, cell), where `padding` names the row of zeros, and `fits` (group,
        cell, pattern, 1): 1.0 where the cell is active and no cell that hears the group is.
        """
        widest = max(map(len, seats.values()), default=0)
        self.seats = np.arange(len(seats))[:, None]
        self.rows = np.full((widest, len(seats)), padding, dtype=np.intp)
        self.fits = np.zeros((widest, len(seats), len(self.patterns), 1))
        for c, (home, groups) in enumerate(seats.items()):
            for g, (row, ears) in enumerate(groups):
                self.rows[g, c] = row
                self.fits[g, c, :, 0] = (self.bits([home]) == 1) & (self.bits(ears) == 0)


class Cells:
    """The structure of a region, prepared once per membership: who excludes whom.

    `cell[i]` is the cell of user i, `heard[i]` the other cells that hear it; cells outside the
    region must have been left out. Users with equal (cell, heard) are twins: only the best of
    them can matter on a channel.
    """

    def __init__(self, cell: Sequence[int], heard: Sequence[frozenset[int]]) -> None:
        kinds = [(home, tuple(sorted(ears))) for home, ears in zip(cell, heard, strict=True)]
        self.order = np.array(sorted(range(len(kinds)), key=lambda i: (kinds[i], i)), dtype=np.intp)
        groups = sorted(set(kinds))
        row = {kind: number for number, kind in enumerate(groups)}
        self.group = np.array([row[kinds[i]] for i in self.order], dtype=np.intp)
        self.starts = np.searchsorted(self.group, np.arange(len(groups)))
        self.users = len(kinds)
        self.bags = _bags(groups)
        self.width = max((len(bag.cells) for bag in self.bags), default=0)
        self.size = sum(bag.fits.size for bag in self.bags)  # table entries per channel

    def best(self, reduced: Floats) -> tuple[Floats, Bools]:
        """Solves every channel by itself.

        `reduced` (user, channel) are weights less prices. Returns the maximum of each channel and
        the users chosen (user, channel).
        """
        channels = reduced.shape[1]
        by_group = reduced[self.order]
        top = np.zeros((len(self.starts) + 1, channels))  # the last row, zero, pads
        np.maximum(np.maximum.reduceat(by_group, self.starts, axis=0), 0.0, out=top[:-1])
        seen = [top[bag.rows] for bag in self.bags]  # (group, cell, channel)
        tables = [
            (bag.fits * seat[:, :, None]).max(axis=0, initial=0.0).sum(axis=0)
            for bag, seat in zip(self.bags, seen, strict=True)
        ]
        for bag, table in zip(self.bags[:0:-1], tables[:0:-1], strict=True):
            up = table.reshape(bag.rest, bag.shared, channels).max(axis=0)
            tables[bag.parent] += up[bag.from_parent]
        every = np.arange(channels)
        taken = np.zeros(top.shape, dtype=np.bool_)
        patterns: list[Ints] = []
        for bag, table, seat in zip(self.bags, tables, seen, strict=True):
            if not patterns:
                pattern = table.argmax(axis=0)
                value: Floats = table[pattern, every]
            else:
                shared = bag.from_parent[patterns[bag.parent]]
                cube = table.reshape(bag.rest, bag.shared, channels)
                pattern = cube[:, shared, every].argmax(axis=0) * bag.shared + shared
            patterns.append(pattern)
            if bag.rows.size:
                offer = bag.fits[:, :, pattern, 0] * seat
                group = offer.argmax(axis=0)  # (cell, channel)
                taken[bag.rows[group, bag.seats], every] = offer.max(axis=0) > 0.0
        return value, self._users(taken, top, by_group)

    def _users(self, taken: Bools, top: Floats, by_group: Floats) -> Bools:
        """Names the user that attains the maximum of each group taken."""
        hit = by_group >= np.where(taken, top, np.inf)[self.group]
        if np.count_nonzero(hit) > np.count_nonzero(taken[:-1]):  # equal twins: keep one
            for first, last in pairwise([*self.starts, self.users]):
                hit[first:last] &= np.cumsum(hit[first:last], axis=0) == 1
        chosen = np.empty_like(hit)
        chosen[self.order] = hit
        return chosen


def _bags(groups: list[tuple[int, tuple[int, ...]]]) -> list[_Bag]:
    """Returns the bags of a tree decomposition, parents before children."""
    cells: nx.Graph[int] = nx.Graph()
    scopes: dict[int, set[int]] = {}
    for home, ears in groups:
        scopes.setdefault(home, {home}).update(ears)
    for scope in scopes.values():
        cells.add_nodes_from(scope)
        cells.add_edges_from((a, b) for a in scope for b in scope if a < b)
    if not scopes:
        return []
    _, tree = treewidth_min_degree(cells)
    tree = _merged(tree)
    root = min(tree.nodes, key=sorted)
    bags = [_Bag([], sorted(root), 0)]
    number = {root: 0}
    for above, below in nx.bfs_edges(tree, root):
        shared = sorted(above & below)
        bag = _Bag(shared, sorted(below - above), number[above])
        bag.from_parent = bags[number[above]].bits(shared)
        number[below] = len(bags)
        bags.append(bag)
    seats: list[dict[int, list[tuple[int, tuple[int, ...]]]]] = [{} for _ in bags]
    place = {home: next(number[bag] for bag in number if scopes[home] <= bag) for home in scopes}
    for row, (home, ears) in enumerate(groups):
        seats[place[home]].setdefault(home, []).append((row, ears))
    for bag, seated in zip(bags, seats, strict=True):
        bag.seat(seated, padding=len(groups))
    return bags


def _merged(tree: "nx.Graph[frozenset[int]]") -> "nx.Graph[frozenset[int]]":
    """Contracts edges of a tree decomposition while the union stays within `BAG_CELLS`."""
    while True:
        edge = next(
            ((a, b) for a, b in tree.edges if len(a | b) <= max(BAG_CELLS, len(a), len(b))), None
        )
        if edge is None:
            return tree
        a, b = edge
        union = a | b
        around = (set(tree[a]) | set(tree[b])) - {a, b}
        tree.remove_nodes_from(edge)
        tree.add_node(union)
        tree.add_edges_from((union, other) for other in sorted(around, key=sorted))
