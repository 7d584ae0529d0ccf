"""The running numbers of one user group; what is made of them stands in `measures.py`."""

import math
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from agents.freshness import AgeIntegral, AgeTracker
from agents.messages import TaskEnd
from agents.reasons import Reason
from emulator.results.histogram import Bins, Histogram

ALL = "all"
STAGES = ("uplink", "queue", "compute", "downlink")
AGE_BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
DELAY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SOJOURN_BINS = 40  # of a histogram of sojourn times, up to the deadline
ROUNDING_S = 1e-9  # instants are sums of floats


class Group(Struct, frozen=True):
    """What is declared of a user group."""

    priority: int
    weight: float = 1.0  # of each user
    deadline_s: float = math.inf
    value: float = 1.0  # of a task on time
    rate_hz: float = 0.0  # of each user's tasks; 0: none is declared


class Ages:
    """The ages of a group's users, and their peaks."""

    def __init__(self, bounds_s: list[float]) -> None:
        self.bounds_s = bounds_s
        self.users: list[AgeTracker] = []
        self.integral = AgeIntegral(0)
        self.peak_s = Histogram(bounds_s)
        self._at_warmup = (0.0, 0.0)

    def sums(self, now_s: float) -> tuple[float, float]:
        """Returns the area under all ages, and how long users were there: both from zero on.

        Whoever is away has no age.
        """
        return self.integral.until_s2(now_s), self.integral.presence_s(now_s)

    def counted(self, now_s: float) -> tuple[float, float]:
        """Returns the same, since the warm-up ended."""
        (area_s2, present_s), (area_before_s2, before_s) = self.sums(now_s), self._at_warmup
        return area_s2 - area_before_s2, present_s - before_s

    def end_warm_up(self, at_s: float) -> None:
        self._at_warmup = self.sums(at_s)


class Delays:
    """Delays of results, and the stages that they consist of."""

    def __init__(self, bounds_s: list[float]) -> None:
        self.waited_s = self.took_s = 0.0  # all results together: at servers, and in all
        self.total_s = Histogram(bounds_s)
        self.stages_s = {stage: Bins(bounds_s) for stage in STAGES}
        self.add_stages = [bins.add for bins in self.stages_s.values()]  # looked up once


class Stays:
    """How long tasks with a deadline stayed, warm-up included: a bound holds always."""

    def __init__(self, deadline_s: float) -> None:
        self._max_s = 0.0
        self._step_max_s = 0.0  # since the last step ended
        self.overdue = 0  # neither finished nor given up by their deadline
        self.finished_s = Bins(sojourn_bounds(deadline_s))  # of tasks that a server finished
        self.given_up_s = Bins(sojourn_bounds(deadline_s))  # of the others

    def count(self, end: TaskEnd) -> None:
        if end.outcome == "completed":
            left_s, bins = end.finished_s, self.finished_s
        else:
            left_s, bins = end.ended_s, self.given_up_s
        sojourn_s = left_s - end.born_s
        bins.add(sojourn_s)
        if sojourn_s > self._step_max_s:
            self._step_max_s = sojourn_s
        self.overdue += left_s > end.due_s + ROUNDING_S

    def end_step(self) -> float:
        """Returns the longest sojourn time since the last call; 0 where there was none."""
        longest_s, self._step_max_s = self._step_max_s, 0.0
        self._max_s = max(self._max_s, longest_s)
        return longest_s

    @property
    def max_s(self) -> float:
        """The longest sojourn time so far; 0 where there was none."""
        return max(self._max_s, self._step_max_s)


class Tasks:
    """How tasks ended, and what their results were worth."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.sojourns_s = 0.0  # birth to end, all of them
        self.with_deadline = 0
        self.missed = 0
        self.answered = 0
        self.correct = 0
        self.fresh_correct = 0

    @property
    def completed(self) -> int:
        return self.outcomes["completed"]

    @property
    def ended(self) -> int:
        return self.outcomes.total()


class GroupStats:
    """All that is counted of one user group."""

    def __init__(self, group: Group, deadlines_s: Iterable[float] = ()) -> None:
        """`deadlines_s`, those of all groups, are bounds too: what misses one is then exact."""
        finite_s = set(deadlines_s) - {math.inf}
        self.group = group
        self.ages = Ages(sorted(finite_s.union(AGE_BOUNDS_S)))
        self.delays = Delays(sorted(finite_s.union(DELAY_BOUNDS_S)))
        self.stays = Stays(group.deadline_s)
        self.tasks = Tasks()
        self.drops: Counter[Reason] = Counter()  # why tasks brought no result; warm-up included

    def count(self, end: TaskEnd, peak_s: float | None) -> None:
        """Counts what ended after the warm-up: one call a task, one look at each field."""
        tasks, outcome, ended_s, due_s = self.tasks, end.outcome, end.ended_s, end.due_s
        sojourn_s = max(
            0.0, ended_s - end.born_s
        )  # 0: born by a clock that has been set back since
        tasks.outcomes[outcome] += 1
        tasks.sojourns_s += sojourn_s
        if due_s < math.inf:
            tasks.with_deadline += 1
            tasks.missed += ended_s > due_s or outcome != "completed"
        if outcome != "completed":
            return
        delays = self.delays
        born_s, arrived_s = end.born_s, end.arrived_s
        started_s, finished_s = end.started_s, end.finished_s
        delays.total_s.add(sojourn_s)
        delays.took_s += sojourn_s
        delays.waited_s += started_s - arrived_s
        uplink, queue, compute, downlink = delays.add_stages
        uplink(arrived_s - born_s)
        queue(started_s - arrived_s)
        compute(finished_s - started_s)
        downlink(ended_s - finished_s)
        if peak_s is not None:
            self.ages.peak_s.add(peak_s)
        if end.correct is not None:
            tasks.answered += 1
            tasks.correct += end.correct
            tasks.fresh_correct += end.correct and peak_s is not None and ended_s <= due_s

    def settle(self) -> None:
        """Bounds the memory that values take which are not yet counted."""
        stays, delays = self.stays, self.delays
        counted = (self.ages.peak_s, delays.total_s, *delays.stages_s.values())
        for bins in (*counted, stays.finished_s, stays.given_up_s):
            bins.settle()


def sojourn_bounds(deadline_s: float) -> tuple[float, ...]:
    """Returns the bounds of the bins of sojourn times; the last is the deadline."""
    if deadline_s == math.inf:
        return ()
    return tuple(deadline_s * n / SOJOURN_BINS for n in range(1, SOJOURN_BINS + 1))
