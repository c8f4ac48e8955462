"""What is compared of a picture: hashes of the whole and of its parts, and a small look."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from agentic_vlm.vision import decode_image, to_rgb

LOOK_PX = 128
"""Side of the look, px."""
THUMB_PX = 32
"""Side of the thumb of the centre, px."""
_BAND_PX = 32
_HASH_SIDE = 8
# (share of the side, first offset): where the centre of the other picture can lie, in one that a
# crop of 5 % made, and in one from which a crop of 5 % made the other.
_SCALES = ((0.9 / 0.95, 0.0), (0.95 * 0.9, 0.95 * 0.05))
_OFFSETS = (0.0, 0.025, 0.05)
WINDOWS = (
    (0.05, 0.05, 0.9),
    *(
        (first + right, first + down, size)
        for size, first in _SCALES
        for right, down in itertools.product(_OFFSETS, _OFFSETS)
    ),
)
"""[19] parts of a picture as (left, top, size), in shares of its sides; the first is the centre."""

Look = NDArray[np.uint8]
"""[128, 128, 3] a picture, shrunk."""
Looks = Callable[[str], Look]
"""Returns the look of a picture by digest."""


@dataclass(frozen=True, slots=True)
class PictureView:
    """What is kept of a picture to find it again; about 2 kB, however large the picture is."""

    hashes: tuple[int, int]
    """Perceptual hash and difference hash, 64 bits each; flat pictures need the second."""
    windows: NDArray[np.uint64]
    """[19, 2] the same two hashes of the parts named by WINDOWS."""
    thumb: NDArray[np.uint8]
    """[32, 32] the centre in grey."""
    ratio: float
    """Width over height."""
    look: Look | None = None
    """The picture, shrunk, for the decision; absent where it is loaded again when it is needed."""


def view_picture(image: Image.Image) -> PictureView:
    """Return what is compared of a picture, with its look."""
    look = take_look(image)
    grey = Image.fromarray(look).convert("L")
    return PictureView(
        hashes=(_as_int(imagehash.phash(image)), _as_int(imagehash.dhash(image))),
        windows=_hash_windows(grey),
        thumb=cut(grey, WINDOWS[0], THUMB_PX),
        ratio=image.width / image.height,
        look=look,
    )


def view_shard(shard: Sequence[tuple[str, bytes]]) -> list[tuple[str, PictureView]]:
    """Decode pictures, given by digest and encoded file, and return what is compared of each.

    Raises:
        ImageError: a picture is broken.
    """
    views = []
    for sha256, encoded in shard:
        image = to_rgb(decode_image(encoded, where=f"picture {sha256}"))
        views.append((sha256, view_picture(image)))
    return views


def take_look(image: Image.Image) -> Look:
    """Return the picture shrunk to 128 x 128 px."""
    small = image.convert("RGB").resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX)
    return np.asarray(small)


def cut(look: Image.Image, part: tuple[float, float, float], side_px: int) -> Look:
    """Return a part (left, top, size in shares of the sides) of a look, at another size."""
    return np.asarray(look.resize((side_px, side_px), Image.Resampling.BILINEAR, box=_box(part)))


def _box(part: tuple[float, float, float]) -> tuple[float, float, float, float]:
    left, top, size = part
    right, bottom = min(left + size, 1.0), min(top + size, 1.0)
    return left * LOOK_PX, top * LOOK_PX, right * LOOK_PX, bottom * LOOK_PX


def _hash_windows(grey: Image.Image) -> NDArray[np.uint64]:
    """Return perceptual and difference hash of all windows, as imagehash defines them."""
    waves = np.empty((len(WINDOWS), _BAND_PX, _BAND_PX), np.float32)
    steps = np.empty((len(WINDOWS), _HASH_SIDE, _HASH_SIDE + 1), np.int16)
    for at, window in enumerate(WINDOWS):
        box = _box(window)
        part = grey.resize((_BAND_PX, _BAND_PX), Image.Resampling.BOX, box=box)
        waves[at] = np.asarray(part)
        part = grey.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX, box=box)
        steps[at] = np.asarray(part)
    low = dctn(waves, axes=(1, 2))[:, :_HASH_SIDE, :_HASH_SIDE]
    perceptual = low > np.median(low, axis=(1, 2), keepdims=True)
    difference = steps[:, :, 1:] > steps[:, :, :-1]
    bits = np.stack([perceptual, difference], axis=1).reshape(len(WINDOWS), 2, -1)
    packed = np.packbits(bits, axis=2)
    return packed.view(">u8")[:, :, 0].astype(np.uint64)


def _as_int(value: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(value.hash.ravel()).tobytes())
