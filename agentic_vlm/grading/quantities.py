"""Numbers in short texts: what is surely one, and what might be read as one."""

import re
from decimal import Decimal
from typing import NamedTuple

from agentic_vlm.grading.number_words import parse_number_words, read_number_words

_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "}
    | {chr(0xFF10 + digit): str(digit) for digit in range(10)}
)
# [0-9], never \d: other digits and superscripts are not what Decimal and a reader agree on.
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(rf"[-+]?(?:{_DIGITS})(?:[eE][-+]?[0-9]{{1,3}}(?![0-9]))?")
_WHOLE = re.compile(rf"[$\u20ac\u00a3]?\s*(?P<number>{_NUMBER.pattern})\s*(?P<percent>%?)")
_FRACTION = re.compile(r"(?P<top>[-+]?[0-9]{1,30})\s*/\s*(?P<bottom>[0-9]{1,30})")
# Neighbours that make digits part of something else: B12, 12:45, 3/4, x^2, 1.2.3, 10-12.
_GLUE = re.compile(r"[\w:/^.\-*\\]")
_MIXED = re.compile(r"(?P<whole>[-+]?[0-9]{1,15})\s+(?P<top>[0-9]{1,15})/(?P<bottom>[0-9]{1,15})")
_LATEX_FRACTION = re.compile(r"(?P<sign>-?)\\[dt]?frac\{([0-9]{1,15})\}\{([0-9]{1,15})\}")
_POWER = re.compile(r"(?P<base>[0-9]{1,6})\s*\^\s*\{?(?P<exponent>-?[0-9]{1,2})\}?")
_TIMES_TEN = re.compile(
    rf"(?P<number>{_NUMBER.pattern})\s*(?:\u00d7|\\times|\\cdot|\u00b7|\*|x)\s*"
    r"10\s*\^\s*\{?(?P<exponent>[-+]?[0-9]{1,3})\}?"
)
_SCALE = re.compile(r"\s+(hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_DECIMAL_COMMA = re.compile(r"(?<![0-9,.])([0-9]+),([0-9]{1,2})(?![0-9,])")
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
    """Return the text with ASCII digits, minus signs and spaces."""
    return text.translate(_SIGNS)


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
    notation = _parse_notation(text)
    return notation if notation is not None else parse_number_words(text)


def _parse_notation(text: str) -> Decimal | None:
    r"""Read `1 1/2`, a LaTeX fraction, `10^3` and `1.5 \times 10^{-3}`."""
    if mixed := _MIXED.fullmatch(text):
        if not int(mixed["bottom"]):
            return None
        part = Decimal(mixed["top"]) / Decimal(mixed["bottom"])
        return Decimal(mixed["whole"]) + (-part if text.startswith("-") else part)
    if fraction := _LATEX_FRACTION.fullmatch(text):
        value = Decimal(fraction[2]) / Decimal(fraction[3]) if int(fraction[3]) else None
        return -value if value is not None and fraction["sign"] else value
    if power := _POWER.fullmatch(text):
        base, exponent = Decimal(power["base"]), int(power["exponent"])
        return None if base == 0 and exponent <= 0 else base**exponent
    if scientific := _TIMES_TEN.fullmatch(text):
        return _parse(scientific["number"]).scaleb(int(scientific["exponent"]))
    return None


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
        if scale := _SCALE.match(text, match.end()):
            possible |= {value, value.scaleb(_SCALES[scale[1].casefold()])}
            continue
        possible |= {value, *(Decimal(digits) for digits in re.findall(r"[0-9]+", match[0]))}
        before, after = text[: match.start()][-1:], text[match.end() :][:2]
        # A dot or dash after a number is punctuation unless more follows at once.
        is_glued = _GLUE.match(before) or re.match(r"[\w:/^*\\]|[.\-]\w", after)
        alone |= set() if is_glued else {value}
    possible |= {Decimal(f"{whole}.{part}") for whole, part in _DECIMAL_COMMA.findall(text)}
    words = re.findall(r"[a-z]+", text.casefold())
    num_runs = len(re.findall(r"[0-9][0-9,.]*", text))
    max_words = _MAX_WORDS
    if not possible:
        alone = possible = read_number_words(words)
        max_words = _MAX_WORDS_AROUND_WORD
    is_short = num_runs <= 1 and len(words) <= max_words and len(text) < _MAX_CHARS
    is_clear = is_short and len(alone) == 1 and _HEDGES.isdisjoint(words)
    return NumberReading(next(iter(alone)) if is_clear else None, frozenset(possible))
