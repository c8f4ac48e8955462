"""Whether one picture is a crop of another: the pixels are laid over each other and compared."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from agentic_vlm.curation.pictures import THUMB_PX, WINDOWS, Look, PictureView, cut

_FINE_PX = 64
_BLOCK_PX = 4
_SHIFTS = (0.012, 0.006, 0.003)
# Mean difference of the worst block, in grey levels, after the best alignment. Measured on crops of
# 5 %, half of them as JPEG of quality 50: line drawings reach 45 (160 pairs), photographs 7, scenes
# 24, receipts 11; different pictures whose hashes agree begin at 65.
_MAX_DIFFERENCE = 50.0
# The same at 32 x 32 px before the alignment, where thin lines are off by up to half a pixel.
_MAX_COARSE_DIFFERENCE = 80.0
# Beyond this mean, no alignment brings the worst block down.
_MAX_COARSE_MEAN = 16.0
# Parts of a picture in which the centre of another is looked for, those of the nearest hashes.
_MAX_WINDOWS = 3
# 128 comparisons of 3 parts at 32 x 32 px stay in the cache of a core.
_THUMBS_AT_ONCE = 128

Place = tuple[float, float, float]
"""Left, top and size of a part, in shares of the sides."""


class Cuttings:
    """A look and parts of it, each cut once: what it is compared with asks for the same parts.

    Colours come first and values are whole numbers, which makes sums exact in any order.
    """

    def __init__(self, look: Look) -> None:
        """Take the look."""
        self._picture = Image.fromarray(look)
        self._parts: dict[tuple[Place, int], NDArray[np.int16]] = {}

    def part(self, place: Place, side_px: int) -> NDArray[np.int16]:
        """Return a part at another size, [3, side, side]."""
        key = (place, side_px)
        if key not in self._parts:
            colours = cut(self._picture, place, side_px).transpose(2, 0, 1)
            self._parts[key] = np.ascontiguousarray(colours, np.int16)
        return self._parts[key]

    @cached_property
    def thumbs(self) -> NDArray[np.int16]:
        """[19, 32, 32] the parts named by WINDOWS, in grey."""
        grey = self._picture.convert("L")
        return np.stack([cut(grey, window, THUMB_PX) for window in WINDOWS]).astype(np.int16)

    @cached_property
    def crops(self) -> NDArray[np.int16]:
        """[18, 3, 32, 32] the same in colour, without the centre."""
        return np.stack([self.part(window, THUMB_PX) for window in WINDOWS[1:]])


def near_thumbs(
    seen: Cuttings, view: PictureView, others: Sequence[PictureView]
) -> NDArray[np.bool_]:
    """Return of each other picture whether its centre looks like a part of this, at 32 x 32 px.

    It costs little and sends away most of what only shares a layout.

    Args:
        seen: the look of this picture.
        view: its hashes.
        others: what is compared of the other pictures.
    """
    near = np.zeros(len(others), np.bool_)
    for start in range(0, len(others), _THUMBS_AT_ONCE):
        chosen = others[start : start + _THUMBS_AT_ONCE]
        centres = np.stack([other.windows[0] for other in chosen])
        gaps = np.bitwise_count(view.windows ^ centres[:, None]).min(axis=2)
        best = np.argsort(gaps, axis=1, kind="stable")[:, :_MAX_WINDOWS]
        wanted = np.stack([other.thumb for other in chosen]).astype(np.int16)
        change = np.abs(seen.thumbs[best] - wanted[:, None])
        fits = _means(change) <= _MAX_COARSE_MEAN
        fits &= _worst_blocks(change) <= _MAX_COARSE_DIFFERENCE
        near[start : start + len(chosen)] = fits.any(axis=1)
    return near


def is_crop_of(seen: Cuttings, wanted: Cuttings) -> bool:
    """Return whether a part of one look is the centre of the other, pixel by pixel."""
    changes = np.abs(seen.crops - wanted.part(WINDOWS[0], THUMB_PX)).max(axis=1)
    best = int(np.argmin(_means(changes)))
    if _worst_blocks(changes[best]) > _MAX_COARSE_DIFFERENCE:
        return False
    fine = wanted.part(WINDOWS[0], _FINE_PX)
    change = _align(seen, WINDOWS[1:][best], fine)
    if _worst_blocks(change) > _MAX_DIFFERENCE:
        return False
    # A crop changes the scale. Receipts of one layout with other digits agree best centre on
    # centre: they are uncut, and the same only if the whole is.
    total = int(change.sum())
    return total < int(_align(seen, WINDOWS[0], fine, enough=total).sum())


def unexplained(look: Look, other: Look) -> float:
    """Return how far the worst block is from what the other shows in or beside the same pixels.

    Resampling and compression move edges by less than a pixel and are explained; a digit in the
    place of another is not.
    """
    one, two = _grey(look), _grey(other)
    return float(max(_worst_blocks(_beyond(one, two)), _worst_blocks(_beyond(two, one))))


def _grey(look: Look) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(look).convert("L"), np.float32)


def _beyond(grey: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much each pixel is outside the range of its neighbourhood in the other."""
    low, high = minimum_filter(other, 3), maximum_filter(other, 3)
    outside: NDArray[np.float32] = np.maximum(np.maximum(grey - high, low - grey), 0.0)
    return outside


def _align(
    seen: Cuttings, place: Place, wanted: NDArray[np.int16], *, enough: int = -1
) -> NDArray[np.int16]:
    """Return the differences at the best place near the given one.

    The search ends early where their sum is `enough` or less.
    """
    change = _change(seen, place, wanted)
    least = int(change.sum())
    for shift in _SHIFTS:
        for right, down in ((shift, 0.0), (-shift, 0.0), (0.0, shift), (0.0, -shift)) * 2:
            if least <= enough:
                return change
            near = _moved(place, right, down)
            found = _change(seen, near, wanted)
            total = int(found.sum())
            if total < least:
                change, least, place = found, total, near
    return change


def _moved(place: Place, right: float, down: float) -> Place:
    left, top, size = place
    limit = 1.0 - size
    return min(max(left + right, 0.0), limit), min(max(top + down, 0.0), limit), size


def _change(seen: Cuttings, place: Place, wanted: NDArray[np.int16]) -> NDArray[np.int16]:
    worst: NDArray[np.int16] = np.abs(seen.part(place, wanted.shape[1]) - wanted).max(axis=0)
    return worst


def _means(change: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the means of [..., side, side]."""
    means: NDArray[np.float64] = change.mean(axis=(-2, -1), dtype=np.float64)
    return means


def _worst_blocks(change: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the mean of the worst block of each of [..., side, side]."""
    num = change.shape[-1] // _BLOCK_PX
    blocks = change.reshape(*change.shape[:-2], num, _BLOCK_PX, num, _BLOCK_PX)
    worst: NDArray[np.float64] = blocks.mean(axis=(-3, -1), dtype=np.float64).max(axis=(-2, -1))
    return worst
