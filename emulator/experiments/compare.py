"""Protocols against each other on one scenario, paired by seed, in virtual time.

At one seed every protocol meets the same arrivals, channels and faults, so the difference of two
protocols varies much less than either: its confidence interval is the one to read.
"""

import csv
import io
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from html import escape
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from rich.console import JustifyMethod
from rich.table import Table

from emulator import interrupts
from emulator.build.planning import plan
from emulator.results.journal import Log, Unwritten
from emulator.results.measures import METRICS
from emulator.results.stats import ALL
from emulator.results.units import readable
from emulator.runtime.loop import play
from emulator.runtime.recorder import Recorder
from emulator.runtime.session import INTERRUPTED
from emulator.scenario.schema import Scenario
from emulator.views.html import page
from emulator.views.html import table as html_table
from models.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARED = [metric for metric in METRICS.values() if metric.is_compared]
WORKERS = 2  # each run is one core's work
CONFIDENCE = 0.95
ROUNDING = 1e-9  # relative
Progress = Callable[[int, int], None]
"""Is told how many runs of how many are done."""
Job = tuple[str, int]  # protocol or other variant, seed
Summary = dict[str, float | int | None]
Keep = Callable[[Job, Summary], None]
"""Is told what each run found, as soon as it has ended."""


class Estimate(Struct, frozen=True):
    """A mean over seeds with the half width of its 95 % confidence interval (Student t)."""

    mean: float
    half_width: float


class Row(Struct, frozen=True):
    """One metric of one protocol. `difference` is to the first protocol, paired by seed; `wins`
    counts the seeds at which this protocol is better. Both are None for the first itself."""

    metric: str
    protocol: str
    values: list[float]
    estimate: Estimate
    difference: Estimate | None
    wins: int | None

    @property
    def differs(self) -> bool:
        """Says whether the interval of the difference leaves out zero."""
        gap = self.difference
        return gap is not None and abs(gap.mean) > gap.half_width


class Comparison(Struct, frozen=True):
    """What `fresco compare` found at the seeds whose runs all ended; `cause` says why not at all
    that were asked for. `left_out`: metrics that only some of the runs have a value of, such as
    the age where no result ever came."""

    scenario: str
    seeds: list[int]
    protocols: list[str]
    rows: list[Row]
    left_out: list[str]
    asked: int = 0
    cause: str = ""

    def table(self, variant: str = "protocol") -> Table:
        """Returns the table for a terminal; `variant` is what differs from run to run."""
        counted = f"{len(self.seeds)} of {self.asked}" if self.cause else f"{len(self.seeds)}"
        title = f"{self.scenario}: {counted} seeds, mean ± half of the 95 % interval"
        missing = ", ".join(METRICS[metric].label for metric in self.left_out)
        caption = f"not in every run: {missing}" if missing else None
        table = Table(title=title, title_justify="left", title_style="bold", caption=caption)
        for head in ("metric", variant, "mean", f"minus {self.protocols[0]}, paired", "better"):
            justify: JustifyMethod = "left" if head in ("metric", variant) else "right"
            table.add_column(head, justify=justify, no_wrap=True)
        before = ""
        for row in self.rows:
            if row.metric != before and before:
                table.add_section()
            table.add_row(
                METRICS[row.metric].label if row.metric != before else "",
                *self._cells(row),
                style="dim" if row.difference is not None and not row.differs else "",
            )
            before = row.metric
        return table

    def as_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def write(self, folder: Path, formats: Sequence[str] = ()) -> None:
        """Writes compare.json and compare.html; its figures too, as files of these formats."""
        from emulator.views import figures

        write_whole(folder / "compare.json", msgspec.json.format(msgspec.json.encode(self)))
        found = self.figures()
        write_whole(folder / "compare.html", self._page(found))
        figures.save(folder, found, formats)

    def figures(self) -> "dict[str, Figure]":
        """Draws a bar with its interval for each protocol; returns a figure per metric."""
        from emulator.views import plots

        means: dict[str, dict[str, tuple[float, float, str]]] = {}
        for row in self.rows:
            found, text = row.estimate, self._cells(row)[1]
            means.setdefault(row.metric, {})[row.protocol] = (found.mean, found.half_width, text)
        shown = ((METRICS[name], each) for name, each in means.items())
        return {metric.name: plots.bars(metric.label, metric.unit, each) for metric, each in shown}

    def _page(self, found: "Mapping[str, Figure]") -> str:
        """Returns a card per metric: bars with intervals, and the paired differences below."""
        from emulator.views import figures

        cards = ""
        for metric, figure in ((METRICS[name], figure) for name, figure in found.items()):
            rows = [row for row in self.rows if row.metric == metric.name]
            said = "; ".join(" ".join(self._cells(row)[:2]) for row in rows)
            picture = figures.embedded(figure, f"{metric.label}: {said}")
            gaps = [
                [f"minus {self.protocols[0]}, paired", "", "better", ""],
                *(
                    [row.protocol, *self._cells(row)[2:], "" if row.differs else "may be chance"]
                    for row in rows
                    if row.difference is not None
                ),
            ]
            cards += (
                f'<section class="card"><h2>{escape(metric.label)}</h2>'
                f'<p class="soft">{escape(metric.about)}</p>'
                f"{picture}{html_table(gaps) if len(gaps) > 1 else ''}</section>"
            )
        seeds = ", ".join(map(str, self.seeds))
        missing = ", ".join(METRICS[metric].label for metric in self.left_out)
        left = f"; not in every run: {missing}" if missing else ""
        alert = f'<p class="alert" role="alert">{escape(self.cause)}</p>' if self.cause else ""
        body = (
            f"<h1>{escape(self.scenario)}: {escape(' or '.join(self.protocols))}</h1>{alert}"
            f'<p class="soft">Means with their 95 % confidence intervals (Student t) over the '
            f"seeds {seeds}; at each seed all protocols meet the same arrivals, channels and "
            f'faults{escape(left)}.</p><div class="cards">{cards}</div>'
        )
        return page(f"{self.scenario}, compared", body, styles=("report.css",))

    def _cells(self, row: Row) -> tuple[str, str, str, str]:
        """Words a row: protocol, mean, difference, at how many seeds it is better."""
        return (
            row.protocol,
            said(row.metric, row.estimate),
            "" if row.difference is None else said(row.metric, row.difference),
            "" if row.wins is None else f"{row.wins}/{len(self.seeds)}",
        )


class Lines:
    """compare.csv: a line per metric, protocol and seed, written when the run has ended."""

    def __init__(self, folder: Path) -> None:
        self._log = Log(folder / "compare.csv")
        self._append([("metric", "protocol", "seed", "value")])

    def take(self, job: Job, summary: Summary) -> None:
        values = ((metric.name, summary[metric.name]) for metric in COMPARED)
        self._append([(metric, *job, value) for metric, value in values if value is not None])

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        self._log.append(text.getvalue().encode())


def measure(
    name: str,
    variants: Mapping[str, Scenario],
    seeds: Sequence[int],
    on_progress: Progress,
    keep: Keep = lambda job, summary: None,
) -> Comparison:
    """Runs every variant at every seed; the first variant is what others are compared with.

    Where that is interrupted, or a run breaks, it compares at the seeds that are complete. Raises
    ValueError for fewer than two seeds: one value has no interval.
    """
    if len(seeds) < 2:
        raise ValueError(f"{len(seeds)} seed(s) give no confidence interval; name two at least")
    protocols = list(variants)
    jobs = {  # seed by seed, so that whatever ends it leaves pairs
        (label, seed): variant.model_copy(update={"seed": seed})
        for seed in seeds
        for label, variant in variants.items()
    }
    found, cause = _measure_all(jobs, on_progress, keep)
    done = [seed for seed in seeds if all((p, seed) in found for p in protocols)]
    rows: list[Row] = []
    left_out: list[str] = []
    for metric in (each.name for each in COMPARED if len(done) > 1):
        columns = {p: [found[p, seed][metric] for seed in done] for p in protocols}
        complete = {p: [v for v in values if v is not None] for p, values in columns.items()}
        if not any(complete.values()):
            continue  # nobody has a deadline, or nobody looks at the images
        if any(len(values) < len(done) for values in complete.values()):
            left_out.append(metric)
            continue
        first = complete[protocols[0]]
        for protocol, values in complete.items():
            gaps = [a - b for a, b in zip(values, first, strict=True)]
            other = protocol != protocols[0]
            rows.append(
                Row(
                    metric,
                    protocol,
                    values,
                    estimate(values),
                    estimate(gaps) if other else None,
                    sum(map(partial(is_better, metric), gaps)) if other else None,
                )
            )
    return Comparison(name, done, protocols, rows, left_out, len(seeds), cause)


def is_better(metric: str, gap: float) -> bool:
    """Says whether a protocol is better where it has `gap` more of a metric than another one."""
    return gap > 0.0 if METRICS[metric].more_is_better else gap < 0.0


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean and the half width of its confidence interval; two values at least."""
    from scipy.special import stdtrit

    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    t = float(stdtrit(n - 1, 0.5 + 0.5 * CONFIDENCE))
    return Estimate(mean, t * math.sqrt(variance / n))


def _measure_all(
    jobs: Mapping[Job, Scenario], on_progress: Progress, keep: Keep
) -> tuple[dict[Job, Summary], str]:
    """Shares the runs out to processes; returns what ended, and why not all did."""
    found: dict[Job, Summary] = {}
    cause, job = "", next(iter(jobs))
    # Not forked: a child of a process that has run torch with several threads hangs in torch.
    context = get_context("spawn")
    end, leash = context.Pipe(duplex=False)
    with interrupts.kept_from_children():  # which begins multiprocessing's own helper
        pool = ProcessPoolExecutor(WORKERS, context, initializer=_follow, initargs=(end,))
    with pool:
        with interrupts.kept_from_children():
            futures = {pool.submit(_measure, chosen): job for job, chosen in jobs.items()}
        interrupts.on_first(interrupts.interrupt)
        try:
            for future in as_completed(futures):
                with interrupts.held():
                    job = futures[future]
                    found[job] = future.result()
                    keep(job, found[job])
                    on_progress(len(found), len(jobs))
        except KeyboardInterrupt:
            cause = INTERRUPTED
        except Unwritten as error:
            cause = str(error)
        except Exception as error:
            cause = f"{job[0]} at seed {job[1]} broke: {type(error).__name__}: {error}"
        finally:
            interrupts.finish()
            if cause:
                pool.shutdown(wait=False, cancel_futures=True)
                leash.close()
    leash.close()
    return found, cause


def _follow(end: Connection) -> None:
    """Has this process end as soon as nobody holds the leash: its parent let go of it, or died."""

    def wait() -> None:
        with suppress(EOFError, OSError):
            end.recv_bytes()
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def _measure(scenario: Scenario) -> Summary:
    planned = plan(scenario, stopwatch=False)
    recorder = Recorder(planned, None)
    for step in play(planned):
        recorder.take(step)
    return recorder.metrics.summary()[ALL]


def said(metric: str, estimate: Estimate) -> str:
    """Words a mean and the half width of its interval."""
    sign = "-" if estimate.mean < 0.0 else ""
    half_width = estimate.half_width
    if half_width < ROUNDING * abs(estimate.mean):
        half_width = 0.0  # sums of floats
    unit = METRICS[metric].unit
    return f"{sign}{readable(unit, abs(estimate.mean))} ± {readable(unit, half_width)}"
