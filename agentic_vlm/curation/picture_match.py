"""Which pictures are the same: hashes propose, a look at the pixels decides."""

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agentic_vlm.curation.alignment import is_crop_of, is_near_thumb, unexplained
from agentic_vlm.curation.pictures import LOOK_PX, Look, Looks, PictureView, take_look

_HASH_BITS = 64
_BLOCK_PX = 4
# Mean difference of the worst block, in grey levels. Measured on the 647 pictures of the pocket
# world: the same picture in another size, 6 % brighter or as JPEG of quality 60 stays below 33.
# Small print alone does not tell scenes apart (one digit moves a block by 1 to 15): the same layout
# with another label counts as the same picture, which is the careful side for decontamination.
_MAX_BLOCK_DIFFERENCE = 36.0
# Sharp edges of strong colours differ more in a JPEG of quality 50 or at half the size: up to 63 in
# 22 planted pairs. There it counts what no neighbouring pixel explains, in brightness: those pairs
# stay at 6.1 and below, receipts of one layout with other digits begin at 16.
_MAX_EDGE_DIFFERENCE = 70.0
_MAX_UNEXPLAINED = 10.0
# A crop moves the content by up to half a step of the windows. Measured on line drawings, which
# move most: 97 % of 480 crops are within 6 bits, and photographs and scenes all within 4.
_CROP_SLACK = 2
_MAX_LOOKS = 2048


class LookCache:
    """Looks of pictures, loaded when they are needed; the last 2,048 stay (100 MB)."""

    def __init__(self, load: Callable[[str], Image.Image]) -> None:
        """Take what decodes a picture by its digest."""
        self._load = load
        self._looks: OrderedDict[str, Look] = OrderedDict()

    def __call__(self, name: str) -> Look:
        """Return the look of a picture."""
        if name in self._looks:
            self._looks.move_to_end(name)
            return self._looks[name]
        look = self._looks[name] = take_look(self._load(name))
        if len(self._looks) > _MAX_LOOKS:
            self._looks.popitem(last=False)
        return look


def kept_looks(views: Mapping[str, PictureView]) -> Looks:
    """Return looks for views that keep their own."""

    def get(name: str) -> Look:
        look = views[name].look
        assert look is not None, "views without looks need a LookCache"
        return look

    return get


def hash_distance(left: PictureView, right: PictureView) -> int:
    """Return the smaller of the Hamming distances of the two hashes."""
    pairs = zip(left.hashes, right.hashes, strict=True)
    return min((one ^ other).bit_count() for one, other in pairs)


def block_difference(left: Look, right: Look) -> float:
    """Return the mean difference of the worst block, up to a change of exposure."""
    looks = left.astype(np.float32), right.astype(np.float32)
    # A change of exposure moves every pixel by the same factor and is no change of the scene.
    gain = float(looks[0].mean() + 1) / float(looks[1].mean() + 1)
    gain = min(max(gain, 0.85), 1 / 0.85)
    change = np.abs(looks[0] - looks[1] * gain).max(axis=2)
    blocks = change.reshape(LOOK_PX // _BLOCK_PX, _BLOCK_PX, LOOK_PX // _BLOCK_PX, _BLOCK_PX)
    return float(blocks.mean(axis=(1, 3)).max())


def is_same_look(left: Look, right: Look) -> bool:
    """Return whether two looks show the same, but for compression, size and exposure."""
    difference = block_difference(left, right)
    if difference <= _MAX_BLOCK_DIFFERENCE:
        return True
    return difference <= _MAX_EDGE_DIFFERENCE and unexplained(left, right) <= _MAX_UNEXPLAINED


class PictureFinder:
    """Finds the same picture among many, without comparing all pairs.

    The same but for size, compression and slight exposure, or cut by 5 % of both sides. Two
    hashes that differ by at most d bits agree in at least one of d + 1 bands of bits.
    """

    def __init__(
        self, views: Mapping[str, PictureView], looks: Looks, *, max_distance: int
    ) -> None:
        """Begin without pictures.

        Args:
            views: what is compared, by digest, of all pictures that will be added or looked for.
            looks: gives their looks.
            max_distance: bits in which the hashes of the whole pictures may differ.
        """
        self._views = views
        self._looks = looks
        self._max_distance = max_distance
        self._names: list[str] = []
        self._known: dict[str, int] = {}
        self._whole = _Bands(max_distance)
        self._centre = _Bands(max_distance + _CROP_SLACK)
        self._centres = np.empty((64, 2), np.uint64)

    def add(self, name: str) -> None:
        """Add one picture; one that is known already is left as it is."""
        if name in self._known:
            return
        number = self._known[name] = len(self._names)
        self._names.append(name)
        view = self._views[name]
        for kind in (0, 1):
            self._whole.add(kind, view.hashes[kind], number)
            self._centre.add(kind, int(view.windows[0, kind]), number)
        if number == len(self._centres):
            self._centres = np.concatenate([self._centres, np.empty_like(self._centres)])
        self._centres[number] = view.windows[0]

    def find(self, name: str) -> list[str]:
        """Return the names of the added pictures that are the same, in order of names."""
        if not self._names:
            return []
        view = self._views[name]
        hits = [
            candidate
            for candidate in self._whole_candidates(view)
            if self._is_same(name, candidate)
        ]
        found = set(hits)
        crops = (other for other in self._crop_candidates(view) if other not in found)
        return sorted([*hits, *(other for other in crops if self._is_crop(name, other))])

    def is_same(self, name: str, other: str) -> bool:
        """Return whether two pictures are the same, whether or not they were added."""
        if name == other or self._is_same(name, other):
            return True
        view, twin = self._views[name], self._views[other]
        distances = np.bitwise_count(view.windows ^ twin.windows[0]).min(axis=1)
        is_candidate = int(distances.min()) <= self._max_distance + _CROP_SLACK
        return is_candidate and self._is_crop(name, other)

    def _is_same(self, name: str, other: str) -> bool:
        view, twin = self._views[name], self._views[other]
        return (
            hash_distance(view, twin) <= self._max_distance
            and abs(twin.ratio / view.ratio - 1) < 0.05
            and is_same_look(self._looks(other), self._looks(name))
        )

    def _is_crop(self, name: str, other: str) -> bool:
        view, twin = self._views[name], self._views[other]
        if abs(twin.ratio / view.ratio - 1) > 0.05:
            return False
        look = self._looks(name)
        return is_near_thumb(look, view, twin) and is_crop_of(look, self._looks(other))

    def _whole_candidates(self, view: PictureView) -> Iterator[str]:
        if self._max_distance >= _HASH_BITS:
            yield from self._names
            return
        numbers = {hit for kind in (0, 1) for hit in self._whole.find(kind, view.hashes[kind])}
        yield from (self._names[number] for number in sorted(numbers))

    def _crop_candidates(self, view: PictureView) -> list[str]:
        if self._max_distance + _CROP_SLACK >= _HASH_BITS:
            return self._names
        numbers: set[int] = set()
        for kind in (0, 1):
            for value in set(view.windows[:, kind].tolist()):
                numbers.update(self._centre.find(kind, value))
        if not numbers:
            return []
        chosen = np.fromiter(numbers, np.int64, len(numbers))
        near = self._near_centres(view, chosen)
        return [self._names[number] for number in sorted(chosen[near].tolist())]

    def _near_centres(self, view: PictureView, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        gaps = view.windows[:, None, :] ^ self._centres[chosen][None, :, :]
        nearest = np.bitwise_count(gaps).min(axis=(0, 2))
        near: NDArray[np.bool_] = nearest <= self._max_distance + _CROP_SLACK
        return near


class _Bands:
    """Numbers by bands of the bits of their hashes."""

    def __init__(self, max_distance: int) -> None:
        num_bands = min(max_distance + 1, _HASH_BITS)
        edges = [round(band * _HASH_BITS / num_bands) for band in range(num_bands + 1)]
        self._spans = [(low, (1 << high - low) - 1) for low, high in itertools.pairwise(edges)]
        self._members: dict[tuple[int, int, int], list[int]] = defaultdict(list)

    def add(self, kind: int, value: int, number: int) -> None:
        for key in self._keys(kind, value):
            self._members[key].append(number)

    def find(self, kind: int, value: int) -> Iterable[int]:
        for key in self._keys(kind, value):
            yield from self._members.get(key, ())

    def _keys(self, kind: int, value: int) -> Iterator[tuple[int, int, int]]:
        for band, (low, mask) in enumerate(self._spans):
            yield kind, band, value >> low & mask
