"""Numbers by text in little memory: 16 to 48 bytes per entry, whatever the texts are."""

import hashlib
from array import array

_FIRST_SLOTS = 1 << 10
_EMPTY = 0


def digest_of(text: str) -> int:
    """Return 64 bits that stand for a text, never 0.

    Two of a million texts have the same ones with a chance of one in thirty million.

    >>> digest_of("a") == digest_of("a") != digest_of("b")
    True
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) or 1


class DigestMap:
    """A number for each digest; a table of machine words, not of Python objects.

    >>> places = DigestMap()
    >>> places.add(digest_of("a"), 7)
    True
    >>> places.add(digest_of("a"), 8), places.get(digest_of("a")), places.get(digest_of("b"))
    (False, 7, None)
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._keys = array("Q", bytes(8 * _FIRST_SLOTS))
        self._values = array("Q", bytes(8 * _FIRST_SLOTS))
        self._num = 0

    def __len__(self) -> int:
        return self._num

    def add(self, digest: int, value: int) -> bool:
        """Set the number of a digest that has none; return False where it has one."""
        slot = self._slot(digest)
        if self._keys[slot] != _EMPTY:
            return False
        self._keys[slot], self._values[slot] = digest, value
        self._num += 1
        if 3 * self._num > 2 * len(self._keys):
            self._grow()
        return True

    def get(self, digest: int) -> int | None:
        """Return the number of a digest; None where it has none."""
        slot = self._slot(digest)
        return None if self._keys[slot] == _EMPTY else self._values[slot]

    def _slot(self, digest: int) -> int:
        mask = len(self._keys) - 1
        slot = digest & mask
        while self._keys[slot] not in (_EMPTY, digest):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._keys = array("Q", bytes(16 * len(keys)))
        self._values = array("Q", bytes(16 * len(keys)))
        for key, value in zip(keys, values, strict=True):
            if key != _EMPTY:
                slot = self._slot(key)
                self._keys[slot], self._values[slot] = key, value
