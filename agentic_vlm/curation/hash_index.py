"""Which 64-bit hashes are within a few bits of others, among many, without comparing all.

Multi-index hashing (Norouzi, Punjani, Fleet, arXiv 1307.2982): two hashes that differ in at most 7
bits differ in at most 1 bit of at least one of four bands of 16. So each band is looked up as it is
and with every single bit flipped, and what is found there is compared in full: nothing is missed.
"""

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE = 7
"""Bits up to which everything is found."""
_NUM_BANDS = 4
_BAND_BITS = 16
_FLIPS = np.array([0, *(1 << bit for bit in range(_BAND_BITS))], np.uint16)


class HashIndex:
    """Hashes that do not change, sorted by each of their bands: 24 bytes per hash.

    >>> index = HashIndex(np.array([0b1011, 0xFFFF_0000_0000], np.uint64))
    >>> index.find(np.array([0b1000], np.uint64), max_distance=2)
    array([0])
    """

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        """Take [N] hashes, which keep their numbers."""
        self._hashes = np.ascontiguousarray(hashes)
        self._orders = np.empty((_NUM_BANDS, len(hashes)), np.uint32)
        self._starts = np.zeros((_NUM_BANDS, (1 << _BAND_BITS) + 1), np.int64)
        for band, values in enumerate(_bands(self._hashes).T):
            # The stable order of 16 bits is found by radix, in linear time.
            self._orders[band] = np.argsort(values, kind="stable")
            self._starts[band, 1:] = np.bincount(values, minlength=1 << _BAND_BITS).cumsum()

    def count(self, wanted: NDArray[np.uint64]) -> int:
        """Return how many comparisons it takes to find what is near any of [K] hashes."""
        return sum(
            int((self._starts[band][keys + 1] - self._starts[band][keys]).sum())
            for band, keys in enumerate(_keys(wanted))
        )

    def find(self, wanted: NDArray[np.uint64], *, max_distance: int) -> NDArray[np.int64]:
        """Return the numbers of the hashes that are near any of [K], in order, each once.

        Raises:
            ValueError: `max_distance` exceeds MAX_DISTANCE.
        """
        if max_distance > MAX_DISTANCE:
            raise ValueError(f"{max_distance} bits: only what is within {MAX_DISTANCE} is found")
        found = [np.empty(0, np.int64)]
        for band, keys in enumerate(_keys(wanted)):
            starts = self._starts[band][keys]
            lengths = self._starts[band][keys + 1] - starts
            ends = lengths.cumsum()
            places = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
            numbers = self._orders[band][places]
            sought = np.repeat(np.repeat(wanted, len(_FLIPS)), lengths)
            near = np.bitwise_count(self._hashes[numbers] ^ sought) <= max_distance
            found.append(numbers[near].astype(np.int64))
        return np.unique(np.concatenate(found))


def _bands(hashes: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return [N, 4] bands of [N] hashes."""
    return np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, _NUM_BANDS)


def _keys(wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return [4, K * 17] values under which to look in each band."""
    flipped = _bands(wanted).T[:, :, None] ^ _FLIPS
    return flipped.reshape(_NUM_BANDS, -1).astype(np.int64)
