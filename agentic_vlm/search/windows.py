"""Finds the picture that a part of it was cut from: many windows of each picture, compared at once.

A signature of a whole picture does not survive a crop. Here a picture of the gallery is described
through a fixed set of overlapping windows, from the whole to 70 % of its area in five shapes, each
as an 8 x 8 grid of brightness and a 4 x 4 grid of two colour differences, without their means. What
is asked for is described once, as a whole, and compared with all windows by one matrix product. The
best pictures are then fitted: the window is moved and stretched until 16 x 16 colours agree best.

All of it works on thumbnails of 64 x 64 px through integral images: the mean colour of any box, at
fractions of a pixel, takes four look-ups.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

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
_FIT_CELLS = 16
_FIT_STEPS = (0.03, 0.012, 0.005)
_NUM_FITTED = 32
_NUM_FINE = 6
# Brightness and two colour differences of red, green and blue.
_TO_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_ROWS_PER_BLOCK = 65_536

Floats = NDArray[np.float32]


class Fit(NamedTuple):
    """A picture of the gallery that what was asked for seems to be cut from."""

    row: int
    """Row in the gallery."""
    score: float
    """1 for equal pictures; the larger, the more similar."""


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
    return _describe(_integral(thumb), WINDOWS)


def _integral(thumb: bytes) -> NDArray[np.float64]:
    pixels = np.frombuffer(thumb, dtype=np.uint8).reshape(THUMB_PX, THUMB_PX, 3)
    integral = np.zeros((THUMB_PX + 1, THUMB_PX + 1, 3))
    integral[1:, 1:] = pixels.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    return integral


def _cells(integral: NDArray[np.float64], windows: Floats, num: int) -> Floats:
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


def _describe(integral: NDArray[np.float64], windows: Floats) -> Floats:
    cells = _cells(integral, windows, 8)
    grey = cells @ _TO_GREY
    coarse = cells.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    coarse_grey = coarse @ _TO_GREY
    parts = [grey, coarse[..., 0] - coarse_grey, coarse[..., 2] - coarse_grey]
    flat = [part.reshape(len(part), -1) for part in parts]
    return _unit(np.concatenate([part - part.mean(axis=1, keepdims=True) for part in flat], axis=1))


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    # A plain area has no pattern; it is like nothing but its own colour, which the fit compares.
    return np.where(norms > 1.0, rows / np.maximum(norms, 1e-6), 0.0).astype(np.float32)


def _shape(num: int) -> tuple[int, int, int]:
    return num, len(WINDOWS), NUM_VALUES


def write_windows(images: Iterable[Image.Image], folder: Path, *, num: int) -> None:
    """Write the descriptions and thumbnails of `num` pictures into a new folder."""
    folder.mkdir()
    descriptions = open_memmap(folder / DESCRIPTIONS, "w+", dtype=np.float16, shape=_shape(num))
    thumbs = open_memmap(folder / THUMBS, "w+", dtype=np.uint8, shape=(num, THUMB_BYTES))
    for row, image in enumerate(images):
        thumb = thumbnail(image)
        thumbs[row] = np.frombuffer(thumb, dtype=np.uint8)
        descriptions[row] = describe(thumb).astype(np.float16)
    descriptions.flush()
    thumbs.flush()


def open_windows(folder: Path) -> "WindowGallery":
    """Map what `write_windows` wrote.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    descriptions = np.load(folder / DESCRIPTIONS, mmap_mode="r")
    thumbs = np.load(folder / THUMBS, mmap_mode="r")
    return WindowGallery(descriptions, thumbs)


class WindowGallery:
    """The windows of many pictures."""

    def __init__(self, descriptions: NDArray[np.float16], thumbs: NDArray[np.uint8]) -> None:
        """Keep both; they may be mapped from files.

        Args:
            descriptions: of all windows of all pictures, shape (P, W, NUM_VALUES).
            thumbs: the thumbnails of the pictures, shape (P, THUMB_BYTES).

        Raises:
            ValueError: the shapes do not fit each other.
        """
        num = len(thumbs)
        if thumbs.shape != (num, THUMB_BYTES) or descriptions.shape != _shape(num):
            raise ValueError(f"descriptions {descriptions.shape} do not fit thumbs {thumbs.shape}")
        self._rows = descriptions.reshape(-1, NUM_VALUES)
        self._thumbs = thumbs

    def nearest(self, image: Image.Image, *, min_score: float, num: int) -> list[Fit]:
        """Return the pictures that the picture is most likely cut from, best first.

        Args:
            image: any picture.
            min_score: smallest score that counts as similar.
            num: most pictures to return.
        """
        if not len(self._thumbs) or num <= 0:
            return []
        integral = _integral(thumbnail(image))
        whole = WINDOWS[:1]
        likeness = self._compare(_describe(integral, whole)[0])
        best = likeness.max(axis=1)
        rows = np.argsort(-best, kind="stable")[: max(_NUM_FITTED, num)]
        wanted = _cells(integral, whole, _FIT_CELLS)
        steps = _FIT_STEPS[:1]
        rough = [
            self._fit(int(row), WINDOWS[likeness[row].argmax()], wanted, steps) for row in rows
        ]
        rough.sort(key=lambda pair: (-pair[0].score, pair[0].row))
        steps = _FIT_STEPS[1:]
        fits = [
            self._fit(fit.row, window, wanted, steps)[0]
            for fit, window in rough[: max(_NUM_FINE, num)]
        ]
        fits.sort(key=lambda fit: (-fit.score, fit.row))
        return [fit for fit in fits if fit.score >= min_score][:num]

    def _compare(self, asked: Floats) -> Floats:
        blocks = [
            self._rows[start : start + _ROWS_PER_BLOCK].astype(np.float32) @ asked
            for start in range(0, len(self._rows), _ROWS_PER_BLOCK)
        ]
        return np.concatenate(blocks).reshape(-1, len(WINDOWS))

    def _fit(
        self, row: int, window: Floats, wanted: Floats, steps: Sequence[float]
    ) -> tuple[Fit, Floats]:
        integral = _integral(self._thumbs[row].tobytes())
        score = -1.0
        for step in steps:
            for axis in (0, 1):
                tries = _around(window, step, axis)
                scores = _agreement(_cells(integral, tries, _FIT_CELLS), wanted)
                best = int(scores.argmax())
                window, score = tries[best], float(scores[best])
        return Fit(row, round(score, 6)), window


def _around(window: Floats, step: float, axis: int) -> Floats:
    """Return the window and eight that are moved or stretched along an axis, shape (9, 4)."""
    moves = np.zeros((9, 4), dtype=np.float32)
    moves[:, axis] = np.repeat([0.0, -step, step], 3)
    moves[:, axis + 2] = np.tile([0.0, -step, step], 3)
    tries: Floats = window + moves
    tries[:, 2:] = np.clip(tries[:, 2:], 0.4, 1.0)
    tries[:, :2] = np.clip(tries[:, :2], 0.0, 1.0 - tries[:, 2:])
    return tries


def _agreement(cells: Floats, wanted: Floats) -> Floats:
    """Return how well colours agree, shape (W,).

    It is the correlation of the patterns, less what the mean colours differ by beyond a tenth of
    the range.
    """
    means, mean = cells.mean(axis=(1, 2)), wanted.mean(axis=(1, 2))
    patterns = _unit((cells - means[:, None, None]).reshape(len(cells), -1))
    pattern = _unit((wanted - mean[:, None, None]).reshape(1, -1))[0]
    likeness = patterns @ pattern
    if not pattern.any():
        likeness = (~patterns.any(axis=1)).astype(np.float32)
    shift = np.abs(means - mean).max(axis=1) / 255
    agreement: Floats = likeness - np.maximum(0.0, shift - 0.1)
    return agreement
