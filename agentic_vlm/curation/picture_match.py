"""Which pictures are the same: hashes propose, a look at the pixels decides."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from agentic_vlm.curation.alignment import Cuttings, is_crop_of, near_thumbs, unexplained
from agentic_vlm.curation.picture_hashes import CROP_SLACK, MAX_STRETCH, PictureHashes
from agentic_vlm.curation.pictures import LOOK_PX, Look, Looks, PictureView, take_look

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
_MAX_LOOKS = 2048


class LookCache:
    """Looks of pictures, loaded when they are needed; the last 2,048 stay (100 MB)."""

    def __init__(self, load: Callable[[str], Image.Image]) -> None:
        """Take what decodes a picture by its digest."""
        self._load = load
        self._looks: OrderedDict[str, Look] = OrderedDict()

    def offer(self, name: str, look: Look) -> None:
        """Take a look that is there already, if there is room: decoding costs milliseconds."""
        if len(self._looks) < _MAX_LOOKS:
            self._looks[name] = look

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
    """Finds the same picture among many.

    The same but for size, compression and slight exposure, or cut by 5 % of both sides. Pixels are
    compared only where hashes agree.
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
        self._known: set[str] = set()
        self._hashes = PictureHashes(max_distance=max_distance)

    def add(self, name: str) -> None:
        """Add one picture; one that is known already is left as it is."""
        if name in self._known:
            return
        self._known.add(name)
        self._names.append(name)
        self._hashes.add(self._views[name])

    def find(self, name: str) -> list[str]:
        """Return the names of the added pictures that are the same, in order of names."""
        found = self._hashes.find(self._views[name])
        whole, crops = ([self._names[number] for number in numbers] for numbers in found)
        same = {other for other in whole if is_same_look(self._looks(other), self._looks(name))}
        return sorted(
            same.union(self._crops(name, [other for other in crops if other not in same]))
        )

    def is_same(self, name: str, other: str) -> bool:
        """Return whether two pictures are the same, whether or not they were added."""
        if name == other:
            return True
        view, twin = self._views[name], self._views[other]
        stretch = abs(twin.ratio / view.ratio - 1)
        if (
            hash_distance(view, twin) <= self._max_distance
            and stretch < MAX_STRETCH
            and is_same_look(self._looks(other), self._looks(name))
        ):
            return True
        nearest = int(np.bitwise_count(view.windows ^ twin.windows[0]).min())
        is_candidate = nearest <= self._max_distance + CROP_SLACK and stretch <= MAX_STRETCH
        return is_candidate and bool(self._crops(name, [other]))

    def _crops(self, name: str, others: Sequence[str]) -> list[str]:
        """Return those of the others of which the picture holds the centre, up to a crop."""
        if not others:
            return []
        seen = Cuttings(self._looks(name))
        near = near_thumbs(seen, self._views[name], [self._views[other] for other in others])
        return [
            other
            for other, is_near in zip(others, near, strict=True)
            if is_near and is_crop_of(seen, Cuttings(self._looks(other)))
        ]
