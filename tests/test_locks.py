"""What is installed: the lock files hold what is needed, torch comes from where it is asked for."""

import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / "deploy/install.sh"


def locked(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().split("\n") if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)  # no address, no build
    return {canonicalize_name(name): line for line in lines for name in [line.split("==")[0]]}


def needed(part: str) -> set[str]:
    """Follows what the installed distributions say they need, from the package with this part."""
    found, todo, seen = set(), [("fresco", frozenset({part}))], set()
    while todo:
        name, parts = entry = todo.pop()
        if entry in seen:
            continue
        seen.add(entry)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for each in map(Requirement, lines):
            asked = parts | {""}
            if each.marker is None or any(each.marker.evaluate({"extra": p}) for p in asked):
                found.add(canonicalize_name(each.name))
                todo.append((canonicalize_name(each.name), frozenset(each.extras)))
    return found - {"fresco"}


def test_each_lock_holds_what_its_part_needs_and_nothing_else() -> None:
    runtime, dev = locked("requirements.lock"), locked("requirements-dev.lock")

    assert needed("ort") == runtime.keys()
    assert needed("dev") - runtime.keys() == dev.keys()
    assert {"pytest", "mypy", "playwright"} <= dev.keys()
    assert {"torch", "ray"} <= runtime.keys()


# Stands in for Python: tells how pip was called; the index of $SILENT does not answer.
STAND_IN = """#!/bin/sh
echo "$*" >> "$TOLD"
case "$*" in *"--index-url $SILENT"*) exit 1 ;; esac
"""


def install(folder: Path, silent: str = "nothing", **environment: str) -> tuple[list[str], str]:
    """Returns how pip was called, and what the person was told."""
    python = folder / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k != "TORCH_INDEX"}
    done = subprocess.run(
        [INSTALL, python, ROOT / "requirements.lock"],
        env={**kept, **environment, "TOLD": str(folder / "reported"), "SILENT": silent},
        capture_output=True,
        text=True,
        check=True,
    )
    return (folder / "reported").read_text().splitlines(), done.stderr


@pytest.mark.parametrize(
    ("environment", "index"),
    [({}, r"https://\S+/cpu"), ({"TORCH_INDEX": "https://a/cu130"}, "https://a/cu130")],
)
def test_torch_comes_from_its_own_index_and_the_rest_from_the_default(
    tmp_path: Path, environment: dict[str, str], index: str
) -> None:
    calls, reported = install(tmp_path, **environment)

    assert len(calls) == 2
    assert re.search(rf"--no-deps .*--index-url {index} torch==[\d.]+$", calls[0])
    assert re.search(r"pip install --quiet --requirement \S+requirements.lock$", calls[1])
    assert reported == ""


def test_where_that_index_does_not_answer_the_default_one_is_taken_and_it_says_so(
    tmp_path: Path,
) -> None:
    calls, reported = install(tmp_path, silent="http://a", TORCH_INDEX="http://a")

    # Bounded: two tries of ten seconds, where pip alone makes six of fifteen.
    assert "--retries 1 --timeout 10" in calls[0]
    assert "--index-url" not in calls[1]
    assert "TORCH_INDEX: http://a" in reported


def test_with_no_index_for_torch_all_comes_from_the_default(tmp_path: Path) -> None:
    calls, reported = install(tmp_path, TORCH_INDEX="")

    assert len(calls) == 1
    assert "--index-url" not in calls[0]
    assert reported == ""
