"""What a user types and reads: exit statuses, hints, the run folder, the Prometheus page."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import PATIENCE_S, UNHURRIED
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parent.parent
FRESCO = [sys.executable, "-m", "emulator"]
QUICK = ["run", "quickstart", "--runtime", "loop"]


def fresco(*words: str) -> subprocess.CompletedProcess[str]:
    command = [*FRESCO, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S)


def test_the_same_seed_gives_the_same_digest_and_a_whole_folder(tmp_path: Path) -> None:
    words = [*QUICK, "--duration", "5", "--json", "--csv", "--out", str(tmp_path)]
    first, second = (fresco(*words, "--seed", "1") for _ in range(2))
    other = fresco(*words, "--seed", "2")

    summaries = [json.loads(done.stdout) for done in (first, second, other)]
    digests = [summary["digest"] for summary in summaries]
    assert digests[0] == digests[1] != digests[2]
    folder = Path(summaries[2]["folder"])
    assert (tmp_path / "latest").resolve() == folder.resolve()
    assert {file.name for file in folder.iterdir()} == {
        "events.jsonl", "journal.msgpack", "report.html", "scenario.yaml", "series.csv",
        "series.parquet", "summary.json", "tasks.csv", "tasks.parquet",
    }  # fmt: skip


def test_a_failed_expectation_exits_1(tmp_path: Path) -> None:
    expect = 'expect=[{"metric": "aoi_mean_s", "below": 0.001}]'

    done = fresco(*QUICK, "--duration", "2", "-s", expect, "--out", str(tmp_path))

    assert done.returncode == 1
    assert "aoi_mean_s of all is" in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["run", "quickstrat"], "did you mean 'quickstart'?"),
        (["run", "quickstart", "-s", "seed"], "expected PATH=VALUE"),
        (["run", "quickstart", "--paced"], "--paced is for the loop"),
        ([*QUICK, "--address", "auto"], "--address needs the Ray runtime"),
        (["compare", "quickstart", "-P", "random,shortst-wait"], "did you mean 'shortest-wait'?"),
        (["report", "docs"], "is no run folder"),
    ],
)
def test_a_slip_is_answered_with_a_hint_and_exit_2(words: list[str], text: str) -> None:
    done = fresco(*words)

    assert done.returncode == 2
    assert text in done.stderr


def test_prometheus_reads_the_page_while_the_run_goes_on(tmp_path: Path) -> None:
    words = [*QUICK, "--paced", "--duration", "200", "--metrics-port", "0", *UNHURRIED]
    words += ["--out", str(tmp_path)]
    running = subprocess.Popen(
        [*FRESCO, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        url = next(line for line in lines if line.startswith("metrics:")).split()[1]
        next(line for line in lines if "PAoI" in line)  # a result is there

        with urllib.request.urlopen(url, timeout=10) as page:
            text = page.read().decode()
    finally:
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=PATIENCE_S)

    families = {family.name: family for family in text_string_to_metric_families(text)}
    ended = sum(
        sample.value for sample in families["fresco_tasks"].samples if "total" in sample.name
    )
    assert ended > 0
    labels = {sample.labels["group"] for sample in families["fresco_peak_aoi_seconds"].samples}
    assert labels == {"medic", "camera"}
    # And an interrupt ends the run with what it has.
    assert running.returncode == 130
    assert "interrupted by the user" in out
    assert "report:" in out


def test_check_and_help_start_without_torch_and_ray() -> None:
    code = (
        "import sys\n"
        "from emulator.cli.main import fresco\n"
        "fresco(['check', 'quickstart'], standalone_mode=False)\n"
    )
    watch = f"import sys\ntry:\n exec({code!r})\nexcept SystemExit: pass\n"
    seen = "print([m for m in ('torch', 'ray') if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", watch + seen], capture_output=True, text=True, cwd=ROOT
    )

    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_one_of_a_thing_is_said_in_the_singular() -> None:
    shown = fresco("check", "quickstart", "-s", "base_stations.0.count=1").stdout

    assert "8 users, 1 base station, 3 servers;" in shown
    assert "1 fault\n" in shown


def test_compare_has_one_way_to_name_protocols() -> None:
    refused = fresco("compare", "quickstart", "-P", "random", "-p", "random")

    assert refused.returncode == 2
    assert "No such option" in refused.stderr


def test_doctor_and_schema_answer() -> None:
    assert fresco("doctor").returncode == 0
    assert "duration_s" in json.loads(fresco("schema").stdout)["properties"]


def test_sweep_draws_the_curves_of_one_field(tmp_path: Path) -> None:
    values = "protocol.V=5,40"
    args = ["sweep", "todg", "--set", values, "-s", "duration_s=6", "--seeds", "2"]
    done = fresco(*args, "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    folder = tmp_path / "todg-sweep" / "latest"
    page = (folder / "sweep.html").read_text()
    assert 'aria-label="utility against tasks under way, mean"' in page
    rows = (folder / "sweep.csv").read_text().splitlines()
    backlog = {r.split(",")[0]: float(r.split(",")[2]) for r in rows if ",backlog_mean," in r}
    assert backlog["5"] < backlog["40"]


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ((), "name one field with several values"),
        (("seed=1,2", "protocol.V=3,4"), "name one field with several values"),
        (("protocol.V=10,300",), "V = 300 cannot keep every deadline"),
    ],
)
def test_sweep_says_what_is_wrong_before_it_runs(sets: tuple[str, ...], says: str) -> None:
    done = fresco("sweep", "todg", *(part for each in sets for part in ("--set", each)))

    assert done.returncode == 2
    assert says in done.stderr
