"""Every shipped scenario keeps its promises in virtual time: `expect` makes each a test."""

import re
from pathlib import Path

import pytest
from conftest import SHIPPED

from emulator.reading import source
from emulator.record.stats import METRICS
from emulator.runtime.loop import play
from emulator.runtime.run import run
from emulator.world.planning import plan

DOCS = Path(__file__).parent.parent / "docs"


def test_the_docs_list_every_metric_that_a_scenario_may_expect() -> None:
    _, section = (DOCS / "scenarios.md").read_text().split("\n## Metrics\n")

    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == METRICS


@pytest.mark.parametrize("path", SHIPPED)
def test_a_shipped_scenario_meets_its_expectations(path: Path) -> None:
    planned = plan(source.load(path, {"runtime.kind": "loop"}), stopwatch=False)

    summary = run(planned, play(planned), None, lambda progress: None)

    assert summary["causes"] == []
    assert summary["balance"]["lost"] == 0
