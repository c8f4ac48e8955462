"""Whether one picture is a crop of another: the pixels are laid over each other and compared."""

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

Place = tuple[float, float, float]
"""Left, top and size of a part, in shares of the sides."""


def is_near_thumb(look: Look, view: PictureView, other: PictureView) -> bool:
    """Return whether a part of one picture looks like the centre of the other, at 32 x 32 px.

    It costs little and sends away most of what only shares a layout.
    """
    gaps = np.bitwise_count(view.windows ^ other.windows[0]).min(axis=1)
    grey = Image.fromarray(look).convert("L")
    wanted = other.thumb.astype(np.float32)
    for window in np.argsort(gaps, kind="stable")[:3]:
        seen = cut(grey, WINDOWS[int(window)], THUMB_PX).astype(np.float32)
        change = np.abs(seen - wanted)
        if change.mean() <= _MAX_COARSE_MEAN and _worst_block(change) <= _MAX_COARSE_DIFFERENCE:
            return True
    return False


def is_crop_of(look: Look, other: Look) -> bool:
    """Return whether a part of `look` is the centre of `other`, pixel by pixel."""
    seen, wanted = Image.fromarray(look), Image.fromarray(other)
    coarse = cut(wanted, WINDOWS[0], THUMB_PX).astype(np.float32)
    places = WINDOWS[1:]
    changes = [_change(seen, place, coarse) for place in places]
    best = min(range(len(places)), key=lambda at: float(changes[at].mean()))
    if _worst_block(changes[best]) > _MAX_COARSE_DIFFERENCE:
        return False
    fine = cut(wanted, WINDOWS[0], _FINE_PX).astype(np.float32)
    change = _align(seen, places[best], fine)
    if _worst_block(change) > _MAX_DIFFERENCE:
        return False
    # A crop changes the scale. Receipts of one layout with other digits agree best centre on
    # centre: they are uncut, and the same only if the whole is.
    return bool(change.mean() < _align(seen, WINDOWS[0], fine).mean())


def unexplained(look: Look, other: Look) -> float:
    """Return how far the worst block is from what the other shows in or beside the same pixels.

    Resampling and compression move edges by less than a pixel and are explained; a digit in the
    place of another is not.
    """
    one, two = _grey(look), _grey(other)
    return max(_worst_block(_beyond(one, two)), _worst_block(_beyond(two, one)))


def _grey(look: Look) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(look).convert("L"), np.float32)


def _beyond(grey: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much each pixel is outside the range of its neighbourhood in the other."""
    low, high = minimum_filter(other, 3), maximum_filter(other, 3)
    outside: NDArray[np.float32] = np.maximum(np.maximum(grey - high, low - grey), 0.0)
    return outside


def _align(seen: Image.Image, place: Place, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the differences at the best place near the given one."""
    change = _change(seen, place, wanted)
    for shift in _SHIFTS:
        for right, down in ((shift, 0.0), (-shift, 0.0), (0.0, shift), (0.0, -shift)) * 2:
            near = _moved(place, right, down)
            found = _change(seen, near, wanted)
            if found.mean() < change.mean():
                change, place = found, near
    return change


def _moved(place: Place, right: float, down: float) -> Place:
    left, top, size = place
    limit = 1.0 - size
    return min(max(left + right, 0.0), limit), min(max(top + down, 0.0), limit), size


def _change(seen: Image.Image, place: Place, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    part = cut(seen, place, wanted.shape[0]).astype(np.float32)
    worst: NDArray[np.float32] = np.abs(part - wanted).max(axis=2)
    return worst


def _worst_block(change: NDArray[np.float32]) -> float:
    num = change.shape[0] // _BLOCK_PX
    return float(change.reshape(num, _BLOCK_PX, num, _BLOCK_PX).mean(axis=(1, 3)).max())
