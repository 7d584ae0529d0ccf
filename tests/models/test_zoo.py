"""The shipped networks: their hashes, their size and their accuracy, counted again here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import data, zoo
from models.zoo import ModelError

NAME = "digits-s"
WITHOUT_TORCH = f"""
import sys
from models import data, latency, zoo
zoo.manifest("{NAME}")
data.load("digits")
latency.moments("{NAME}", 1)
sys.exit("torch" in sys.modules)
"""


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    shutil.copytree(zoo.WEIGHTS / NAME, tmp_path / NAME)
    path = tmp_path / NAME / "weights.safetensors"
    zoo.load_from(tmp_path / NAME)  # the copy is good

    packed = bytearray(path.read_bytes())
    packed[-1] ^= 1
    path.write_bytes(packed)

    with pytest.raises(ModelError) as refusal:
        zoo.load_from(tmp_path / NAME)
    text = str(refusal.value)
    assert str(path) in text
    assert zoo.manifest(NAME).sha256 in text  # what was expected
    assert f"fresco distill --preset {NAME}" in text  # the remedy


def test_an_unknown_name_is_answered_with_the_closest_known_one() -> None:
    with pytest.raises(ModelError, match=f"'digit-s'; did you mean '{NAME}'.*known: .*{NAME}"):
        zoo.load("digit-s")


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_manifest_states_the_accuracy_of_the_shipped_weights(split: str) -> None:
    splits = data.load("digits")
    part, stated = {
        "val": (splits.val, zoo.manifest(NAME).val_accuracy),
        "test": (splits.test, zoo.manifest(NAME).test_accuracy),
    }[split]

    with torch.inference_mode():
        logits = zoo.load(NAME)(torch.from_numpy(part.images / 16.0).float()[:, None])
    right = sum(int(z.argmax()) == label for z, label in zip(logits, part.labels, strict=True))

    assert stated == pytest.approx(right / len(part.labels), abs=1e-9)
    assert stated >= 0.97


def test_the_manifest_states_the_number_of_parameters() -> None:
    w = 12
    convolutions = 9 * (1 * w + w * 2 * w + 2 * w * 2 * w + 2 * w * 4 * w)  # 3 x 3, no bias
    norms = 2 * (w + 2 * w + 2 * w + 4 * w)  # a factor and an offset per channel
    head = 4 * w * 10 + 10

    built = sum(p.numel() for p in zoo.load(NAME).parameters())

    assert zoo.manifest(NAME).parameters == built == convolutions + norms + head


def test_names_data_and_latencies_are_had_without_torch() -> None:
    finished = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], timeout=30)

    assert finished.returncode == 0


def test_own_networks_are_found_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(zoo.WEIGHTS / NAME, tmp_path / "mine")
    monkeypatch.setenv(zoo.OWN_VARIABLE, str(tmp_path))

    assert "mine" in zoo.names()
    assert zoo.folder("mine") == tmp_path / "mine"
    zoo.load("mine")
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(ModelError, match="is no manifest"):
        zoo.manifest("mine")
