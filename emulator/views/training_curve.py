"""What a training run leaves to look at: curve.csv, curve.html, curve.png and a line of bars."""

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path

from emulator.views.html import page
from models.distill import Epoch
from models.files import whole, write_whole

BARS = " ▁▂▃▄▅▆▇█"


def write(
    folder: Path, name: str, measure: str, curve: Sequence[Epoch], formats: Sequence[str] = ()
) -> list[Path]:
    """Writes the curve of a run; returns the files. Its figure is kept in these formats too."""
    from emulator.views import figures, plots

    measured = "val_miou" if measure == "mIoU" else "val_accuracy"
    with whole(folder / "curve.csv") as fresh, fresh.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("epoch", "loss", measured, "rate"))
        lines.writerows((e.number, e.loss, e.val_accuracy, e.rate) for e in curve)
    figure = plots.training(
        [epoch.number for epoch in curve],
        [
            (f"Validation {measure}", "ratio", [epoch.val_accuracy for epoch in curve]),
            ("Loss", "", [epoch.loss for epoch in curve]),
        ],
    )
    picture = figures.embedded(figure, f"Validation {measure} and loss by epoch")
    body = f'<h1>{escape(name)}</h1><section class="card">{picture}</section>'
    write_whole(folder / "curve.html", page(name, body, styles=("report.css",)))
    write_whole(folder / "curve.png", figures.drawn(figure, "png"))
    figures.save(folder, {"curve": figure}, formats)
    return [folder / f"curve.{kind}" for kind in ("csv", "html", "png")]


def bars(values: Sequence[float]) -> str:
    """Draws values as one line of bars, lowest to highest."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    drawn = "".join(BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)
    return f"{100.0 * low:.1f} % {drawn} {100.0 * high:.1f} % (validation, by epoch)"
