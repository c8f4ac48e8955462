"""Rules for words: short answers, exact match, containment, token F1, lists."""

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.quantities import parse_number
from agentic_vlm.grading.texts import (
    contains_words,
    is_hedged,
    strip_emphasis,
    strip_lead_in,
    text_words,
)
from agentic_vlm.params import GradingParams

# An answer much longer than this names several things; a reader must say which one it means.
_MAX_CONTAINING_WORDS = 24
_POLARITY = frozenset({"yes", "no"})
_MONTH_NAMES = (
    "january february march april may june july august september october november december"
)
_MONTHS = frozenset(_MONTH_NAMES.split())
_PER_CENT = re.compile(r"([0-9])\s*(?:%|per\s?cent\b)", re.IGNORECASE)
_ITEM_BREAK = re.compile(r"[;\n]|,\s+(?:and\s+)?|\s+and\s+|\s+&\s+")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|[0-9]{1,2}[.)])\s+", re.MULTILINE)


def grade_text(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Short answers: the same words are right; the reference among other words is doubt."""
    if finding := _grade_polarity(answer, reference):
        return finding
    words, short = _words(answer), _words(strip_lead_in(answer))
    wanted = [_words(text) for text in reference.texts]
    if any(one in (words, short) for one in wanted if one):
        return decide(True, "same words")
    if any(_is_reordered(answer, short, text) for text in reference.texts):
        return decide(True, "same words in another usual order")
    if any(contains_words(words, one) for one in wanted):
        return doubt("holds the reference among other words")
    if any(len(one) > 1 and contains_words(one, short) for one in wanted):
        return doubt("holds a part of the reference only")
    return decide(False, "other words")


def grade_exact(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Exact match: the same words, nothing more."""
    given = (_words(answer), _words(strip_lead_in(answer)))
    is_same = any(_words(text) in given for text in reference.texts if _words(text))
    return decide(is_same, "same words" if is_same else "other words")


def grade_contained(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Containment: the reference stands in the answer as a run of whole words, unhedged."""
    if finding := _grade_polarity(answer, reference):
        return finding
    words = _words(strip_emphasis(answer))
    for one in map(_words, reference.texts):
        if contains_words(words, one):
            if is_hedged(words, besides=one):
                return doubt("holds the reference beside words such as `not` or `or`")
            if len(words) > len(one) + _MAX_CONTAINING_WORDS:
                return doubt("holds the reference in a long text")
            return decide(True, "holds the reference")
    return decide(False, "does not hold the reference")


def grade_token_f1(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Token F1: the score is the best over the aliases; only 0 and 1 are verdicts."""
    words = text_words(strip_lead_in(answer))
    best = max(token_f1(words, text_words(text)) for text in reference.texts)
    if 0 < best < 1:
        return doubt("some words are the same", best)
    return decide(best == 1, "same words" if best else "no common word", best)


def token_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Return the F1 of two bags of words.

    >>> token_f1(["marie"], ["marie", "curie"])
    0.6666666666666666
    """
    num_common = sum((Counter(answer) & Counter(reference)).values())
    if not num_common:
        return 0.0
    return 2 * num_common / (len(answer) + len(reference))


def grade_list(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Lists: names in any order, numbers in the order of the reference."""
    given = list_items(strip_lead_in(answer))
    if re.search(r"\bor\b", answer) and not re.search(r"\bor\b", reference.answer):
        return doubt("gives alternatives")
    for text in reference.texts:
        wanted = list_items(strip_lead_in(text))
        numbers: list[Decimal | None] = [parse_number(item) for item in wanted]
        if wanted and all(number is not None for number in numbers):
            if [parse_number(item) for item in given] == numbers:
                return decide(True, "same numbers in the same order")
        elif _multiset(given) == _multiset(wanted) != Counter():
            return decide(True, "same items")
    return decide(False, "other items")


def list_items(text: str) -> list[str]:
    """Return the items of a list in words, brackets or lines.

    >>> list_items("['red', 'blue']")
    ["'red'", "'blue'"]
    """
    text = _BULLET.sub("", text).strip().strip("[](){}").strip()
    items = [item for item in _ITEM_BREAK.split(text) if item.strip()]
    return items if len(items) > 1 else [item for item in text.split(",") if item.strip()]


def _words(text: str) -> list[str]:
    return text_words(_PER_CENT.sub(r"\1%", text))


def _grade_polarity(answer: str, reference: Reference) -> Finding | None:
    """Grade an answer to a yes-no question by its first word, as a reader does."""
    wanted = {word for text in reference.texts for word in text_words(text)}
    if not wanted or not wanted <= _POLARITY:
        return None
    first_sentence = re.split(r"[.!\n]", strip_lead_in(answer), maxsplit=1)[0]
    words = text_words(first_sentence)
    if not words or words[0] not in _POLARITY or set(words) >= _POLARITY:
        return None
    return decide(words[0] in wanted, f"says {words[0]}")


def _is_reordered(answer: str, words: list[str], reference: str) -> bool:
    """Recognise `Curie, Marie` and `15 April 1912`."""
    wanted = _words(reference)
    if sorted(words) != sorted(wanted) or len(wanted) < 2:
        return False
    if not _MONTHS.isdisjoint(wanted):
        return True
    # One of the two may be written `Family, Given`.
    family, comma, given = answer.partition(",")
    if comma and "," not in reference:
        return text_words(f"{given} {family}") == wanted
    family, comma, given = reference.partition(",")
    return bool(comma) and "," not in answer and text_words(f"{given} {family}") == words


def _multiset(items: Sequence[str]) -> Counter[str]:
    return Counter(" ".join(text_words(item)) for item in items)
