"""How things went over time: the curves of a run."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from agents.messages import NodeId, ServerReport
from agents.policy import Reading
from agents.reasons import Reason
from emulator.results.stats import ALL, GroupStats, ratio


class Series:
    """One row a step of the run. Window values cover the step just ended."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self.readings = readings
        self._counting = {reading.name for reading in readings if reading.counts}
        self.at_s: list[float] = []
        self.columns: dict[str, list[float | None]] = {}
        self.outcomes: Counter[str] = Counter()
        self.delays_s: list[float] = []  # of the results since the last row
        self.peaks_s: defaultdict[int, list[float]] = defaultdict(list)  # by priority, the same
        self._given_up: Counter[Reason] = Counter()  # by reason, at the last row
        self._area_s2: dict[str, float] = {}
        self._presence_s: dict[str, float] = {}
        self._attempts = 0
        self._losses = 0
        self._reported: dict[str, float] = {}  # the counts at the last row

    def add(
        self,
        now_s: float,
        groups: Mapping[str, GroupStats],
        uplink_counts: tuple[int, int],
        servers: Mapping[NodeId, ServerReport],
        reported: Mapping[str, float],
    ) -> None:
        """Adds the row of the step that ends at `now_s`; `uplink_counts` are attempts, losses."""
        step_s = now_s - (self.at_s[-1] if self.at_s else 0.0)
        if step_s <= 0.0:
            return
        self.at_s.append(now_s)
        gained_all_s2, present_all_s = 0.0, 0.0
        for name, stats in groups.items():
            area_s2 = stats.ages.until_s2(now_s)
            gained_s2 = area_s2 - self._area_s2.get(name, 0.0)
            gained_all_s2 += gained_s2
            presence_s = stats.ages.presence_s(now_s)
            present_s = presence_s - self._presence_s.get(name, 0.0)
            present_all_s += present_s
            self._put(f"aoi_s/{name}", ratio(gained_s2, present_s))
            self._area_s2[name], self._presence_s[name] = area_s2, presence_s
        self._put(f"aoi_s/{ALL}", ratio(gained_all_s2, present_all_s))
        for priority in sorted({stats.priority or 0 for stats in groups.values()}):
            peaks = self.peaks_s.pop(priority, [])
            self._put(f"paoi_s/{priority}", ratio(sum(peaks), len(peaks)))
        delays = sorted(self.delays_s)
        self.delays_s.clear()
        self._put("delay_s/mean", ratio(sum(delays), len(delays)))
        self._put("delay_s/p95", delays[int(0.95 * len(delays))] if delays else None)
        given_up = sum((stats.drops for stats in groups.values()), Counter[Reason]())
        for reason, count in sorted(given_up.items()):
            self._put(f"given_up_hz/{reason}", (count - self._given_up[reason]) / step_s)
        self._given_up = given_up
        attempts, losses = uplink_counts
        self._put("uplink_loss_ratio", ratio(losses - self._losses, attempts - self._attempts))
        self._attempts, self._losses = attempts, losses
        for server, report in servers.items():
            self._put(f"backlog/{server}", float(report.backlog))

        for reading in self.readings:
            self._put(f"protocol/{reading.name}", self._read(reading, reported, step_s))
        self._reported = dict(reported)

    def _read(self, reading: Reading, reported: Mapping[str, float], step_s: float) -> float | None:
        value = reported.get(reading.name)
        if value is None:
            return None
        if reading.counts:
            gain = value - self._reported.get(reading.name, 0.0)
            if reading.per in self._counting:
                return ratio(gain, reported[reading.per] - self._reported.get(reading.per, 0.0))
            rate = gain * reading.every_s / step_s
            return ratio(rate, reported.get(reading.per, 0.0)) if reading.per else rate
        if reading.per:
            share = ratio(value, reported.get(reading.per, 0.0))
            return math.sqrt(share) if reading.root and share is not None else share
        return value

    def put(self, columns: Mapping[str, float | None]) -> None:
        """Puts further columns into the row that was added last."""
        for column, value in columns.items():
            if len(self.columns.get(column, ())) < len(self.at_s):
                self._put(column, value)

    def _put(self, column: str, value: float | None) -> None:
        values = self.columns.setdefault(column, [])
        values.extend([None] * (len(self.at_s) - 1 - len(values)))
        values.append(value)
