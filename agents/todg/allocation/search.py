"""The heaviest schedule of a region: users share channels, at most one each.

A leader of the channel allocation (`allocator.py`) asks for it. Not a solver for whole networks,
see `region.py`. Source: ours; Held and Karp's bound with Polyak's step (1969), both textbook.

Maximise sum_ik w_ik x_ik subject to sum_k x_ik <= 1 (price lambda_i >= 0) and, channel by channel,
independence of its users S_k. With the prices the channels fall apart:

    L(lambda) = sum_i lambda_i + sum_k max_S_k sum_{i in S_k} (w_ik - lambda_i) >= optimum

A subgradient ascent moves the prices, a local search that solves one channel at a time finds
schedules, and branching on a user wanted by several channels closes what gap is left. The
incumbent is never worse than the schedule handed in. Measured in benchmarks/todg.py: the ascent
alone ends within 0.2 % of the optimum, and mostly at it.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from agents.todg.allocation.region import Bools, Cells, Floats, Ints

GAP_MIN = 1e-7  # relative; weights are float32, so a smaller gap says nothing
ROOT_STEPS = 60  # the ascent has closed to 0.2 % of the optimum by then, mostly to 0
BRANCH_STEPS = 12  # a child's prices differ little from its parent's
STALL, STALLED_MAX = 1e-4, 3  # relative progress, steps without it, before the step is halved
POLISH_FIRST, POLISH_STEPS = 3, 8  # the first picks are too far from feasible to be worth it


class Solution(Struct, frozen=True):
    """A schedule of a region: `channel[i]` of user i, -1 for none.

    No schedule weighs more than `bound`, up to the rounding of sums. `prices` made that bound;
    `evaluations` says how many times all channels or one of them were solved.
    """

    channel: Ints
    weight: float
    bound: float
    prices: Floats
    evaluations: int


def solve(
    cells: Cells,
    weights: Floats,
    start: Ints,
    prices: Floats,
    gap: float,
    evaluations_max: int,
) -> Solution:
    """Returns a schedule not lighter than `start`, best up to a relative `gap` if work suffices.

    `weights` (user, channel), 0 where a user may not have a channel; `start` (user) a feasible
    schedule; `prices` (user) >= 0 a guess, such as those of an overlapping region.
    """
    search = _Search(cells, weights, start, max(gap, GAP_MIN), evaluations_max)
    bound, prices = search.bound(weights > 0.0, prices, np.inf, ROOT_STEPS)
    spent = evaluations_max - search.left
    return Solution(search.channel, search.weight, max(bound, search.weight), prices, spent)


class _Search:
    """One search: the best schedule so far, and how much work may still be done."""

    def __init__(
        self, cells: Cells, weights: Floats, start: Ints, gap: float, evaluations_max: int
    ) -> None:
        self.cells = cells
        self.weights = weights
        self.users = np.arange(len(weights))
        self.channel = start
        self.weight = self._worth(start)
        self.gap = gap
        self.left = evaluations_max

    def bound(
        self, allowed: Bools, prices: Floats, known: float, steps: int
    ) -> tuple[float, Floats]:
        """Bounds the schedules within `allowed` (user, channel) that the incumbent does not beat.

        `known` is a bound from before. Returns the bound and the prices of the ascent.
        """
        weights = np.where(allowed, self.weights, 0.0)
        prices = np.where(weights.any(axis=1), prices, 0.0)  # who is out of play pays nothing
        level, prices, chosen = self._ascend(weights, prices, steps)
        known = min(known, level)
        if self._is_closed(known) or self.left <= 0:
            return known, prices
        bounds = [
            self.bound(branch, prices, known, BRANCH_STEPS)[0]
            for branch in branches(allowed, weights, chosen, prices)
        ]
        return min(known, max(bounds, default=known)), prices

    def _ascend(self, weights: Floats, prices: Floats, steps: int) -> tuple[float, Floats, Bools]:
        """Moves the prices along subgradients, Polyak's step towards the incumbent's weight.

        Returns the least bound, its prices and the users chosen (user, channel) at them.
        """
        least, kept = np.inf, prices
        chosen = np.zeros(weights.shape, dtype=np.bool_)
        pull, stalled = 1.0, 0
        for step in range(steps):
            if self.left <= 0:
                break
            self.left -= 1
            value, picked = self.cells.best(weights - prices[:, None])
            level = float(prices.sum() + value.sum())
            stalled = 0 if level < least * (1.0 - STALL) else stalled + 1
            if level < least:
                least, kept, chosen = level, prices, picked
            slope = picked.sum(axis=1) - 1.0  # user wanted by so many channels too many
            slope[(prices <= 0.0) & (slope < 0.0)] = 0.0
            square = float(slope @ slope)
            if self._is_closed(least):
                break
            if square == 0.0 or step % POLISH_STEPS == POLISH_FIRST:
                self._polish(_repaired(picked, weights))
            if square == 0.0 or self._is_closed(least):
                break
            if stalled >= STALLED_MAX:
                pull, stalled = 0.5 * pull, 0
            prices = np.maximum(prices + pull * (level - self.weight) / square * slope, 0.0)
        return least, kept, chosen

    def _polish(self, channel: Ints) -> None:
        """Solves one channel at a time, the others fixed; keeps what beats the incumbent.

        A user that holds another channel may be taken for what it gains, so the weight never
        falls from step to step.
        """
        channel = channel.copy()
        channels = self.weights.shape[1]
        k, quiet = 0, 0
        while quiet < channels and self.left > 0:
            self.left -= 1
            elsewhere = (channel >= 0) & (channel != k)
            gain = self.weights[:, k].copy()
            gain[elsewhere] -= self.weights[self.users[elsewhere], channel[elsewhere]]
            (value,), chosen = self.cells.best(gain[:, None])
            now = channel == k
            quiet += 1
            if value > gain[now].sum() * (1.0 + GAP_MIN):
                channel[now] = -1
                channel[chosen[:, 0]] = k
                quiet = 1
            k = (k + 1) % channels
        weight = self._worth(channel)
        if weight > self.weight:
            self.channel, self.weight = channel, weight

    def _is_closed(self, bound: float) -> bool:
        return bound <= self.weight * (1.0 + self.gap)

    def _worth(self, channel: Ints) -> float:
        held = channel >= 0
        return float(self.weights[self.users[held], channel[held]].sum())


def _repaired(picked: Bools, weights: Floats) -> Ints:
    """Lets every user keep the best of the channels it was picked for; -1 for none."""
    best = np.where(picked, weights, -1.0).argmax(axis=1)
    return np.where(picked.any(axis=1), best, -1)


def branches(allowed: Bools, weights: Floats, chosen: Bools, prices: Floats) -> Iterator[Bools]:
    """Splits a node: one user has this channel, or that one, or none of them.

    The user is the one wanted by most channels; if none is wanted twice, the dearest left out of
    those that have a choice: for one with a single channel the first branch would be its parent.
    """
    wanted = chosen.sum(axis=1)
    if wanted.max(initial=0) > 1:
        user = int(np.lexsort((-weights.max(axis=1), -wanted))[0])
        options = np.flatnonzero(chosen[user])
    else:
        may_choose = (wanted == 0) & ((weights > 0.0).sum(axis=1) > 1)
        if not may_choose.any():
            return
        user = int(np.where(may_choose, prices, -1.0).argmax())
        options = np.flatnonzero(weights[user] > 0.0)
    rest = allowed.copy()
    rest[user, options] = False
    for channel in options:
        branch = allowed.copy()
        branch[user] = False
        branch[user, channel] = True
        yield branch
    yield rest
