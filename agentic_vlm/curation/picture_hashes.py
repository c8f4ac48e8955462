"""Hashes of many pictures: which pictures are worth a look at the pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentic_vlm.curation.hash_index import MAX_DISTANCE, HashIndex
from agentic_vlm.curation.pictures import PictureView

MAX_STRETCH = 0.05
"""Share by which the ratios of the sides may differ."""
# A crop moves the content by up to half a step of the windows. Measured on line drawings, which
# move most: 97 % of 480 crops are within 6 bits, and photographs and scenes all within 4.
CROP_SLACK = 2
"""Bits by which hashes of parts may differ beyond those of whole pictures."""
# Hashes that are compared at once: what 19 windows differ in stays in the cache of a core.
_BLOCK = 4096
# Comparing what the index proposes costs some four times as much as comparing one after the other.
_COST_OF_PROPOSAL = 4


class Candidates(NamedTuple):
    """Numbers of pictures, each in order."""

    whole: NDArray[np.int64]
    """Their hashes agree as they are."""
    crops: NDArray[np.int64]
    """The hashes of their centres agree with those of a part."""


class PictureHashes:
    """Hashes and sides of pictures, numbered as they are added.

    Full blocks are indexed; the pictures after them are compared one by one, and all of them are
    where so many look alike that the index would propose most. Either way finds the same.
    """

    def __init__(self, *, max_distance: int, block: int | None = None) -> None:
        """Begin without pictures.

        Args:
            max_distance: bits in which the hashes of the whole pictures may differ.
            block: pictures that are compared at once, and after which the index is made anew;
                4,096 where it is absent.
        """
        self._max_distance = max_distance
        self._block = _BLOCK if block is None else block
        self._hashes = np.empty((64, 4), np.uint64)
        self._ratios = np.empty(64)
        self._num = 0
        self.num_indexed = 0
        """Pictures, the first ones, that are looked up in the index."""
        self._indexes: list[HashIndex] = []

    def __len__(self) -> int:
        return self._num

    def add(self, view: PictureView) -> None:
        """Add a picture; its number is that of the pictures before it."""
        if self._num == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._ratios = np.concatenate([self._ratios, np.empty_like(self._ratios)])
        self._hashes[self._num] = (*view.hashes, *view.windows[0])
        self._ratios[self._num] = view.ratio
        self._num += 1
        if self._num % self._block == 0:
            self._index()

    def find(self, view: PictureView) -> Candidates:
        """Return the pictures whose hashes and sides agree: of the whole, and of a crop."""
        found = []
        start = 0
        if self.is_worth_looking_up(view):
            found.append(self._look_up(view))
            start = self.num_indexed
        for begin in range(start, self._num, self._block):
            found.append(self._compare(view, begin, min(begin + self._block, self._num)))
        none = np.empty(0, np.int64)
        return Candidates(
            np.concatenate([none, *(one.whole for one in found)]),
            np.concatenate([none, *(one.crops for one in found)]),
        )

    def _index(self) -> None:
        if self._max_distance + CROP_SLACK <= MAX_DISTANCE:
            self._indexes = [HashIndex(column) for column in self._hashes[: self._num].T]
            self.num_indexed = self._num

    def is_worth_looking_up(self, view: PictureView) -> bool:
        """Return whether the index proposes few enough pictures."""
        if not self._indexes:
            return False
        wanted = _wanted(view)
        num_proposed = sum(map(HashIndex.count, self._indexes, wanted))
        return num_proposed * _COST_OF_PROPOSAL <= sum(map(len, wanted)) * self.num_indexed

    def _look_up(self, view: PictureView) -> Candidates:
        limits = [self._max_distance] * 2 + [self._max_distance + CROP_SLACK] * 2
        one, two, three, four = (
            index.find(wanted, max_distance=limit)
            for index, wanted, limit in zip(self._indexes, _wanted(view), limits, strict=True)
        )
        whole, crops = np.union1d(one, two), np.union1d(three, four)
        return Candidates(
            whole[self._stretch(view, whole) < MAX_STRETCH],
            crops[self._stretch(view, crops) <= MAX_STRETCH],
        )

    def _compare(self, view: PictureView, start: int, stop: int) -> Candidates:
        hashes = self._hashes[start:stop]
        stretch = self._stretch(view, slice(start, stop))
        gaps = np.bitwise_count(hashes[:, :2] ^ np.array(view.hashes, np.uint64)).min(axis=1)
        whole = (gaps <= self._max_distance) & (stretch < MAX_STRETCH)
        gaps = np.bitwise_count(hashes[:, None, 2:] ^ view.windows).min(axis=(1, 2))
        crops = (gaps <= self._max_distance + CROP_SLACK) & (stretch <= MAX_STRETCH)
        return Candidates(start + np.flatnonzero(whole), start + np.flatnonzero(crops))

    def _stretch(
        self, view: PictureView, numbers: NDArray[np.int64] | slice
    ) -> NDArray[np.float64]:
        change: NDArray[np.float64] = np.abs(self._ratios[numbers] / view.ratio - 1)
        return change


def _wanted(view: PictureView) -> list[NDArray[np.uint64]]:
    """Return what is looked for in each of the four columns of hashes."""
    whole = np.array(view.hashes, np.uint64)
    return [whole[:1], whole[1:], view.windows[:, 0], view.windows[:, 1]]
