"""Finds the picture that a part of it was cut from: windows of all pictures, compared at once.

What is asked for is described once, as a whole, and compared with all windows by one matrix product
of coarse descriptions and, for the best thousand pictures, by one of the whole ones. The best of
these are then fitted: windows are moved and stretched until 8 x 8, then 16 x 16 colours agree best.
The most similar window is not always the nearest one, so several are tried.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agentic_vlm.search.windows import (
    DESCRIPTIONS,
    NUM_VALUES,
    THUMB_BYTES,
    THUMBS,
    WINDOWS,
    Floats,
    cells_of,
    describe_windows,
    integral_of,
    shape_of,
    thumbnail,
    unit_rows,
)

NUM_COARSE = 4 * 4 + 2 * 2 * 2
"""Numbers that describe a window coarsely."""

_FIT_CELLS = 16
_ROUGH_CELLS = 8
_FIT_STEPS = (0.03, 0.012, 0.005)
_NUM_COMPARED = 1024
_NUM_FITTED = 64
_NUM_FINE = 12
_NUM_STARTS = 3
_MAX_PASSES = 4
# Below the 70 % that windows have, by what the size of a fitted one may be wrong.
_MIN_FIT_AREA = 0.66
_ROWS_PER_BLOCK = 65_536


class Fit(NamedTuple):
    """A picture of the gallery that what was asked for seems to be cut from."""

    row: int
    """Row in the gallery."""
    score: float
    """1 for equal pictures; the larger, the more similar."""


def open_windows(folder: Path) -> "WindowGallery":
    """Map what `write_windows` wrote.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    descriptions = np.load(folder / DESCRIPTIONS, mmap_mode="r")
    thumbs = np.load(folder / THUMBS, mmap_mode="r")
    return WindowGallery(descriptions, thumbs)


class _Likely(NamedTuple):
    row: int
    windows: Floats
    """Its most similar windows, best first, shape (S, 4)."""


class _Wanted(NamedTuple):
    rough: Floats
    fine: Floats
    """Colours of what was asked for, shape (1, num, num, 3)."""


class _Place(NamedTuple):
    score: float
    window: Floats


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
        if thumbs.shape != (num, THUMB_BYTES) or descriptions.shape != shape_of(num):
            raise ValueError(f"descriptions {descriptions.shape} do not fit thumbs {thumbs.shape}")
        self._descriptions = descriptions
        self._thumbs = thumbs
        # Kept in memory as float32, since half-precision numbers must be widened for every
        # question, which takes longer than the product; whole descriptions would take four times
        # the memory.
        self._coarse = _coarse_rows(descriptions.reshape(-1, NUM_VALUES))

    def nearest(self, image: Image.Image, *, min_score: float, num: int) -> list[Fit]:
        """Return the pictures that the picture is most likely cut from, best first.

        Args:
            image: any picture.
            min_score: smallest score that counts as similar.
            num: most pictures to return.
        """
        if not len(self._thumbs) or num <= 0:
            return []
        integral = integral_of(thumbnail(image))
        whole = WINDOWS[:1]
        likely = self._likely(describe_windows(integral, whole)[0], max(_NUM_FITTED, num))
        wanted = _Wanted(*(cells_of(integral, whole, size) for size in (_ROUGH_CELLS, _FIT_CELLS)))
        rough = [(-self._fit_roughly(one, wanted), one.row, one) for one in likely]
        rough.sort(key=lambda entry: entry[:2])
        fits = [self._fit(one, wanted) for _, _, one in rough[: max(_NUM_FINE, num)]]
        fits.sort(key=lambda fit: (-fit.score, fit.row))
        return [fit for fit in fits if fit.score >= min_score][:num]

    def _likely(self, asked: Floats, num: int) -> list[_Likely]:
        """Return the most similar pictures, best first."""
        coarse = (self._coarse @ _coarsen(asked[None])[0]).reshape(-1, len(WINDOWS))
        compared = _best(coarse.max(axis=1), max(_NUM_COMPARED, num))
        compared.sort()
        likeness = self._descriptions[compared].astype(np.float32) @ asked
        return [
            _Likely(int(compared[at]), WINDOWS[_best(likeness[at], _NUM_STARTS)])
            for at in _best(likeness.max(axis=1), num)
        ]

    def _fit_roughly(self, one: _Likely, wanted: _Wanted) -> float:
        integral = integral_of(self._thumbs[one.row].tobytes())
        return _climb(integral, one.windows[0], wanted.rough, _FIT_STEPS[0]).score

    def _fit(self, one: _Likely, wanted: _Wanted) -> Fit:
        integral = integral_of(self._thumbs[one.row].tobytes())
        starts = [_climb(integral, window, wanted.rough, _FIT_STEPS[0]) for window in one.windows]
        place = max(starts, key=lambda start: start.score)
        for step in _FIT_STEPS:
            place = _climb(integral, place.window, wanted.fine, step)
        return Fit(one.row, round(place.score, 6))


def _coarse_rows(rows: NDArray[np.float16]) -> Floats:
    coarse = np.empty((len(rows), NUM_COARSE), dtype=np.float32)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        block = rows[start : start + _ROWS_PER_BLOCK].astype(np.float32)
        coarse[start : start + _ROWS_PER_BLOCK] = _coarsen(block)
    return coarse


def _coarsen(rows: Floats) -> Floats:
    """Return descriptions of half the resolution, shape (R, NUM_COARSE)."""
    grey = rows[:, :64].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    colours = rows[:, 64:].reshape(-1, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    both = np.concatenate([grey.reshape(-1, 16), colours.reshape(-1, 8)], axis=1)
    norms = np.linalg.norm(both, axis=1, keepdims=True)
    coarse: Floats = both / np.maximum(norms, 1e-6)
    return coarse


def _best(scores: Floats, num: int) -> NDArray[np.intp]:
    """Return where the largest scores are, best first, equal ones in their order."""
    return np.argsort(-scores, kind="stable")[:num]


def _climb(integral: NDArray[np.float64], window: Floats, wanted: Floats, step: float) -> _Place:
    """Move and stretch a window by steps of one size as long as that makes it agree better."""
    score = -1.0
    for _ in range(_MAX_PASSES):
        before = score
        for axis in (0, 1):
            tries = _around(window, step, axis)
            scores = _agreement(cells_of(integral, tries, wanted.shape[1]), wanted)
            best = int(scores.argmax())
            window, score = tries[best], float(scores[best])
        if score <= before:
            break
    return _Place(score, window)


def _around(window: Floats, step: float, axis: int) -> Floats:
    """Return the window and eight that are moved or stretched along an axis, shape (9, 4)."""
    moves = np.zeros((9, 4), dtype=np.float32)
    moves[:, axis] = np.repeat([0.0, -step, step], 3)
    moves[:, axis + 2] = np.tile([0.0, -step, step], 3)
    tries: Floats = window + moves
    tries[:, 2:] = np.clip(tries[:, 2:], _MIN_FIT_AREA, 1.0)
    tries[:, :2] = np.clip(tries[:, :2], 0.0, 1.0 - tries[:, 2:])
    # The smaller a window may be, the more often a part of another picture looks like it.
    tries[tries[:, 2] * tries[:, 3] < _MIN_FIT_AREA] = window
    return tries


def _agreement(cells: Floats, wanted: Floats) -> Floats:
    """Return how well colours agree, shape (W,).

    It is the correlation of the patterns, less what the mean colours differ by beyond a tenth of
    the range.
    """
    means, mean = cells.mean(axis=(1, 2)), wanted.mean(axis=(1, 2))
    patterns = unit_rows((cells - means[:, None, None]).reshape(len(cells), -1))
    pattern = unit_rows((wanted - mean[:, None, None]).reshape(1, -1))[0]
    likeness = patterns @ pattern
    if not pattern.any():
        likeness = (~patterns.any(axis=1)).astype(np.float32)
    shift = np.abs(means - mean).max(axis=1) / 255
    agreement: Floats = likeness - np.maximum(0.0, shift - 0.1)
    return agreement
