"""Tasks whose answer is a label for each pixel: which count as right, and making such a student."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import perform, scenario, server_group, user_group
from PIL import Image

from agents.messages import Execute
from agents.tasks import Task
from emulator.cli.models import distill
from emulator.sim.accelerator import Live, Students
from emulator.streams import Streams
from models import data, scenes, zoo

NAME = "scenes-xs"


def right_by_hand(numbers: list[int]) -> list[bool]:
    """Asks the plain network pixel by pixel; of 32 x 64 the bonnet's two rows do not count."""
    splits, network = data.load("scenes"), zoo.load(NAME)
    found = []
    for number in numbers:
        x = torch.from_numpy(splits.test.images[number] / 255.0).float()
        x = (x - torch.tensor(splits.mean)[:, None, None]) / torch.tensor(splits.deviation)[
            :, None, None
        ]
        with torch.inference_mode():
            answer = network(x[None])[0].argmax(dim=0).tolist()
        labels = splits.test.labels[number].tolist()
        hits = sum(
            answer[row][column] == labels[row][column] for row in range(30) for column in range(64)
        )
        found.append(hits >= 0.9 * 30 * 64)
    return found


def test_a_live_answer_is_right_when_nine_of_ten_pixels_are() -> None:
    uniform = Streams(1).uniform("service")
    device = Live(Students((NAME,), 4, 1.0), 4, 1, uniform, stopwatch=None)
    numbers = list(range(40))

    found: list[bool] = []
    for first in range(0, 40, 4):
        tasks = tuple(Task("user-0", n, 0.0, 0, 1.0, n) for n in numbers[first : first + 4])
        found += device.execute(Execute(tasks, 0), 0.0).correct

    expected = right_by_hand(numbers)
    assert found == expected
    assert 10 < sum(expected) < 39  # the manifest's share tells answers apart


def test_live_and_replay_take_the_same_time_and_only_live_looks() -> None:
    def played(kind: str) -> dict[str, float | int | None]:
        spec = scenario(
            users=[user_group(count=3)],
            servers=[
                server_group({}, speed=0.01, accelerator={"kind": kind, "model": NAME}),
            ],
        )
        return perform(spec).metrics.summary()["all"]

    live, replayed = played("live"), played("replay")

    assert live["paoi_mean_s"] == replayed["paoi_mean_s"]
    assert 0.4 < float(live["accuracy"] or 0.0) <= 1.0
    assert replayed["accuracy"] is None


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, count in (("TRAIN", 24), ("VAL", 8), ("TEST", 8)):
        monkeypatch.setattr(scenes, name, count)
    data.load.cache_clear()
    yield
    data.load.cache_clear()


@pytest.mark.usefixtures("few_scenes")
def test_a_student_is_made_with_its_curves(tmp_path: Path) -> None:
    out = tmp_path / "mine"

    done = CliRunner().invoke(
        distill,
        ["--preset", NAME, "--epochs", "3", "--out", str(out), "--figures", "pdf"],
        catch_exceptions=False,
    )

    assert done.exit_code == 0, done.output
    assert "2,906 parameters, mIoU on val" in " ".join(done.output.split())
    made = zoo._read(out / "manifest.json")
    assert (made.measure, made.recipe, made.test_images) == ("mIoU", "bdd", 8)
    with (out / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["val_miou"]) == pytest.approx(made.val_accuracy, abs=1e-12)
    pixels = np.asarray(Image.open(out / "curve.png").convert("RGB")).astype(int)
    drawn = (pixels == (0, 114, 178)).all(axis=2)  # the line runs through both panels
    middle, width = drawn.shape[0] // 2, drawn.shape[1]
    assert drawn[:middle].any(axis=0).sum() > 0.6 * width
    assert drawn[middle:].any(axis=0).sum() > 0.6 * width
    assert (out / "figures" / "curve.pdf").read_bytes().startswith(b"%PDF")
