"""How near two questions are, and what in them must not differ."""

import re
from collections.abc import Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

_SHINGLE = 4
_NUM_PERMUTATIONS = 128
# 32 bands of 4 propose 99 % of the pairs from a similarity of 0.6 on, which a tenth of the words
# changed stays above; the exact comparison decides.
NUM_BANDS = 32
"""Bands of a sketch; near questions share at least one."""
_ROWS_PER_BAND = 4
_MIX = np.random.default_rng(1).integers(1, 1 << 63, _ROWS_PER_BAND, np.uint64) | np.uint64(1)
_MAX_CHANGED_WORDS = 0.1
_WORD = re.compile(r"\w+(?:[.,]\d+)*")
# Words that begin a sentence with a capital letter and name nothing.
_OPENERS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "based", "by", "can", "calculate", "compute"),
        *("consider", "count", "describe", "determine", "do", "does", "each", "find", "for"),
        *("from", "give", "given", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its"),
        *("let", "list", "many", "name", "of", "on", "please", "read", "say", "she", "so"),
        *("suppose", "tell", "that", "the", "their", "then", "there", "these", "they", "this"),
        *("to", "was", "we", "were", "what", "when", "where", "which", "who", "whose", "why"),
        *("with", "you"),
    )
)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, numbers whole.

    >>> words_of("How many of 1,250 pens?")
    ['how', 'many', 'of', '1,250', 'pens']
    """
    return [word.lower() for word in _WORD.findall(text)]


def decisive_words(text: str) -> frozenset[str]:
    """Return the words that make a different question when they differ: numbers and names.

    >>> sorted(decisive_words("How many pens has Tom in 3 boxes?"))
    ['3', 'tom']
    """
    found = (word for word in _WORD.findall(text) if _is_number(word) or word[0].isupper())
    return frozenset(word.lower() for word in found) - _OPENERS


def _is_number(word: str) -> bool:
    return any(sign.isdigit() for sign in word)


def shingles_of(text: str) -> frozenset[str]:
    """Return the overlapping pieces of four characters of a text, words apart by one blank."""
    plain = " ".join(words_of(text))
    last = max(len(plain) - _SHINGLE, 0)
    return frozenset(plain[start : start + _SHINGLE] for start in range(last + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Return the share of common members; 1 for two empty sets.

    >>> jaccard(frozenset("ab"), frozenset("bc"))
    0.3333333333333333
    """
    both = left | right
    return len(left & right) / len(both) if both else 1.0


def is_near_question(left: str, right: str, *, threshold: float) -> bool:
    """Return whether two questions ask the same in nearly the same words.

    Numbers and names agree, and either the shingles do from `threshold` on, or all but a tenth of
    the words do.
    """
    if decisive_words(left) != decisive_words(right):
        return False
    if jaccard(shingles_of(left), shingles_of(right)) >= threshold:
        return True
    words, others = words_of(left), words_of(right)
    limit = int(_MAX_CHANGED_WORDS * max(len(words), len(others)) + 1e-9)
    return is_within_edits(words, others, limit)


def is_within_edits(left: list[str], right: list[str], limit: int) -> bool:
    """Return whether at most `limit` words must be added, dropped or replaced.

    >>> is_within_edits("how many red pens".split(), "how many blue pens".split(), 1)
    True
    >>> is_within_edits("how many".split(), "how many red pens".split(), 1)
    False
    """
    if abs(len(left) - len(right)) > limit:
        return False
    row = list(range(len(right) + 1))
    for number, word in enumerate(left, start=1):
        above, row[0] = row[0], number
        for at, other in enumerate(right, start=1):
            cost = min(row[at] + 1, row[at - 1] + 1, above + (word != other))
            above, row[at] = row[at], cost
        if min(row) > limit:
            return False
    return row[-1] <= limit


def iter_ngrams(text: str, size: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of `size` words."""
    words = words_of(text)
    for start in range(len(words) - size + 1):
        yield tuple(words[start : start + size])


class QuestionFinder:
    """Proposes near questions among many; the caller decides with `is_near_question`."""

    def __init__(self) -> None:
        """Begin without questions."""
        self._index = MinHashLSH(num_perm=_NUM_PERMUTATIONS, params=(NUM_BANDS, _ROWS_PER_BAND))

    def propose(self, text: str) -> list[str]:
        """Return names of questions that may be near, sorted."""
        return sorted(self._index.query(_sketch(text)))

    def propose_and_add(self, name: str, text: str) -> list[str]:
        """Return names of earlier questions that may be near, sorted; then add this one."""
        sketch = _sketch(text)
        names = sorted(self._index.query(sketch))
        if name not in self._index:
            self._index.insert(name, sketch)
        return names


def bands_of(text: str) -> NDArray[np.uint64]:
    """Return [32] numbers: questions that QuestionFinder would propose have one in common."""
    values = _sketch(text).hashvalues.astype(np.uint64).reshape(NUM_BANDS, _ROWS_PER_BAND)
    # The product wraps around, which is what mixes.
    mixed: NDArray[np.uint64] = (values * _MIX).sum(axis=1, dtype=np.uint64)
    return mixed


def _sketch(text: str) -> MinHash:
    sketch = MinHash(num_perm=_NUM_PERMUTATIONS, seed=1)
    sketch.update_batch([piece.encode() for piece in sorted(shingles_of(text))])
    return sketch
