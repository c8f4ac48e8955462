"""Describes a picture through many windows, so that a part of it can be recognised.

A signature of a whole picture does not survive a crop. Here a picture of the gallery is described
through a fixed set of overlapping windows, from the whole to 70 % of its area in five shapes, each
as an 8 x 8 grid of brightness and a 4 x 4 grid of two colour differences, without their means.
`WindowGallery` compares them with what is asked for.

All of it works on thumbnails of 64 x 64 px through integral images: the mean colour of any box, at
fractions of a pixel, takes four look-ups.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from agentic_vlm.vision import to_rgb

DESCRIPTIONS = "descriptions.npy"
"""File of the descriptions."""
THUMBS = "thumbs.npy"
"""File of the thumbnails."""
THUMB_PX = 64
"""Side of a thumbnail, px; the sides of the picture are stretched to it."""
THUMB_BYTES = THUMB_PX * THUMB_PX * 3
NUM_VALUES = 8 * 8 + 2 * 4 * 4
"""Numbers that describe a window."""

_MIN_AREA = 0.7
# Brightness and two colour differences of red, green and blue.
_TO_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Floats = NDArray[np.float32]


def _grid(width: float, height: float, step: float) -> list[tuple[float, float, float, float]]:
    lefts = np.linspace(0, 1 - width, 1 + int(np.ceil((1 - width) / step - 1e-6)))
    tops = np.linspace(0, 1 - height, 1 + int(np.ceil((1 - height) / step - 1e-6)))
    return [(float(left), float(top), width, height) for left in lefts for top in tops]


def _all_windows() -> Floats:
    """Return left, top, width and height of the windows as shares of the sides, shape (W, 4)."""
    windows = _grid(1.0, 1.0, 1.0)
    for width in (0.7, 0.77, 0.84, 0.91, 1.0):
        windows += _grid(width, _MIN_AREA / width, 0.075)
    for width, height in ((0.85, 1.0), (1.0, 0.85), (0.92, 0.92)):
        windows += _grid(width, height, 0.1)
    return np.array(windows, dtype=np.float32)


WINDOWS = _all_windows()
"""The windows of every picture, shape (W, 4): left, top, width, height as shares of the sides."""


def thumbnail(image: Image.Image) -> bytes:
    """Return the picture as 64 x 64 RGB bytes; transparent parts count as white."""
    size = (THUMB_PX, THUMB_PX)
    return to_rgb(image).resize(size, Image.Resampling.BOX, reducing_gap=3.0).tobytes()


def describe(thumb: bytes) -> Floats:
    """Return the descriptions of all windows of a thumbnail, shape (W, NUM_VALUES)."""
    return describe_windows(integral_of(thumb), WINDOWS)


def integral_of(thumb: bytes) -> NDArray[np.float64]:
    """Return the sums of all pixels above and left of each corner, shape (65, 65, 3)."""
    pixels = np.frombuffer(thumb, dtype=np.uint8).reshape(THUMB_PX, THUMB_PX, 3)
    integral = np.zeros((THUMB_PX + 1, THUMB_PX + 1, 3))
    integral[1:, 1:] = pixels.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    return integral


def cells_of(integral: NDArray[np.float64], windows: Floats, num: int) -> Floats:
    """Return the mean colours of num x num cells of each window, shape (W, num, num, 3)."""
    steps = np.arange(num + 1) / num
    xs = (windows[:, :1] + windows[:, 2:3] * steps) * THUMB_PX
    ys = (windows[:, 1:2] + windows[:, 3:4] * steps) * THUMB_PX
    left, right = _between(xs)
    above, below = _between(ys)
    x_share, y_share = (xs - left)[:, None, :, None], (ys - above)[:, :, None, None]

    def at(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return integral[rows[:, :, None], columns[:, None, :]]

    upper = at(above, left) * (1 - x_share) + at(above, right) * x_share
    lower = at(below, left) * (1 - x_share) + at(below, right) * x_share
    corners = upper * (1 - y_share) + lower * y_share
    sums = np.diff(np.diff(corners, axis=1), axis=2)
    areas = windows[:, 2] * windows[:, 3] * (THUMB_PX / num) ** 2
    cells: Floats = (sums / areas[:, None, None, None]).astype(np.float32)
    return cells


def _between(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    low = np.clip(np.floor(points), 0, THUMB_PX - 1).astype(np.int64)
    return low, low + 1


def describe_windows(integral: NDArray[np.float64], windows: Floats) -> Floats:
    """Return the descriptions of windows, shape (W, NUM_VALUES); of plain areas zeros."""
    cells = cells_of(integral, windows, 8)
    grey = cells @ _TO_GREY
    coarse = cells.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    coarse_grey = coarse @ _TO_GREY
    parts = [grey, coarse[..., 0] - coarse_grey, coarse[..., 2] - coarse_grey]
    flat = [part.reshape(len(part), -1) for part in parts]
    return unit_rows(
        np.concatenate([part - part.mean(axis=1, keepdims=True) for part in flat], axis=1)
    )


def unit_rows(rows: Floats) -> Floats:
    """Return the rows with length 1; those that are shorter than 1 become zeros."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    # A plain area has no pattern; it is like nothing but its own colour, which the fit compares.
    return np.where(norms > 1.0, rows / np.maximum(norms, 1e-6), 0.0).astype(np.float32)


def shape_of(num: int) -> tuple[int, int, int]:
    """Return the shape of the descriptions of so many pictures."""
    return num, len(WINDOWS), NUM_VALUES


def write_windows(images: Iterable[Image.Image], folder: Path, *, num: int) -> None:
    """Write the descriptions and thumbnails of `num` pictures into a new folder."""
    folder.mkdir()
    descriptions = open_memmap(folder / DESCRIPTIONS, "w+", dtype=np.float16, shape=shape_of(num))
    thumbs = open_memmap(folder / THUMBS, "w+", dtype=np.uint8, shape=(num, THUMB_BYTES))
    for row, image in enumerate(images):
        thumb = thumbnail(image)
        thumbs[row] = np.frombuffer(thumb, dtype=np.uint8)
        descriptions[row] = describe(thumb).astype(np.float16)
    descriptions.flush()
    thumbs.flush()
