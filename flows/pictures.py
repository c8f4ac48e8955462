"""Figures and pictures as data URLs, small enough for a page."""

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

_MAX_FIGURES = 16
_MAX_SIDE_PX = 320
_DOTS_PER_INCH = 90


def figures_of(outputs: Sequence[str], root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and data URL of each figure of a stage.

    These are its curves and the PNG files in folders named `figures`; pictures elsewhere, such as
    those of samples, belong to a page of their own.
    """
    for place in outputs:
        path = root / place
        if path.suffix == ".csv" and path.exists():
            figure = draw_curves(path)
            if figure is not None:
                yield f"{path.stem} curves", data_url(figure, "image/png")
        elif path.is_dir():
            for picture in sorted(path.rglob("figures/*.png"))[:_MAX_FIGURES]:
                yield picture.stem, data_url(picture.read_bytes(), "image/png")


def draw_curves(path: Path) -> bytes | None:
    """Return a PNG with each column of a table over its first one; absent without two rows."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    if len(rows) < 2 or len(head) < 2:
        return None
    steps = [float(row[0]) for row in rows]
    figure = Figure(figsize=(6.0, 1.6 * (len(head) - 1)), layout="constrained")
    for number, name in enumerate(head[1:], 1):
        axes = figure.add_subplot(len(head) - 1, 1, number)
        cells = [(step, row[number]) for step, row in zip(steps, rows, strict=True)]
        points = [(step, float(cell)) for step, cell in cells if cell]
        axes.plot([step for step, _ in points], [value for _, value in points])
        axes.set_ylabel(name)
        axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel(head[0])
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DOTS_PER_INCH)
    return stream.getvalue()


def thumbnail(picture: Image.Image) -> str:
    """Return a picture as a data URL with no side above 320 px."""
    small = picture.convert("RGB")
    small.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
    stream = io.BytesIO()
    small.save(stream, format="PNG")
    return data_url(stream.getvalue(), "image/png")


def data_url(content: bytes, media_type: str) -> str:
    """Return the URL that holds the content itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
