"""Which questions may be near each other, for more questions than memory holds.

The bands of all MinHash sketches wait in a file. One band at a time is sorted, and questions that
share it are put into a group; memory holds one band and the groups.
"""

from array import array
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from agentic_vlm.curation.digests import digest_of
from agentic_vlm.curation.texts import NUM_BANDS, bands_of, decisive_words

_BLOCK = 1 << 15


class QuestionPairs:
    """Takes all questions first, then tells which ones are worth a comparison."""

    def __init__(self) -> None:
        """Begin without questions; the file is temporary."""
        self._file = TemporaryFile()  # noqa: SIM115  # lives as long as the pairs
        self._digests = array("Q")
        self._waiting: list[NDArray[np.uint64]] = []
        self._blocks: list[int] = []
        self._groups: list[tuple[int, ...]] = []
        self._groups_of: dict[int, list[int]] = {}

    def add(self, sample_id: str, question: str) -> None:
        """Take a question."""
        # Near questions have the same numbers and names, so that templates do not meet here.
        words = digest_of(" ".join(sorted(decisive_words(question))))
        self._waiting.append(bands_of(question) ^ np.uint64(words))
        self._digests.append(digest_of(sample_id))
        if len(self._waiting) == _BLOCK:
            self._flush()

    def settle(self) -> None:
        """Find the groups, once all questions are there."""
        self._flush()
        numbers: dict[tuple[int, ...], int] = {}
        for band in range(NUM_BANDS):
            for members in self._shared(band):
                number = numbers.setdefault(members, len(self._groups))
                if number == len(self._groups):
                    self._groups.append(members)
                    for digest in members:
                        self._groups_of.setdefault(digest, []).append(number)

    def near(self, sample_id: str) -> set[int]:
        """Return the digests of the ids of questions that may be near, itself included."""
        groups = self._groups_of.get(digest_of(sample_id), ())
        return {digest for number in groups for digest in self._groups[number]}

    def _shared(self, band: int) -> list[tuple[int, ...]]:
        """Return the digests of the questions that share a value of a band, group by group."""
        column = self._column(band)
        order = np.argsort(column, kind="stable")
        column = column[order]
        # Most values stand once: only where runs of equal ones begin and end is kept.
        is_again = np.r_[False, column[1:] == column[:-1], False].astype(np.int8)
        edges = np.diff(is_again)
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) + 1
        found = []
        for start, end in zip(starts, ends, strict=True):
            members = {self._digests[number] for number in order[start:end]}
            # Rows of one id are exact duplicates, which are found without this.
            if len(members) > 1:
                found.append(tuple(sorted(members)))
        return found

    def _column(self, band: int) -> NDArray[np.uint64]:
        column = np.empty(sum(self._blocks), np.uint64)
        start = 0
        for size in self._blocks:
            self._file.seek(8 * (NUM_BANDS * start + band * size))
            column[start : start + size] = np.frombuffer(self._file.read(8 * size), np.uint64)
            start += size
        return column

    def _flush(self) -> None:
        if self._waiting:
            self._file.seek(0, 2)
            self._file.write(np.stack(self._waiting, axis=1).tobytes())
            self._blocks.append(len(self._waiting))
            self._waiting = []
