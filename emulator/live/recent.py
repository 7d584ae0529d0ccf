"""What ended lately: the records that `metrics.py` folds over a whole run, over short windows.

A window in which nothing ended has no value, so a curve shows a gap and a tile nothing.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import numpy as np

from agents.freshness import AgeTracker
from agents.messages import ServerReport, TaskEnd
from emulator.build.plan import Plan
from emulator.results.journal import LinkCount, Presence, Record
from emulator.results.stats import STAGES
from emulator.scenario.topology import members

ROWS = 10  # of `feed.ROW_S`; the numbers in the tiles cover so many


class Window:
    """What ended in one row."""

    def __init__(self) -> None:
        self.from_s = self.to_s = 0.0
        self.means: defaultdict[str, list[float]] = defaultdict(list)
        self.tails: defaultdict[str, list[float]] = defaultdict(list)  # their p95 is wanted
        self.sojourns_s: dict[str, float] = {}  # the longest of each group
        self.lost: Counter[str] = Counter()  # tasks, by outcome
        self.attempts: Counter[str] = Counter()  # on the uplink, by cell
        self.losses: Counter[str] = Counter()


class Recent:
    """`take` after every step, `row` when a row is due."""

    def __init__(self, plan: Plan) -> None:
        self._urgent = min(group.priority for group in plan.scenario.users)
        self._group_of = {user: group.name for user, group in members(plan.scenario.users)}
        self._ages = {user: AgeTracker() for user in self._group_of}
        self._servers = frozenset(name for name, _ in members(plan.scenario.servers))
        self._window = Window()
        self._past: deque[Window] = deque(maxlen=ROWS)

    def take(self, records: Sequence[Record]) -> None:
        window = self._window
        for record in records:
            if type(record) is TaskEnd:  # nearly all are
                self._take_end(record)
            elif type(record) is ServerReport:
                window.means[f"backlog/{record.server}"].append(float(record.backlog))
            elif type(record) is LinkCount and record.kind == "uplink":
                window.attempts[record.bs] += record.attempts
                window.losses[record.bs] += sum(record.losses.values())
            elif type(record) is Presence:
                tracker = self._ages[record.user]
                if record.is_present:
                    tracker.join(record.at_s)
                else:
                    tracker.leave(record.at_s)

    def _take_end(self, end: TaskEnd) -> None:
        window = self._window
        if end.due_s < math.inf:
            group = self._group_of[end.user]
            left_s = end.finished_s if end.outcome == "completed" else end.ended_s
            window.sojourns_s[group] = max(window.sojourns_s.get(group, 0.0), left_s - end.born_s)
        if end.outcome != "completed":
            window.lost[end.outcome] += 1
            return
        tails = window.tails
        born_s = min(end.born_s, end.ended_s)  # as in `metrics.py`
        tails["delay_s/p95"].append(end.ended_s - born_s)
        instants = (end.born_s, end.arrived_s, end.started_s, end.finished_s, end.ended_s)
        for number, stage in enumerate(STAGES):
            tails[f"part_s/{stage}"].append(instants[number + 1] - instants[number])
        if end.server in self._servers:
            window.means[f"service_s/{end.server}"].append(end.finished_s - end.started_s)
        peak_s = self._ages[end.user].receive(born_s, end.ended_s)
        if peak_s is not None:
            window.means[f"paoi_s/{end.priority}"].append(peak_s)

    def row(self, now_s: float) -> dict[str, float | None]:
        """Closes the window; returns its columns."""
        window = self._window
        window.to_s = now_s
        span_s = now_s - window.from_s
        columns: dict[str, float | None] = {
            name: sum(values) / len(values) for name, values in window.means.items()
        }
        columns |= {name: _p95(values) for name, values in window.tails.items()}
        columns |= {
            f"sojourn_s/{group}": sojourn_s for group, sojourn_s in window.sojourns_s.items()
        }
        for bs, attempts in window.attempts.items():
            columns[f"loss_ratio/{bs}"] = window.losses[bs] / attempts if attempts else None
        if span_s > 0.0:
            for outcome in ("dropped", "expired"):
                columns[f"lost_hz/{outcome}"] = window.lost[outcome] / span_s
        self._past.append(window)
        self._window = Window()
        self._window.from_s = now_s
        return columns

    def tiles(self) -> dict[str, float | None]:
        """Returns the numbers of the last `ROWS` rows together."""
        past = self._past
        span_s = past[-1].to_s - past[0].from_s if past else 0.0
        attempts = sum(window.attempts.total() for window in past)
        return {
            "peak_p95": _p95([v for w in past for v in w.means[f"paoi_s/{self._urgent}"]]),
            "delay_p95": _p95([v for w in past for v in w.tails["delay_s/p95"]]),
            "lost": sum(w.lost.total() for w in past) / span_s if span_s else None,
            "loss": sum(w.losses.total() for w in past) / attempts if attempts else None,
        }


def _p95(values: list[float]) -> float | None:
    return float(np.quantile(values, 0.95)) if values else None
