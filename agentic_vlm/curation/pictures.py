"""Which pictures are the same: a perceptual hash proposes, a look at the pixels decides."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agentic_vlm.vision import decode_image, to_rgb

_HASH_BITS = 64
_LOOK_PX = 128
_BLOCK_PX = 4
# Mean difference of the worst block, in grey levels. Measured on the 647 pictures of the pocket
# world: the same picture in another size, 6 % brighter or as JPEG of quality 60 stays below 33.
# Small print alone does not tell scenes apart (one digit moves a block by 1 to 15): the same layout
# with another label counts as the same picture, which is the careful side for decontamination.
_MAX_BLOCK_DIFFERENCE = 36.0


@dataclass(frozen=True, slots=True)
class PictureView:
    """What is compared of a picture."""

    hashes: tuple[int, int]
    """Perceptual hash and difference hash, 64 bits each; flat pictures need the second."""
    look: NDArray[np.uint8]
    """[128, 128, 3] the picture, shrunk; for the decision."""
    ratio: float
    """Width over height."""


def view_picture(image: Image.Image) -> PictureView:
    """Return what is compared of a picture."""
    small = image.convert("RGB").resize((_LOOK_PX, _LOOK_PX), Image.Resampling.BOX)
    hashes = (_as_int(imagehash.phash(image)), _as_int(imagehash.dhash(image)))
    return PictureView(hashes, np.asarray(small), image.width / image.height)


def view_shard(shard: Sequence[tuple[str, bytes]]) -> list[tuple[str, PictureView]]:
    """Decode pictures, given by digest and encoded file, and return what is compared of each.

    Raises:
        ImageError: a picture is broken.
    """
    return [
        (sha256, view_picture(to_rgb(decode_image(encoded, where=f"picture {sha256}"))))
        for sha256, encoded in shard
    ]


def is_same_picture(left: PictureView, right: PictureView, *, max_distance: int) -> bool:
    """Return whether two pictures are the same but for size, compression and slight exposure."""
    return (
        hash_distance(left, right) <= max_distance
        and abs(left.ratio / right.ratio - 1) < 0.05
        and _block_difference(left, right) <= _MAX_BLOCK_DIFFERENCE
    )


def hash_distance(left: PictureView, right: PictureView) -> int:
    """Return the smaller of the Hamming distances of the two hashes."""
    pairs = zip(left.hashes, right.hashes, strict=True)
    return min((one ^ other).bit_count() for one, other in pairs)


def _block_difference(left: PictureView, right: PictureView) -> float:
    looks = left.look.astype(np.float32), right.look.astype(np.float32)
    # A change of exposure moves every pixel by the same factor and is no change of the scene.
    gain = float(looks[0].mean() + 1) / float(looks[1].mean() + 1)
    gain = min(max(gain, 0.85), 1 / 0.85)
    change = np.abs(looks[0] - looks[1] * gain).max(axis=2)
    blocks = change.reshape(_LOOK_PX // _BLOCK_PX, _BLOCK_PX, _LOOK_PX // _BLOCK_PX, _BLOCK_PX)
    return float(blocks.mean(axis=(1, 3)).max())


def _as_int(value: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(value.hash.ravel()).tobytes())


class PictureFinder:
    """Finds the same picture among many, without comparing all pairs.

    Two hashes that differ by at most d bits agree in at least one of d + 1 bands of bits.
    """

    def __init__(self, views: Iterable[tuple[str, PictureView]], *, max_distance: int) -> None:
        """Index the pictures by name, such as their digest."""
        self._max_distance = max_distance
        num_bands = min(max_distance + 1, _HASH_BITS)
        edges = [round(band * _HASH_BITS / num_bands) for band in range(num_bands + 1)]
        self._spans = [(low, high - low) for low, high in itertools.pairwise(edges)]
        self._bands: dict[tuple[int, int, int], list[str]] = defaultdict(list)
        self._views: dict[str, PictureView] = {}
        for name, view in views:
            self.add(name, view)

    def add(self, name: str, view: PictureView) -> None:
        """Add one picture; a name that is known already is left as it is."""
        if name in self._views:
            return
        self._views[name] = view
        for key in self._keys(view):
            self._bands[key].append(name)

    def find(self, view: PictureView) -> list[str]:
        """Return the names of the pictures that are the same as this one, in order of names."""
        if self._max_distance >= _HASH_BITS:
            names = set(self._views)
        else:
            names = {name for key in self._keys(view) for name in self._bands.get(key, ())}
        return sorted(
            name
            for name in names
            if is_same_picture(self._views[name], view, max_distance=self._max_distance)
        )

    def _keys(self, view: PictureView) -> Iterator[tuple[int, int, int]]:
        for kind, value in enumerate(view.hashes):
            for band, (low, width) in enumerate(self._spans):
                yield kind, band, value >> low & ((1 << width) - 1)
