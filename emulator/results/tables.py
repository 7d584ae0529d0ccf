"""The journal as tables for other tools: tasks and time series, as Parquet or CSV.

Read frame by frame and written in row groups, so memory does not grow with the run.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agents.messages import TaskEnd
from emulator.results.journal import read_frames
from emulator.results.metrics import Metrics
from models.files import whole

ROWS_PER_GROUP = 50_000
TASK_COLUMNS = {
    "user": str,
    "seq": int,
    "priority": int,
    "outcome": str,
    "reason": str,
    "server": str,
    "born_s": float,
    "due_s": float,
    "arrived_s": float,
    "started_s": float,
    "finished_s": float,
    "ended_s": float,
    "attempts": int,
    "correct": bool,
}


def write(folder: Path, metrics: Metrics, csv: bool) -> None:
    """Writes `tasks` and `series` into a run folder as Parquet; with `csv` as CSV too."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    tasks = pa.schema([(name, kinds[kind]) for name, kind in TASK_COLUMNS.items()])
    _write(folder / "tasks", tasks, _task_batches(folder, tasks), csv)
    series = metrics.series
    columns = {"at_s": list(series.at_s), **series.columns}
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    _write(folder / "series", table.schema, iter(table.to_batches()), csv)


def _task_batches(folder: Path, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    rows: list[dict[str, object]] = []
    for frame in read_frames(folder):
        rows += (_row(record) for record in frame.records if isinstance(record, TaskEnd))
        if len(rows) >= ROWS_PER_GROUP:
            yield pa.RecordBatch.from_pylist(rows, schema)
            rows = []
    yield pa.RecordBatch.from_pylist(rows, schema)


def _row(end: TaskEnd) -> dict[str, object]:
    values = {name: getattr(end, name) for name in TASK_COLUMNS}
    # What never happened is empty in a table, not NaN; a deadline of infinity is none.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _write(path: Path, schema: Any, batches: Iterator[Any], csv: bool) -> None:
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    kinds = {".parquet": parquet.ParquetWriter, ".csv": arrow_csv.CSVWriter}
    with ExitStack() as files:
        writers = [
            files.enter_context(kind(files.enter_context(whole(path.with_suffix(suffix))), schema))
            for suffix, kind in kinds.items()
            if csv or suffix != ".csv"
        ]
        for batch in batches:
            for writer in writers:
                writer.write_batch(batch)


def thin(values: Sequence[float | None], count: int) -> list[float | None]:
    """Averages neighbours so that at most `count` values are left; None where all are None."""
    size = math.ceil(len(values) / count)
    if size <= 1:
        return list(values)
    thinned: list[float | None] = []
    for first in range(0, len(values), size):
        seen = [value for value in values[first : first + size] if value is not None]
        thinned.append(sum(seen) / len(seen) if seen else None)
    return thinned
