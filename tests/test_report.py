"""The report and the tables say what the journal says, and nothing leaves the page."""

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from conftest import Spec, distribution, scenario, server_group, user_group

from agents.messages import TaskEnd
from emulator.results import journal, tables
from emulator.results.measures import METRICS
from emulator.results.units import readable
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.views import report
from emulator.views.html import STATIC

GROUPS = ("urgent", "calm")
SPEC: Spec = scenario(
    about="<script>alert('no')</script>",
    duration_s=20.0,
    users=[
        user_group(
            name="urgent", count=2, deadline_s=0.05, arrival={"kind": "poisson", "rate_hz": 5.0}
        ),
        user_group(name="calm", count=3, priority=1),
    ],
    servers=[server_group(distribution("exponential", 0.03))],
    channel={"kind": "bernoulli", "loss": 0.2, "rate_bps": 1.0e5},
    faults=[{"at_s": 5.0, "for_s": 5.0, "type": "blackout", "target": "bs-0"}],
)


def play_into(folder: Path, spec: Spec) -> Path:
    """Leaves in the folder what `fresco run` does."""
    chosen = Scenario.model_validate(spec)
    Session(chosen, folder).run()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return play_into(tmp_path_factory.mktemp("run"), SPEC)


def ends(folder: Path) -> list[TaskEnd]:
    return [r for f in journal.read_frames(folder) for r in f.records if isinstance(r, TaskEnd)]


def test_folding_the_journal_again_gives_the_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())

    result = report.read(folder)

    assert result.metrics.summary() == summary["metrics"]
    assert result.metrics.balance() == summary["balance"]


def test_the_page_is_one_file_that_asks_nobody(folder: Path) -> None:
    page = report.write(folder, report.read(folder)).read_text()

    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "@import" not in page
    # uPlot's licence comment names its home; nothing else names a place on the network.
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {"https://github.com/leeoniya/uPlot"}
    assert page.count("<script") == 4  # the data, uPlot, axes.js, report.js
    assert "&lt;script&gt;alert" in page


def test_the_page_shows_the_numbers_and_the_fault(folder: Path) -> None:
    page = report.write(folder, report.read(folder)).read_text()
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])

    found = ends(folder)
    completed = [end for end in found if end.outcome == "completed"]
    assert f"<td>{len(completed)}</td>" in page
    lost = [sum(e.reason == "blackout" and e.user.startswith(g) for e in found) for g in GROUPS]
    cells = "".join(f"<td>{count}</td>" for count in (*lost, sum(lost)))
    assert f"<td>blackout</td>{cells}" in page
    assert data["bands"] == [{"from_s": 5.0, "to_s": 10.0, "label": "blackout bs-0"}]
    ages = data["panels"][0]
    assert [curve["label"] for curve in ages["series"]] == ["urgent", "calm", "all"]
    at_worst = max(range(len(ages["at"])), key=lambda i: ages["series"][0]["values"][i])
    assert 9.0 < ages["at"][at_worst] < 11.0  # the age is highest when the blackout ends


def test_the_policy_of_the_page_lets_its_own_scripts_run_and_no_other(folder: Path) -> None:
    page = report.write(folder, report.read(folder)).read_text()

    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    inside = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.DOTALL)
    digests = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
    assert sorted(re.findall(r"'sha256-([^']*)'", policy)) == sorted(digests)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_shows_every_number_of_the_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())

    page = report.write(folder, report.read(folder)).read_text()

    for group in ("urgent", "calm", "all"):
        for key, metric in METRICS.items():
            value = summary["metrics"][group][key]
            assert value is None or f"<td>{readable(metric.unit, value)}</td>" in page
    for found in summary["servers"].values():
        for key, value in found.items():
            assert f"<td>{readable(METRICS[key].unit, value)}</td>" in page
    for count in summary["balance"].values():
        assert f"<td>{count:,}</td>" in page


def test_no_curve_is_left_out_unsaid(tmp_path: Path) -> None:
    spec = SPEC | {
        "servers": [server_group(distribution("exponential", 0.03), count=9)],
        "duration_s": 2.0,
    }

    page = report.write(tmp_path, report.read(play_into(tmp_path, spec))).read_text()

    assert "and 3 more, not drawn" in page


def test_a_run_without_an_end_is_reported_as_broken(folder: Path, tmp_path: Path) -> None:
    for name in ("scenario.yaml", journal.NAME):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[: None if "y" in name else 9000])

    page = report.write(tmp_path, report.read(tmp_path)).read_text()

    assert "the driver ended before the run did" in page


def test_tables_hold_every_task(folder: Path) -> None:
    from pyarrow import csv, parquet

    tables.write(folder, report.read(folder).metrics, csv=True)

    found = ends(folder)
    for table in (
        parquet.read_table(folder / "tasks.parquet"),
        csv.read_csv(folder / "tasks.csv"),
    ):
        assert table.num_rows == len(found)
        assert sum(table["born_s"].to_pylist()) == pytest.approx(sum(e.born_s for e in found))
        assert table["due_s"].null_count == sum(e.user.startswith("calm") for e in found)
    series = parquet.read_table(folder / "series.parquet")
    assert series["at_s"][-1].as_py() == 20.0


def test_vendored_files_are_what_was_published() -> None:
    vendor = STATIC / "vendor"
    hashes = json.loads((vendor / "VENDOR.json").read_text())["sha256"]

    assert {p.name for p in vendor.iterdir()} == {*hashes, "VENDOR.json"}
    for name, expected in hashes.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == expected
