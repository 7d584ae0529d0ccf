"""`fresco profile`: side by side, kept where scenarios find it, and drawn."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from emulator.cli.main import fresco
from emulator.views.spread import Spread, spreads
from models import latency, zoo


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of one's own, not measured yet; the folder that it is in."""
    place = tmp_path / "models" / "mine"
    place.mkdir(parents=True)
    for file in ("weights.safetensors", "manifest.json"):
        shutil.copy(zoo.folder("digits-xs") / file, place)
    monkeypatch.setenv(zoo.OWN_VARIABLE, str(place.parent))
    monkeypatch.chdir(tmp_path)
    return place


def test_engines_stand_side_by_side_and_their_traces_are_kept(own: Path) -> None:
    words = ["profile", "mine", "--engine", "torch,onnx", "--batch", "2", "--rounds", "8"]

    said = CliRunner().invoke(fresco, [*words, "--write"])

    assert said.exit_code == 0, said.output
    rows = re.findall(r"│ +([12]) │ (torch|onnx) ", said.output)
    assert rows == [("1", "torch"), ("1", "onnx"), ("2", "torch"), ("2", "onnx")]
    assert "10 for each batch size to warm up" in said.output
    for engine in ("torch", "onnx"):
        measured = latency.read("mine", engine)
        assert measured.engine == engine
        assert [len(samples_s) for samples_s in measured.samples_s] == [8, 8]
    with pytest.raises(zoo.ModelError, match="fresco profile mine --engine onnx-int8 --write"):
        latency.read("mine", "onnx-int8")
    assert "<svg" in (own.parent.parent / "runs" / "models" / "mine" / "latency.html").read_text()


def test_an_unknown_engine_is_refused(own: Path) -> None:
    said = CliRunner().invoke(fresco, ["profile", "mine", "--engine", "tensorrt"])

    assert said.exit_code == 2
    assert "known: torch, onnx, onnx-int8, or all" in said.output


def test_the_picture_is_in_proportion() -> None:
    values = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0)
    found = [Spread("1", 0, values, "a < b"), Spread("2", 1, [2.0 * v for v in values], "b")]

    drawn = ElementTree.fromstring(spreads(found, "images", "ms", 1e3))

    medians = [
        float(re.match(r"M[\d.]+,([\d.]+)h", path.attrib["d"]).group(1))  # type: ignore[union-attr]
        for path in drawn.iter("path")
        if "h" in path.attrib["d"]
    ]
    extremes = [float(dot.attrib["cy"]) for dot in drawn.iter("circle")]
    # From the bottom up pixels are in proportion: 20 is the highest, at the top of the axis.
    bottom = 294.0
    heights = bottom - np.array([*medians, *extremes])
    np.testing.assert_allclose(
        heights / heights[-1], np.array([3.0, 6.0, 10.0, 20.0]) / 20.0, atol=1e-3
    )
