"""What viewers of a running run get: rows for curves, a frame for tiles and map. Encoded once.

The driver's thread calls `take` after every step; the service's thread reads what is finished and
never touches the metrics. A row averages the steps of `ROW_S`; nothing seen in them is a gap.
"""

import json
import math
import time
from base64 import b64encode
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from emulator.faults import fold
from emulator.plan import Plan
from emulator.run import Progress
from emulator.stats import STAGES, ratio
from emulator.steering import Steering
from emulator.topology import members

FRAME_S = 0.2  # wall; five frames a second are all that anybody sees
ROW_S = 0.5  # wall
ROWS_MAX = 20_000
WORST = 10
AGE_MIN_S, AGE_MAX_S = 0.01, 60.0  # what the 256 codes of an age span, logarithmically


class Feed:
    """`publish` takes every finished frame, from the driver's thread."""

    def __init__(self, plan: Plan, steering: Steering, folder: str) -> None:
        self.rows: deque[tuple[float, dict[str, float | None]]] = deque(maxlen=ROWS_MAX)
        self.frame = b""
        self.hosts = (0, 0)
        self.now_s = 0.0
        self.publish: Callable[[bytes], None] = lambda frame: None
        self._plan, self._steering, self._folder = plan, steering, folder
        self._steps: list[dict[str, float | None]] = []
        self._framed_s = self._rowed_s = -math.inf
        self._totals: dict[str, float] = {}
        self._lost: dict[str, float] = {}

    def topology(self) -> dict[str, Any]:
        """Describes who is where and who hears whom; it does not change in a run."""
        layout, place = self._plan.layout, self._plan.layout.position_m
        group_of = dict(members(self._plan.scenario.users))

        def at(name: str) -> list[float]:
            return [round(each, 2) for each in place[name]]

        return {
            "users": [
                {
                    "id": user,
                    "at_m": at(user),
                    "group": group_of[user].name,
                    "priority": group_of[user].priority,
                    "cells": [bs for bs, _ in cells],
                }
                for user, cells in layout.cells.items()
            ],
            "base_stations": [
                {"id": bs, "at_m": at(bs), "servers": [server for server, _ in servers]}
                for bs, servers in layout.servers.items()
            ],
            "servers": [{"id": server, "at_m": at(server)} for server in layout.base_stations],
            "age_code": {"min_s": AGE_MIN_S, "max_s": AGE_MAX_S},
        }

    def history(self) -> dict[str, Any]:
        """Returns all rows as columns."""
        rows = list(self.rows)
        names = list(dict.fromkeys(name for _, row in rows for name in row))
        columns = {name: [row.get(name) for _, row in rows] for name in names}
        return {"at_s": [at_s for at_s, _ in rows], "columns": columns}

    def state(self) -> dict[str, Any]:
        """Describes the run itself."""
        scenario, steering = self._plan.scenario, self._steering
        return {
            "name": scenario.name,
            "protocol": scenario.protocol.kind,
            "runtime": scenario.runtime.kind,
            "seed": scenario.seed,
            "duration_s": scenario.duration_s,
            "time_scale": scenario.runtime.time_scale,
            "phase": steering.phase,
            "hosts": self.hosts,
            "now_s": self.now_s,
            "folder": self._folder,
            "faults_active": sum(each.state == "active" for each in steering.faults.values()),
        }

    def faults(self) -> dict[str, Any]:
        """Lists every fault so far, and the radio links that let nothing through."""
        known = list(self._steering.faults.values())
        active = [each.settled for each in known if each.settled and each.state == "active"]
        cut = [
            [user, bs]
            for user, cells in self._plan.layout.cells.items()
            for bs, _ in cells
            if active and fold(active, user, bs, "uplink").blocked_by
        ]
        faults = [each.as_dict() for each in known]
        return {"phase": self._steering.phase, "faults": faults, "cut": cut, "now_s": self.now_s}

    def take(self, progress: Progress) -> None:
        """Takes a step in; publishes a frame when one is due."""
        self.now_s = progress.step.now_s
        self._steps.append(self._columns(progress))
        wall_s = time.monotonic()
        if wall_s - self._framed_s < FRAME_S:
            return
        self._framed_s = wall_s
        row = None
        if wall_s - self._rowed_s >= ROW_S:
            self._rowed_s = wall_s
            row = _mean(self._steps)
            self._steps = []
            self.rows.append((self.now_s, row))
        self.frame = json.dumps(self._frame(progress, row), separators=(",", ":")).encode()
        self.publish(self.frame)

    def _frame(self, progress: Progress, row: Mapping[str, float | None] | None) -> dict[str, Any]:
        metrics, now_s = progress.metrics, progress.step.now_s
        users = list(metrics.ages)
        ages_s = np.array([tracker.age_s(now_s) for tracker in metrics.ages.values()])
        scaled = np.log(np.clip(ages_s, AGE_MIN_S, AGE_MAX_S) / AGE_MIN_S)
        codes = np.rint(255.0 * scaled / math.log(AGE_MAX_S / AGE_MIN_S)).astype(np.uint8)
        worst = np.argsort(-ages_s)[:WORST]
        late = progress.step.lateness
        return {
            "now_s": round(now_s, 3),
            "phase": self._steering.phase,
            "speed": round(now_s / progress.wall_s, 3) if progress.wall_s else 0.0,
            "row": row,
            "ages": b64encode(codes.tobytes()).decode(),
            "worst": [[users[i], round(float(ages_s[i]), 3)] for i in worst],
            "age_mean_s": round(float(ages_s.mean()), 4),
            "age_p95_s": round(float(np.quantile(ages_s, 0.95)), 4),
            "loss": {bs: round(value, 3) for bs, value in self._lost.items()},
            "lateness_s": None if late is None else late.quantile_s(0.99),
        }

    def _columns(self, progress: Progress) -> dict[str, float | None]:
        metrics = progress.metrics
        row = {
            name: values[-1] if len(values) == len(metrics.series.at_s) else None
            for name, values in metrics.series.columns.items()
        }
        done = self._gain("done", sum(s.outcomes["completed"] for s in metrics.groups.values()))
        for number, stage in enumerate(STAGES):
            total_s = sum(stats.stages_s[number].total for stats in metrics.groups.values())
            row[f"part_s/{stage}"] = ratio(self._gain(f"part/{stage}", total_s), done)
        for server, report in metrics.servers.items():
            row[f"service_s/{server}"] = report.mean_s
        losses: defaultdict[str, int] = defaultdict(int)
        for (bs, kind, _), count in metrics.losses.items():
            if kind == "uplink":
                losses[bs] += count
        for (bs, kind), count in metrics.attempts.items():
            if kind == "uplink":
                lost = ratio(self._gain(f"lost/{bs}", losses[bs]), self._gain(f"sent/{bs}", count))
                row[f"loss_ratio/{bs}"] = lost
                if lost is not None:
                    self._lost[bs] = 0.7 * self._lost.get(bs, lost) + 0.3 * lost
        return row

    def _gain(self, name: str, total: float) -> float:
        gain = total - self._totals.get(name, 0.0)
        self._totals[name] = total
        return gain


def _mean(steps: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Averages each column over the steps that have a value."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, value in step.items():
            values = found[name]
            if value is not None and math.isfinite(value):
                values.append(value)
    # Four digits: nobody sees more on a curve, and each costs a byte to every viewer.
    return {
        name: float(f"{sum(values) / len(values):.4g}") if values else None
        for name, values in found.items()
    }
