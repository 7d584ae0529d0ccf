"""Protocols against each other on one scenario, paired by seed, in virtual time.

At one seed every protocol meets the same arrivals, weather and faults, so the difference of two
protocols varies much less than either: its confidence interval is the one to read.
"""

import csv
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.table import Table

from emulator.display import readable
from emulator.loop import play
from emulator.metrics import ALL
from emulator.run import Recorder
from emulator.scenario import ProtocolChoice, Scenario
from emulator.world import plan

METRICS = (
    "aoi_mean_s",
    "paoi_mean_s",
    "paoi_p95_s",
    "delay_mean_s",
    "delay_p95_s",
    "miss_ratio",
    "drop_ratio",
    "accuracy",
    "fresh_correct_hz",
)
WORKERS = 2  # each run is one core's work
CONFIDENCE = 0.95


class Estimate(Struct, frozen=True):
    """A mean over seeds with the half width of its 95 % confidence interval (Student t)."""

    mean: float
    half_width: float


class Row(Struct, frozen=True):
    """One metric of one protocol. `difference` is to the first protocol, paired by seed; `wins`
    counts the seeds at which this protocol is lower. Both are None for the first itself."""

    metric: str
    protocol: str
    values: list[float]
    estimate: Estimate
    difference: Estimate | None
    wins: int | None


class Comparison(Struct, frozen=True):
    """What `fresco compare` found."""

    scenario: str
    seeds: list[int]
    protocols: list[str]
    rows: list[Row]

    def table(self) -> Table:
        title = f"{self.scenario}: {len(self.seeds)} seeds, mean ± half of the 95 % interval"
        table = Table(title=title, title_justify="left", title_style="bold")
        for head in ("metric", "protocol", "mean", f"minus {self.protocols[0]}, paired", "lower"):
            table.add_column(head, justify="left" if head in ("metric", "protocol") else "right")
        before = ""
        for row in self.rows:
            if row.metric != before and before:
                table.add_section()
            significant = row.difference is not None and (
                abs(row.difference.mean) > row.difference.half_width
            )
            table.add_row(
                row.metric if row.metric != before else "",
                row.protocol,
                _readable(row.metric, row.estimate),
                "" if row.difference is None else _readable(row.metric, row.difference),
                "" if row.wins is None else f"{row.wins}/{len(self.seeds)}",
                style="" if significant or row.difference is None else "dim",
            )
            before = row.metric
        return table

    def as_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def write(self, folder: Path) -> None:
        """Writes compare.json and compare.csv (one line per metric, protocol and seed)."""
        (folder / "compare.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        with (folder / "compare.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("metric", "protocol", "seed", "value"))
            for row in self.rows:
                for seed, value in zip(self.seeds, row.values, strict=True):
                    lines.writerow((row.metric, row.protocol, seed, value))


def run(
    scenario: Scenario,
    protocols: Sequence[str],
    seeds: Sequence[int],
    on_progress: Callable[[int, int], None],
    workers: int = WORKERS,
) -> Comparison:
    """Runs every protocol at every seed; the first protocol is what others are compared with."""
    jobs = [(protocol, seed) for protocol in protocols for seed in seeds]
    found: dict[tuple[str, int], dict[str, float | int | None]] = {}
    with ProcessPoolExecutor(workers) as pool:
        futures = {
            pool.submit(_measure, _variant(scenario, protocol, seed)): (protocol, seed)
            for protocol, seed in jobs
        }
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            on_progress(len(found), len(jobs))
    rows: list[Row] = []
    for metric in METRICS:
        columns = {p: [found[p, seed][metric] for seed in seeds] for p in protocols}
        if any(value is None for values in columns.values() for value in values):
            continue  # nobody has a deadline, or nobody looks at the images
        first = [float(value or 0.0) for value in columns[protocols[0]]]
        for protocol in protocols:
            values = [float(value or 0.0) for value in columns[protocol]]
            gaps = [a - b for a, b in zip(values, first, strict=True)]
            other = protocol != protocols[0]
            rows.append(
                Row(
                    metric,
                    protocol,
                    values,
                    estimate(values),
                    estimate(gaps) if other else None,
                    sum(gap < 0.0 for gap in gaps) if other else None,
                )
            )
    return Comparison(scenario.name, list(seeds), list(protocols), rows)


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean and the half width of its confidence interval; two values at least."""
    from scipy.special import stdtrit

    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    t = float(stdtrit(n - 1, 0.5 + 0.5 * CONFIDENCE))
    return Estimate(mean, t * math.sqrt(variance / n))


def _variant(scenario: Scenario, protocol: str, seed: int) -> Scenario:
    """The scenario's own options stay with its own protocol."""
    own = protocol == scenario.protocol.kind
    choice = scenario.protocol if own else ProtocolChoice(kind=protocol)
    return scenario.model_copy(update={"protocol": choice, "seed": seed})


def _measure(scenario: Scenario) -> dict[str, float | int | None]:
    planned = plan(scenario, stopwatch=False)
    recorder = Recorder(planned, None)
    for step in play(planned):
        recorder.take(step)
    return recorder.metrics.summary()[ALL]


def _readable(metric: str, estimate: Estimate) -> str:
    sign = "-" if estimate.mean < 0.0 else ""
    return f"{sign}{readable(metric, abs(estimate.mean))} ± {readable(metric, estimate.half_width)}"
