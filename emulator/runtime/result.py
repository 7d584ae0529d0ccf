"""A run from Python: a scenario in, its result out.

    import emulator
    result = emulator.run("quickstart", seed=1, runtime="loop")
    result.summary["metrics"]["all"]["paoi_mean_s"]
    result.tasks.to_pandas()

`Session` is for whoever wants to see or change something on the way.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from emulator.checks import shipped, source
from emulator.results import tables
from emulator.runtime import folders
from emulator.runtime.connect import RunError
from emulator.runtime.recorder import Show
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario

if TYPE_CHECKING:
    import pyarrow as pa


class Result:
    """What a run left in its folder. `summary` is that of `summary.json`: verdict, causes, metrics.

    FileNotFoundError where the folder is not that of a run that ended.
    """

    def __init__(self, folder: Path | str, keeps: TemporaryDirectory[str] | None = None) -> None:
        self.folder = Path(folder)
        self._keeps = keeps  # the folder goes with the result
        self.summary: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())

    @cached_property
    def tasks(self) -> "pa.Table":
        """One row per task that ended: who, when it came by where (s), and how it ended."""
        return self._table("tasks")

    @cached_property
    def series(self) -> "pa.Table":
        """One row per sample of emulated time, `at_s`: ages and delays by group, and the rest."""
        return self._table("series")

    def _table(self, name: str) -> "pa.Table":
        from pyarrow import parquet

        return parquet.read_table(self.folder / f"{name}.parquet")

    def __repr__(self) -> str:
        reported = self.summary
        what = f"{reported['scenario']}, {reported['protocol']}, seed {reported['seed']}"
        return f"<Result of {what}: {reported['verdict']} after {reported['emulated_s']:g} s>"


def run(
    scenario: str | Path | Scenario,
    *,
    seed: int | None = None,
    protocol: str | None = None,
    duration_s: float | None = None,
    runtime: Literal["loop", "ray"] | None = None,
    changes: Mapping[str, Any] | None = None,
    out: Path | str | None = "runs",
    address: str | None = None,
    show: Show = lambda progress: None,
) -> Result:
    """Runs a scenario as `fresco run` does and returns what it left.

    `scenario`: a file, or the name of one that Fresco comes with. `changes` maps dotted paths to
    values, as `--set` does: {"users.0.count": 50}. `runtime` "loop" is virtual time, repeatable and
    as fast as possible; None is the scenario's own. The folder is made under `out`; None: the files
    go with the result. `show` is told of every step.

    LookupError: there is no such scenario. ScenarioError: it cannot be run. RunError: it could not
    start. A run that broke or failed is a result like others; its verdict says so.
    """
    given = {"seed": seed, "duration_s": duration_s, "runtime.kind": runtime}
    overrides = {path: value for path, value in given.items() if value is not None}
    if isinstance(scenario, Scenario):
        if overrides or changes or protocol:
            raise ValueError("a Scenario is run as it is; changes are for a file or a name")
        chosen = scenario
    else:
        path = shipped.find(str(scenario))
        chosen = source.read(path, overrides | dict(changes or {}), protocol).expecting()[0]
    files = TemporaryDirectory() if out is None else None
    folder = folders.new_folder(Path(files.name if files is not None else str(out)), chosen.name)
    session = Session(chosen, folder, latest=True, address=address)
    try:
        session.run(show)
    except RunError:
        folders.discard_unbegun(folder)
        raise
    tables.write(folder, session.metrics, csv=False)
    return Result(folder, files)
