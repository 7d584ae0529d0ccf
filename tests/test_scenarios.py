"""Every shipped scenario keeps its promises in virtual time: `expect` makes each a test."""

import os
from pathlib import Path

import pytest

from emulator import source
from emulator.loop import play
from emulator.plan import plan
from emulator.run import run
from models import data

SHIPPED = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_meets_its_expectations(path: Path) -> None:
    if path.stem == "vision-cifar" and not os.environ.get(data.ROOT_VARIABLE):
        pytest.skip(f"CIFAR-100 is not shipped; say where it lies with ${data.ROOT_VARIABLE}")
    planned = plan(source.load(path, {"runtime.kind": "loop"}), stopwatch=False)

    summary = run(planned, play(planned), None, lambda progress: None)

    assert summary["causes"] == []
    assert summary["balance"]["lost"] == 0
