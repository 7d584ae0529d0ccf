"""Runs from Python: a session step by step, and what a run leaves."""

import gc
import io
import json
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from conftest import Spec, distribution, perform, scenario, server_group, user_group
from rich.console import Console

import emulator
from agents.messages import TaskEnd
from emulator.checks import source
from emulator.checks.fault_words import Refused
from emulator.live import replay
from emulator.runtime.session import LEFT
from emulator.scenario.schema import Scenario
from emulator.views.terminal import Display

LOSS = {"type": "loss", "target": "user-*", "p": 0.8, "for_s": 3.0}


def lossy() -> Spec:
    return scenario(
        duration_s=12.0,
        protocol={"kind": "random"},
        users=[user_group(count=3, arrival={"kind": "poisson", "rate_hz": 5.0})],
        servers=[server_group(distribution("exponential", 0.02))],
        channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 1.0e6},
        runtime={},
    )


def prepared(folder: Path | None = None) -> emulator.Session:
    chosen = Scenario.model_validate(lossy())
    return emulator.Session(chosen, folder)


def ends(session: emulator.Session) -> list[TaskEnd]:
    """Drives a session to its end; injects a loss after 4 s."""
    found = []
    asked = False
    for progress in session:
        found += [each for each in progress.step.records if isinstance(each, TaskEnd)]
        if progress.step.now_s >= 4.0 and not asked:
            session.inject(LOSS)
            asked = True
    return found


def test_a_run_says_how_many_seconds_are_left() -> None:
    session = prepared()
    said = io.StringIO()
    with Display(Scenario.model_validate(lossy()), Console(file=said, width=200)).open() as show:
        for progress in session:
            if progress.step.now_s >= 3.0:
                break
        show(msgspec.structs.replace(progress, speed=3.0))  # emulated seconds in one of the wall

    left_s = (12.0 - progress.step.now_s) / 3.0
    assert f"/ 12 s  {left_s:.0f} s left" in said.getvalue()


def test_step_by_step_and_in_one_go_are_the_same_run() -> None:
    one, steps = prepared(), prepared()

    summary = one.run()
    assert [progress.step.now_s for progress in steps][-1] == 12.0

    assert steps.summary["digest"] == summary["digest"] == perform(lossy()).digest
    assert summary["verdict"] == "good"


def test_a_fault_injected_between_steps_is_that_fault_in_the_scenario(tmp_path: Path) -> None:
    session = prepared(tmp_path)
    found = ends(session)

    (known,) = session.steering.faults.values()
    assert known.applied is not None
    assert 4.0 < known.applied.at_s <= 4.002
    spec = lossy() | {"faults": [LOSS | {"at_s": known.applied.at_s}]}
    assert found == [each for each in perform(spec).records if isinstance(each, TaskEnd)]
    again = perform(replay.export(tmp_path).model_dump())
    assert found == [each for each in again.records if isinstance(each, TaskEnd)]
    lost = Counter(int(each.born_s // 4.0) for each in found if each.outcome != "completed")
    assert lost[1] > 3 * max(lost[0], 1)  # 80 % instead of 10 % for three of the four seconds


def test_what_is_injected_repeats_and_can_be_healed() -> None:
    assert ends(prepared()) == ends(prepared())
    session = prepared()
    for progress in session:
        match round(progress.step.now_s, 3):
            case 4.0:
                session.inject(LOSS | {"for_s": 100.0})
            case 6.0:
                session.heal()
    (known,) = session.steering.faults.values()
    assert known.state == "healed"
    with pytest.raises(Refused, match="p"):
        prepared().inject(LOSS | {"p": 2.0})


def test_a_session_that_is_left_or_stopped_is_summed_up(tmp_path: Path) -> None:
    left = prepared(tmp_path)
    for progress in left:
        if progress.step.now_s > 3.0:
            break
    gc.collect()
    reported = json.loads((tmp_path / "summary.json").read_text())
    assert (reported["verdict"], reported["causes"]) == ("interrupted", [LEFT])
    assert 3.0 < reported["emulated_s"] < 4.0

    stopped = prepared()
    for progress in stopped:
        if progress.step.now_s > 3.0:
            stopped.stop("enough")
    assert stopped.summary["causes"] == ["enough at 3.051 s"]
    assert 3.0 < stopped.summary["emulated_s"] < 4.0
    assert stopped.summary["balance"]["lost"] == 0


def test_a_session_runs_once_and_virtual_time_needs_no_pause() -> None:
    session = prepared()
    for progress in session:
        if progress.step.now_s == 4.0:
            with pytest.raises(Refused, match="stands still between two steps"):
                session.steering.pause()
    assert session.summary["verdict"] == "good"
    with pytest.raises(RuntimeError, match="runs once"):
        session.run()


def test_a_result_has_the_summary_and_tables_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"users.0.count": 3}
    seen: list[float] = []

    result = emulator.run(
        "rayleigh", seed=4, duration_s=8.0, changes=changes,
        show=lambda progress: seen.append(progress.step.now_s),
    )  # fmt: skip

    balance = result.summary["balance"]
    outcomes = Counter(result.tasks["outcome"].to_pylist())
    assert outcomes["completed"] == balance["completed"] > 0
    assert result.tasks.num_rows == balance["generated"] - balance["in_flight"]
    assert result.series["at_s"].to_pylist() == seen
    assert result.folder.resolve() == (Path("runs") / "latest").resolve()
    assert "seed 4: good after 8 s" in repr(result)
    assert emulator.Result(result.folder).summary == result.summary
    again = emulator.run("rayleigh", seed=4, duration_s=8.0, changes=changes, out=None)
    assert again.summary["digest"] == result.summary["digest"]


def test_users_whose_results_stopped_are_named_in_a_warning() -> None:
    dark = {"type": "blackout", "target": "user-1", "at_s": 6.0}
    session = emulator.Session(Scenario.model_validate(lossy() | {"faults": [dark]}))

    (warning,) = session.run()["warnings"]

    assert re.match(r"user-1 got no result in the last [56]\.\d+ s; ", warning)
    assert emulator.Session(Scenario.model_validate(lossy())).run()["warnings"] == []


def test_without_a_place_the_files_go_with_the_result() -> None:
    result = emulator.run("rayleigh", duration_s=6.0, out=None)
    folder = result.folder
    assert result.tasks.num_rows > 0
    assert folder.is_dir()

    del result
    gc.collect()

    assert not folder.exists()


def test_the_lines_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    lines = readme.partition("```python\n")[2].partition("```")[0]

    exec(compile(lines, "README.md", "exec"), {})

    peak_s, tasks = capsys.readouterr().out.split()
    assert 0.1 < float(peak_s) < 2.0
    assert int(tasks) > 1000


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="did you mean 'rayleigh'"):
        emulator.run("raylegh", out=tmp_path)
    with pytest.raises(source.ScenarioError, match="sed"):
        emulator.run("rayleigh", changes={"sed": 1}, out=tmp_path)
    chosen = Scenario.model_validate(lossy())
    with pytest.raises(ValueError, match="as it is"):
        emulator.run(chosen, seed=3, out=tmp_path)
    on_ray = Scenario.model_validate(lossy() | {"runtime": {"kind": "ray"}})
    with pytest.raises(ValueError, match="paced"):
        emulator.Session(on_ray, paced=True)
    assert list(tmp_path.iterdir()) == []
