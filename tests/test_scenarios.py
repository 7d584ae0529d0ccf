"""Every shipped scenario keeps its promises in virtual time: `expect` makes each a test."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from conftest import SHIPPED

from emulator.checks import source
from emulator.results.measures import METRICS
from emulator.runtime.session import Session
from emulator.scenario import arrival_kinds, channel_kinds
from emulator.scenario.schema import Device, ServerGroup
from models.devices import CLASSES

DOCS = Path(__file__).parent.parent / "docs"


def test_the_docs_list_every_metric_that_a_scenario_may_expect() -> None:
    _, section = (DOCS / "scenarios.md").read_text().split("\n## Metrics\n")

    lines = re.findall(r"^\| `\w+` \| .+ \|$", section, re.MULTILINE)
    declared = [f"| `{metric.name}` | {metric.about} |" for metric in METRICS.values()]
    missing, gone = set(declared) - set(lines), set(lines) - set(declared)
    assert not missing, f"docs/scenarios.md, table of 'Metrics': add {' and '.join(missing)}"
    assert not gone, f"docs/scenarios.md, table of 'Metrics': delete {' and '.join(gone)}"


@pytest.mark.parametrize(
    ("union", "heading"),
    [
        (channel_kinds.Channel, "## Channels"),
        (arrival_kinds.Arrivals, "## Users and servers"),
    ],
    ids=["channels", "arrivals"],
)
def test_the_docs_list_every_kind_with_its_fields(union: Any, heading: str) -> None:
    section = (DOCS / "scenarios.md").read_text().split(f"\n{heading}\n")[1].split("\n## ")[0]
    for spec in get_args(get_args(union)[0]):
        (kind,) = get_args(spec.model_fields["kind"].annotation)
        rows = "".join(line for line in section.splitlines() if line.startswith(f"| `{kind}` |"))
        told = f"docs/scenarios.md, tables of '{heading[3:]}', `{kind}`"
        fields = spec.model_fields.keys() - {"kind"}
        assert rows, f"{told}: add its line, with {', '.join(sorted(fields))}"
        missing = sorted(fields - set(re.findall(r"\w+", rows)))
        assert not missing, f"{told}: say what {', '.join(missing)} is"


SLOWEST = 1 / 50  # a timing that is stretched further shows the machine's noise, not the device


def devices() -> Iterator[tuple[str, Device]]:
    """Yields the devices of shipped scenarios, of scenarios in the docs, and of the classes."""
    root = DOCS.parent
    texts = {path.name: path.read_text() for path in (root / "scenarios").glob("*.yaml")}
    for path in (root / "README.md", *DOCS.glob("*.md")):
        fenced = re.findall(r"^```yaml\n(.+?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        texts |= {f"{path.name} {number}": text for number, text in enumerate(fenced)}
    for name, text in texts.items():
        spec = yaml.safe_load(text)
        for server in spec.get("servers", []) if isinstance(spec, dict) else []:
            yield name, ServerGroup.model_validate(server)
        for user in spec.get("users", []) if isinstance(spec, dict) else []:
            if "cpu" in user:
                yield name, Device.model_validate(user["cpu"])
    for name in CLASSES:
        yield f"device {name}", Device.model_validate({"device": name})


def test_no_measured_time_is_stretched_more_than_fifty_fold() -> None:
    measured = [(name, each) for name, each in devices() if each.accelerator.kind != "fitted"]

    assert {"quickstart.yaml", "popec-live.yaml", "README.md 0"} <= {name for name, _ in measured}
    assert [(name, each.speed) for name, each in measured if each.speed < SLOWEST] == []


@pytest.mark.parametrize("path", SHIPPED)
def test_a_shipped_scenario_meets_its_expectations(path: Path) -> None:
    summary = Session(source.load(path, {"runtime.kind": "loop"})).run()

    assert summary["causes"] == []
    assert summary["balance"]["lost"] == 0
