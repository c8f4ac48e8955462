"""Numbers in short texts: what is surely one, and what might be read as one."""

import re
from decimal import Decimal
from typing import NamedTuple

_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
# [0-9], never \d: other digits and superscripts are not what Decimal and a reader agree on.
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(rf"[-+]?(?:{_DIGITS})(?:[eE][-+]?[0-9]{{1,3}}(?![0-9]))?")
_WHOLE = re.compile(rf"[$\u20ac\u00a3]?\s*(?P<number>{_NUMBER.pattern})\s*(?P<percent>%?)")
_FRACTION = re.compile(r"(?P<top>[-+]?[0-9]{1,30})\s*/\s*(?P<bottom>[0-9]{1,30})")
# Neighbours that make digits part of something else: B12, 12:45, 3/4, x^2, 1.2.3, 10-12.
_GLUE = re.compile(r"[\w:/^.\-*\\]")
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_WORDS = {word: Decimal(value) for value, word in enumerate(_COUNTING.split())}
_HEDGING = (
    "not no never neither nor or t cannot less more least most than over under above below between "
    "except unless"
)
_HEDGES = frozenset(_HEDGING.split())
_MAX_CHARS = 2000
_MAX_WORDS = 15
# "one" is more often a pronoun than a count, except in a phrase as short as "one tree".
_MAX_WORDS_AROUND_WORD = 3


class NumberReading(NamedTuple):
    """What numbers a text holds."""

    value: Decimal | None
    """The number that the text surely gives; absent where it gives none, or several."""
    possible: frozenset[Decimal]
    """Every number that a lenient reader may find."""


def normalize_signs(text: str) -> str:
    """Return the text with ASCII minus signs and spaces."""
    return text.translate(_MINUS)


def _parse(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def parse_number(text: str) -> Decimal | None:
    """Return the number that a text is, with nothing else in it; else None.

    >>> parse_number(" 1,234.0 ")
    Decimal('1234.0')
    >>> parse_number("12:45") is None
    True
    """
    text = normalize_signs(text).strip()
    text = text.removesuffix(".").rstrip()
    if len(text) > _MAX_CHARS:
        return None
    if whole := _WHOLE.fullmatch(text):
        return _parse(whole["number"])
    fraction = _FRACTION.fullmatch(text)
    if fraction and int(fraction["bottom"]):
        return Decimal(fraction["top"]) / Decimal(fraction["bottom"])
    return _WORDS.get(text.casefold())


def read_numbers(text: str) -> NumberReading:
    """Read the numbers of a short text.

    A sentence gives a number when it holds one that stands alone, nothing else with digits, and no
    word such as `not` or `less`.

    >>> read_numbers("There are 6 trees").value
    Decimal('6')
    >>> read_numbers("13 or 14").value is None
    True
    """
    text = normalize_signs(text)
    whole = parse_number(text)
    if whole is not None:
        return NumberReading(whole, frozenset({whole, whole / 100} if "%" in text else {whole}))
    text = text[:_MAX_CHARS]
    alone: set[Decimal] = set()
    possible: set[Decimal] = set()
    for match in _NUMBER.finditer(text):
        value = _parse(match[0])
        possible |= {value, *(Decimal(digits) for digits in re.findall(r"[0-9]+", match[0]))}
        before, after = text[: match.start()][-1:], text[match.end() :][:2]
        # A dot or dash after a number is punctuation unless more follows at once.
        is_glued = _GLUE.match(before) or re.match(r"[\w:/^*\\]|[.\-]\w", after)
        alone |= set() if is_glued else {value}
    words = re.findall(r"[a-z]+", text.casefold())
    num_runs = len(re.findall(r"[0-9][0-9,.]*", text))
    max_words = _MAX_WORDS
    if not possible:
        alone = possible = {_WORDS[word] for word in words if word in _WORDS}
        max_words = _MAX_WORDS_AROUND_WORD
    is_short = num_runs <= 1 and len(words) <= max_words and len(text) < _MAX_CHARS
    is_clear = is_short and len(alone) == 1 and _HEDGES.isdisjoint(words)
    return NumberReading(next(iter(alone)) if is_clear else None, frozenset(possible))
