"""What a training run leaves to look at: curve.csv, curve.html, curve.png and a line of bars."""

import csv
from collections.abc import Sequence
from pathlib import Path

from emulator.dashboard.curve import Point
from emulator.dashboard.curve import curve as draw
from emulator.dashboard.page import page
from models.distill import Epoch

BARS = " ▁▂▃▄▅▆▇█"
PANEL_PX = (460, 260)
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 70, 20, 30, 30
INK, LINE = (60, 60, 60), (31, 119, 180)


def write(folder: Path, name: str, measure: str, curve: Sequence[Epoch]) -> list[Path]:
    """Writes the curve of a run; returns the files. `curve.png` needs Pillow, as pictures do."""
    measured = "val_miou" if measure == "mIoU" else "val_accuracy"
    with (folder / "curve.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("epoch", "loss", measured, "rate"))
        lines.writerows((e.number, e.loss, e.val_accuracy, e.rate) for e in curve)
    accuracies = [f"{100.0 * e.val_accuracy:.1f} %" for e in curve]
    panels = [
        (f"Validation {measure}", [e.val_accuracy for e in curve], accuracies),
        ("Loss", [e.loss for e in curve], [f"{e.loss:.3g}" for e in curve]),
    ]
    cards = ""
    for title, values, texts in panels:
        named = [""] * (len(curve) - 1) + texts[-1:]
        points = [
            Point(epoch.number, value, 0.0, mark, str(epoch.number), text)
            for epoch, value, mark, text in zip(curve, values, named, texts, strict=True)
        ]
        cards += f'<section class="card"><h2>{title}</h2>{draw(points, "epoch", title)}</section>'
    body = f'<h1>{name}</h1><div class="cards">{cards}</div>'
    (folder / "curve.html").write_text(page(name, body, styles=("report.css",)), encoding="utf-8")
    written = [folder / "curve.csv", folder / "curve.html"]
    if _picture(folder / "curve.png", name, panels):
        written.append(folder / "curve.png")
    return written


def _picture(path: Path, name: str, panels: list[tuple[str, list[float], list[str]]]) -> bool:
    """Draws the panels one below the other; False where Pillow is not installed."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        return False
    width, height = PANEL_PX
    image = Image.new("RGB", (width, height * len(panels)), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for number, (title, values, texts) in enumerate(panels):
        top, bottom = number * height + TOP_PX, (number + 1) * height - BOTTOM_PX
        low, high = min(values), max(values)
        across = (width - LEFT_PX - RIGHT_PX) / max(1, len(values) - 1)
        down = (bottom - top) / ((high - low) or 1.0)
        points = [(LEFT_PX + n * across, bottom - (v - low) * down) for n, v in enumerate(values)]
        pen.line([(LEFT_PX, top), (LEFT_PX, bottom), (width - RIGHT_PX, bottom)], fill=INK)
        pen.line(points, fill=LINE, width=2)
        pen.text((LEFT_PX, top - 20), f"{name}: {title}, last {texts[-1]}", fill=INK)
        pen.text((4, top - 6), texts[values.index(high)], fill=INK)
        pen.text((4, bottom - 6), texts[values.index(low)], fill=INK)
        pen.text((LEFT_PX, bottom + 8), "epoch 1", fill=INK)
        pen.text((width - RIGHT_PX - 20, bottom + 8), str(len(values)), fill=INK)
    image.save(path)
    return True


def bars(values: Sequence[float]) -> str:
    """Draws values as one line of bars, lowest to highest."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    drawn = "".join(BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)
    return f"{100.0 * low:.1f} % {drawn} {100.0 * high:.1f} % (validation, by epoch)"
