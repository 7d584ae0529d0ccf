"""What viewers of a running run get: rows for curves, a frame for tiles and map. Encoded once.

The driver's thread calls `take` after every step; the service's thread reads what is finished and
never touches the metrics. A row covers `ROW_S`; nothing seen in it is a gap.
"""

import math
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable

import msgspec
import numpy as np

from emulator.build.plan import Plan
from emulator.faults.fold import fold
from emulator.live import answers
from emulator.live.recent import Recent
from emulator.live.tiles import tiles
from emulator.results.metrics import Metrics
from emulator.runtime.recorder import Progress
from emulator.runtime.steering import Steering
from emulator.scenario.topology import members
from emulator.views.panels import panels

FRAME_S = 0.2  # wall; five frames a second are all that anybody sees
ROW_S = 0.5  # wall
ROWS_MAX = 4_000  # half an hour; then every second one goes, so that the whole run stays in sight
WORST = 10
AGE_MIN_S, AGE_MAX_S = 0.01, 60.0  # what the 256 codes of an age span, logarithmically


class Feed:
    """`take` is called by the driver's thread, and what it makes is published from there.

    Many attributes: every encoded answer is kept, so that viewers cost nothing.
    """

    def __init__(self, plan: Plan, steering: Steering, folder: str) -> None:
        self.rows: list[tuple[float, dict[str, float | None]]] = []
        self.frame = b""
        self.hosts = [0, 0]
        self.now_s = 0.0
        self.numbers: dict[str, float | None] = {}  # the values of the tiles, replaced not changed
        self.publish: Callable[[bytes], None] = lambda frame: None
        self._plan, self._steering, self._folder = plan, steering, answers.readable(folder)
        self._panels = panels(plan.scenario)
        self._shown = {curve.column for panel in self._panels for curve in panel.curves}
        self._urgent = min(group.priority for group in plan.scenario.users)
        self._recent = Recent()
        self._steps: list[dict[str, float | None]] = []
        self._framed_s = self._rowed_s = -math.inf
        self._tiles: dict[str, float | None] = {}
        self._loss: dict[str, float] = {}  # of each cell's uplink, smoothed
        self._cut: tuple[int, list[list[str]]] = (-1, [])  # for one version of the steering

    def publish_to(self, publish: Callable[[bytes], None]) -> None:
        """Has every finished frame handed on."""
        self.publish = publish

    def ready(self, hosts: int, of: int) -> None:
        """Learns how many hosts have come up."""
        self.hosts = [hosts, of]

    def topology(self) -> answers.Topology:
        """Describes who is where, who hears whom and what is shown; it does not change in a run."""
        layout, place = self._plan.layout, self._plan.layout.position_m
        group_of = dict(members(self._plan.scenario.users))

        def at(name: str) -> list[float]:
            return [round(each, 2) for each in place[name]]

        return answers.Topology(
            users=[
                answers.User(
                    id=user,
                    at_m=at(user),
                    group=group_of[user].name,
                    priority=group_of[user].priority,
                    cells=[bs for bs, _ in cells],
                )
                for user, cells in layout.cells.items()
            ],
            base_stations=[
                answers.BaseStation(bs, at(bs), [server for server, _ in servers])
                for bs, servers in layout.servers.items()
            ],
            servers=[answers.Place(server, at(server)) for server in layout.base_stations],
            age_code=answers.AgeCode(AGE_MIN_S, AGE_MAX_S),
            tiles=tiles(self._plan.scenario),
            panels=self._panels,
        )

    def history(self) -> answers.History:
        """Returns all rows as columns."""
        rows = self.rows
        names = dict.fromkeys(name for _, row in rows for name in row)
        columns = {name: [row.get(name) for _, row in rows] for name in names}
        return answers.History([at_s for at_s, _ in rows], columns)

    def state(self) -> answers.Run:
        """Describes the run itself."""
        scenario, steering = self._plan.scenario, self._steering
        return answers.Run(
            name=scenario.name,
            protocol=scenario.protocol.kind,
            runtime=scenario.runtime.kind,
            seed=scenario.seed,
            duration_s=scenario.duration_s,
            time_scale=scenario.runtime.time_scale,
            phase=steering.phase,
            hosts=self.hosts,
            waits_for=steering.waits_for,
            now_s=self.now_s,
            folder=self._folder,
            faults_active=len(steering.active),
            numbers=self.numbers,
        )

    def faults(self, ended_max: int | None = None) -> answers.Faults:
        """Lists the faults so far (of those that ended only the newest, where there is a limit),
        and the radio links that let nothing through."""
        known = list(self._steering.faults.values())
        if ended_max is not None:
            ended = [each.id for each in known if each.state not in ("scheduled", "active")]
            hidden = frozenset(ended[: max(0, len(ended) - ended_max)])
            known = [each for each in known if each.id not in hidden]
        return answers.Faults(
            self._steering.phase, list(map(answers.Fault.of, known)), self.cut(), self.now_s
        )

    def cut(self) -> list[list[str]]:
        """Returns the radio links that the active faults block, as (user, base station)."""
        steering = self._steering
        version = steering.version
        if self._cut[0] != version:
            active = steering.active.values()
            blocked = [
                [user, bs]
                for user, cells in self._plan.layout.cells.items()
                for bs, _ in cells
                if active and fold(active, user, bs, "uplink").blocked_by
            ]
            self._cut = (version, blocked)
        return self._cut[1]

    def take(self, progress: Progress) -> bool:
        """Takes a step in; publishes a frame when one is due, and says whether one was."""
        self.now_s = progress.step.now_s
        series = progress.metrics.series
        self._recent.take(progress.metrics.window)
        self._steps.append({name: series.newest(name) for name in self._shown})
        wall_s = time.monotonic()
        if wall_s - self._framed_s < FRAME_S:
            return False
        self._framed_s = wall_s
        row = None
        if wall_s - self._rowed_s >= ROW_S and self._steps:
            self._rowed_s = wall_s
            row = self._row(progress.metrics)
            if not self.rows or self.now_s > self.rows[-1][0]:  # a held run stands still
                kept = self.rows[::2] if len(self.rows) >= ROWS_MAX else self.rows
                self.rows = [*kept, (self.now_s, row)]  # another one: the service may be reading
        self.frame = msgspec.json.encode(self._frame(progress, row))
        self.publish(self.frame)
        return True

    def _row(self, metrics: Metrics) -> dict[str, float | None]:
        """What is made of tasks is of all since the last row; the rest is a mean of steps."""
        window = self._recent.row()
        tasks = window.columns() | window.details(metrics.servers)
        row = {name: value for name, value in _mean(self._steps).items() if name not in tasks}
        row |= {name: value for name, value in tasks.items() if name in self._shown}
        self._steps = []
        self._tiles = self._recent.tiles(self._urgent)
        for name, lost in row.items():
            kind, _, bs = name.partition("/")
            if kind == "loss_ratio" and lost is not None:
                self._loss[bs] = 0.5 * self._loss.get(bs, lost) + 0.5 * lost
        return {name: _short(value) for name, value in row.items()}

    def _frame(self, progress: Progress, row: dict[str, float | None] | None) -> answers.Frame:
        metrics, now_s = progress.metrics, progress.step.now_s
        users = list(metrics.ages)
        ages_s = np.array([tracker.age_s(now_s) for tracker in metrics.ages.values()])
        scaled = np.log(np.clip(ages_s, AGE_MIN_S, AGE_MAX_S) / AGE_MIN_S)
        codes = np.rint(255.0 * scaled / math.log(AGE_MAX_S / AGE_MIN_S)).astype(np.uint8)
        worst = np.argsort(-ages_s)[:WORST]
        counted_s = ages_s[[tracker.is_present for tracker in metrics.ages.values()]]
        late = progress.step.lateness
        numbers = self._tiles | {
            "age_mean": float(counted_s.mean()) if counted_s.size else None,
            "age_p95": float(np.quantile(counted_s, 0.95)) if counted_s.size else None,
            "primal": metrics.series.newest("protocol/primal"),
            "overdue": metrics.violations,
            "faults": len(metrics.faults_active),
            "lateness": None if late is None else late.quantile_s(0.99),
        }
        self.numbers = {name: _short(value) for name, value in numbers.items()}
        return answers.Frame(
            now_s=round(now_s, 3),
            phase=self._steering.phase,
            speed=round(progress.speed, 3),
            row=row,
            ages=b64encode(codes.tobytes()).decode(),
            worst=[(users[i], round(float(ages_s[i]), 3)) for i in worst],
            tiles=self.numbers,
            loss={bs: round(value, 2) for bs, value in self._loss.items()},
        )


def _short(value: float | None) -> float | None:
    """Four digits: nobody sees more on a curve, and each costs a byte to every viewer."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _mean(steps: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Averages each column over the steps that have a value."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, value in step.items():
            values = found[name]
            if value is not None and math.isfinite(value):
                values.append(value)
    return {name: sum(values) / len(values) if values else None for name, values in found.items()}
