"""Numbers in English words, up to hundreds."""

import re
from collections.abc import Sequence
from decimal import Decimal

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_MAX_CHARS = 60


def parse_number_words(text: str) -> Decimal | None:
    """Return the number that a text is in words, with nothing else in it; else None.

    >>> parse_number_words("Twenty-one"), parse_number_words("two hundred and five")
    (Decimal('21'), Decimal('205'))
    >>> parse_number_words("two trees") is None
    True
    """
    if len(text) > _MAX_CHARS:
        return None
    words = re.split(r"[\s-]+", text.strip().casefold())
    value, num_used = _read_first(words)
    return Decimal(value) if value is not None and num_used == len(words) else None


def read_number_words(words: Sequence[str]) -> set[Decimal]:
    """Return every number that stands among lower-case words.

    >>> sorted(read_number_words(["twenty", "one", "men", "and", "two", "dogs"]))
    [Decimal('2'), Decimal('21')]
    """
    found: set[Decimal] = set()
    start = 0
    while start < len(words):
        value, num_used = _read_first(words[start : start + 6])
        if value is not None:
            found.add(Decimal(value))
        start += num_used
    return found


def _read_first(words: Sequence[str]) -> tuple[int | None, int]:
    """Return the number at the beginning and how many words it takes; at least one is taken."""
    value, num_used = _read_below_hundred(words)
    if value is None or words[num_used : num_used + 1] != ["hundred"] or not 0 < value < 10:
        return value, max(num_used, 1)
    value, num_used = value * 100, num_used + 1
    skip = 1 if words[num_used : num_used + 1] == ["and"] else 0
    rest, num_rest = _read_below_hundred(words[num_used + skip :])
    if rest is None:
        return value, num_used
    return value + rest, num_used + skip + num_rest


def _read_below_hundred(words: Sequence[str]) -> tuple[int | None, int]:
    value = _VALUES.get(words[0]) if words else None
    if value is None:
        return None, 0
    unit = _VALUES.get(words[1], 0) if len(words) > 1 else 0
    if value >= 20 and 0 < unit < 10:
        return value + unit, 2
    return value, 1
