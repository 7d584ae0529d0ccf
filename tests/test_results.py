"""Results that cannot be written, folders that are left, which run is meant: nothing is lost."""

import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    LATENESS_MAX_S,
    Spec,
    Started,
    scenario,
    user_group,
    wait_until,
    written,
)

from emulator.results import journal
from emulator.results.journal import Frame, Unwritten, Writer
from emulator.runtime import folders
from models.files import whole, write_whole

REFUSED, BROKEN = 2, 3


def short(**changes: Any) -> Spec:
    return scenario(**{"name": "short", "duration_s": 2.0} | changes)


def paced(name: str = "paced") -> Spec:
    users = [user_group(arrival={"kind": "periodic", "period_s": 0.05})]
    runtime = {"lateness_max_s": LATENESS_MAX_S}
    return short(name=name, duration_s=1000.0, users=users, runtime=runtime)


LIVE = ("--runtime", "loop", "--paced", "--dashboard-port", "0")


def fresco(folder: Path, *words: str, **how: Any) -> tuple[int, str]:
    with Started(folder, *words, **how) as done:
        return done.status(), done.said


VERBS = {
    "run": ("run", "short.yaml", "--runtime", "loop"),
    "compare": ("compare", "short.yaml", "-P", "random,nearest", "--seeds", "2"),
    "sweep": ("sweep", "short.yaml", "--set", "users.0.count=1,2", "--seeds", "2"),
    "distill": ("distill", "--preset", "digits-xs", "--epochs", "1"),
    "profile": ("profile", "digits-xs", "--rounds", "8", "--batch", "1"),
}


def no_room() -> None:
    """As on a full disk: no file of this process grows past a few bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))


@pytest.mark.parametrize("verb", list(VERBS))
@pytest.mark.parametrize(
    ("out", "says", "how"),
    [
        ("afile", "afile is a file", {}),
        ("afile/below", "afile is a file", {}),
        ("/proc/nowhere", "No such file or directory", {}),  # nobody writes there, nor does root
        ("out", "File too large; free some room", {"preexec_fn": no_room}),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_starts(
    verb: str, out: str, says: str, how: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "afile").touch()
    written(tmp_path, short())
    before = set(tmp_path.iterdir())
    words = (*VERBS[verb], "--out", out)
    if verb == "profile":  # its place is fixed
        words = VERBS[verb]
        if out != "out":
            (tmp_path / "runs").touch()
            says = "runs is a file"
            before.add(tmp_path / "runs")

    status, said = fresco(tmp_path, *words, **how)

    assert status == REFUSED, said
    assert "results cannot be written to" in said
    assert says in said
    assert "Traceback" not in said
    assert not any(word in said for word in ("PAoI", "runs,", "epoch 1", "E[S]"))
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {path for path in before if path.is_file()}


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_disk_that_fills_up_ends_the_run_as_broken_and_keeps_what_was_written(
    tmp_path: Path,
) -> None:
    with Started(tmp_path, "run", written(tmp_path, paced()), *LIVE) as running:
        running.wait_for("PAoI")
        folder = (tmp_path / "runs" / "latest").resolve()
        full = size_of(folder / journal.NAME) + 100
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))

        assert running.status() == BROKEN, running.said
    assert "journal.msgpack could not be written any further: File too large" in running.said
    assert "Traceback" not in running.said
    frames = list(journal.read_frames(folder))
    assert frames
    whole_bytes = sum(4 + len(journal.encode(frame)) for frame in frames)
    assert size_of(folder / journal.NAME) == whole_bytes
    assert not list(folder.glob("*.new"))
    status, said = fresco(tmp_path, "report")  # now there is room again
    assert status == 0, said
    assert "broken" in (folder / "report.html").read_text()
    assert fresco(tmp_path, "fault", "export")[0] == 0


def test_a_disk_that_fills_up_ends_a_comparison_with_what_it_has(tmp_path: Path) -> None:
    name = written(tmp_path, short(duration_s=300.0))
    words = ("compare", name, "-P", "random,nearest", "--seeds", "500")

    def lines() -> list[Path]:
        found = list(tmp_path.glob("runs/short-compare/2*/compare.csv"))
        return [path for path in found if path.read_text().count("aoi_mean_s") >= 8]

    with Started(tmp_path, *words) as comparing:
        wait_until(lambda: bool(lines()), lambda: comparing.said)
        full = size_of(lines()[0]) + 10
        resource.prlimit(comparing.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))

        assert comparing.status() == BROKEN, comparing.said
    assert "of 500 seeds" in comparing.said
    assert "delay, mean" in comparing.said
    assert "File too large" in comparing.said
    assert "Traceback" not in comparing.said
    assert lines()[0].read_text().endswith("\n")


def test_a_refused_run_leaves_no_folder_and_hides_none(tmp_path: Path) -> None:
    name = written(tmp_path, short())
    assert fresco(tmp_path, "run", name, "--runtime", "loop", "-q")[0] == 0
    before = sorted(tmp_path.glob("runs/**/*"))
    latest = (tmp_path / "runs" / "latest").resolve()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (
            ("--runtime", "loop", "--metrics-port", port),
            ("--runtime", "loop", "--paced", "--dashboard-port", port),
            ("--runtime", "loop", "--paced", "--dashboard-host", "0.0.0.0"),
            ("--runtime", "loop", "-s", "users.0.count=0"),
        ):
            status, said = fresco(tmp_path, "run", name, *words)
            assert status == REFUSED, said

    assert sorted(tmp_path.glob("runs/**/*")) == before
    assert fresco(tmp_path, "compare", name, "-P", "random,nearest", "--seeds", "2")[0] == 0
    assert (tmp_path / "runs" / "latest").resolve() == latest
    assert fresco(tmp_path, "report")[0] == 0
    assert "faults" in fresco(tmp_path, "fault", "export")[1]
    status, said = fresco(tmp_path, "fault", "export", "runs/short-compare/latest")
    assert status == REFUSED
    assert "no run folder" in said


def test_verbs_find_the_run_that_goes_on_and_ask_where_there_are_several(tmp_path: Path) -> None:
    short_name = written(tmp_path, short())
    with Started(tmp_path, "run", written(tmp_path, paced()), *LIVE) as running:
        running.wait_for("PAoI")
        assert fresco(tmp_path, "run", short_name, "--runtime", "loop", "-q")[0] == 0
        assert fresco(tmp_path, "run", "nothing.yaml")[0] == REFUSED
        status, said = fresco(tmp_path, "status")
        assert (status, said.partition(":")[0]) == (0, "paced")
        assert fresco(tmp_path, "fault", "inject", "loss", "bs-0", "p=0.5")[0] == 0
        # The finished one is what the other verbs mean.
        assert (tmp_path / "runs" / "latest").resolve().parent.name == "short"
        assert "name: short" in fresco(tmp_path, "fault", "export")[1]

        with Started(tmp_path, "run", written(tmp_path, paced("other")), *LIVE) as another:
            wait_until(lambda: len(folders.going_on(tmp_path / "runs")) == 2, lambda: another.said)
            status, said = fresco(tmp_path, "status")
            assert status == REFUSED
            assert "2 runs are in progress here; say which:" in said
            which = [line.split()[1] for line in said.splitlines() if "--run " in line]
            assert [name.partition("/")[0] for name in which] == ["other", "paced"]
            for name in (*which, f"runs/{which[0]}"):
                status, said = fresco(tmp_path, "status", "--run", name)
                assert (status, said.partition(":")[0]) == (0, Path(name).parent.name)
            another.process.send_signal(signal.SIGKILL)
            another.status()
        # A killed one leaves its file, and is not taken for alive.
        assert len(list(tmp_path.glob("runs/*/2*/control.json"))) == 2
        status, said = fresco(tmp_path, "status", "--run", which[0])
        assert (status, "no run is in progress in" in said) == (REFUSED, True)
        assert fresco(tmp_path, "stop")[0] == 0
        assert running.status() == 130
    status, said = fresco(tmp_path, "status")
    assert (status, "no run is in progress here" in said) == (REFUSED, True)


def test_a_piece_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    """In a process of its own, as the limit is of a process; the journal goes on afterwards."""
    child = os.fork()
    if child == 0:  # no exception may come out of here
        try:
            writer = Writer(tmp_path)
            writer.append(Frame(1.0, []))
            digest = writer.digest
            hard = resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_of(tmp_path / journal.NAME) + 5, hard))
            with pytest.raises(Unwritten, match="File too large"):
                writer.append(Frame(2.0, []))
            assert writer.digest == digest
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            writer.append(Frame(3.0, []))
        except BaseException:
            os._exit(1)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [frame.now_s for frame in journal.read_frames(tmp_path)] == [1.0, 3.0]


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_whole(path, "old")

    def fail() -> None:
        with whole(path) as fresh:
            fresh.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
