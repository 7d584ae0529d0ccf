"""What a training run leaves to look at: curve.csv, curve.html, curve.png and a line of bars."""

import csv
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from emulator.views.curve import Axis, Point
from emulator.views.curve import curve as draw
from emulator.views.html import page
from models.distill import Epoch
from models.files import whole, write_whole

BARS = " ▁▂▃▄▅▆▇█"
PANEL_PX = (460, 260)
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 70, 20, 30, 30
INK, LINE = (60, 60, 60), (31, 119, 180)

Panel = tuple[Axis, list[float]]


def write(folder: Path, name: str, measure: str, curve: Sequence[Epoch]) -> list[Path]:
    """Writes the curve of a run; returns the files."""
    measured = "val_miou" if measure == "mIoU" else "val_accuracy"
    with whole(folder / "curve.csv") as fresh, fresh.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("epoch", "loss", measured, "rate"))
        lines.writerows((e.number, e.loss, e.val_accuracy, e.rate) for e in curve)
    panels: list[Panel] = [
        (
            Axis(f"Validation {measure}", lambda value: f"{100.0 * value:.1f} %"),
            [e.val_accuracy for e in curve],
        ),
        (Axis("Loss", lambda value: f"{value:.3g}"), [e.loss for e in curve]),
    ]
    epochs = Axis("epoch", lambda number: f"{number:g}")
    cards = ""
    for axis, values in panels:
        named = [""] * (len(curve) - 1) + [axis.words(values[-1])]
        points = [
            Point(epoch.number, value, 0.0, mark)
            for epoch, value, mark in zip(curve, values, named, strict=True)
        ]
        picture = draw(points, epochs, axis)
        cards += f'<section class="card"><h2>{axis.title}</h2>{picture}</section>'
    body = f'<h1>{name}</h1><div class="cards">{cards}</div>'
    write_whole(folder / "curve.html", page(name, body, styles=("report.css",)))
    _picture(folder / "curve.png", name, panels)
    return [folder / f"curve.{kind}" for kind in ("csv", "html", "png")]


def _picture(path: Path, name: str, panels: Sequence[Panel]) -> None:
    """Draws the panels one below the other."""
    width, height = PANEL_PX
    image = Image.new("RGB", (width, height * len(panels)), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for number, (axis, values) in enumerate(panels):
        top, bottom = number * height + TOP_PX, (number + 1) * height - BOTTOM_PX
        low, high = min(values), max(values)
        across = (width - LEFT_PX - RIGHT_PX) / max(1, len(values) - 1)
        down = (bottom - top) / ((high - low) or 1.0)
        points = [(LEFT_PX + n * across, bottom - (v - low) * down) for n, v in enumerate(values)]
        pen.line([(LEFT_PX, top), (LEFT_PX, bottom), (width - RIGHT_PX, bottom)], fill=INK)
        pen.line(points, fill=LINE, width=2)
        pen.text(
            (LEFT_PX, top - 20), f"{name}: {axis.title}, last {axis.words(values[-1])}", fill=INK
        )
        pen.text((4, top - 6), axis.words(high), fill=INK)
        pen.text((4, bottom - 6), axis.words(low), fill=INK)
        pen.text((LEFT_PX, bottom + 8), "epoch 1", fill=INK)
        pen.text((width - RIGHT_PX - 20, bottom + 8), str(len(values)), fill=INK)
    with whole(path) as fresh:
        image.save(fresh, "PNG")


def bars(values: Sequence[float]) -> str:
    """Draws values as one line of bars, lowest to highest."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    drawn = "".join(BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)
    return f"{100.0 * low:.1f} % {drawn} {100.0 * high:.1f} % (validation, by epoch)"
