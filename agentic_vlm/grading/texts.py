"""Texts made comparable: letter case, articles, punctuation, lead-ins."""

import re
import unicodedata

_LEAD_IN = re.compile(
    r"\s*(?:(?:so|thus|therefore|hence)\b[\s,]*)?"
    r"(?:(?:the\s+)?(?:final\s+|correct\s+|right\s+)?(?:answer|option|choice)\s*(?:is\s*:?|:)|it\s+is\b|it's\b)\s*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_ARTICLES = frozenset({"a", "an", "the"})
_WRAPPERS = re.compile(r"[*`$]+")


def strip_lead_in(text: str) -> str:
    r"""Return the text without `The answer is`, boxes, emphasis and a trailing full stop.

    >>> strip_lead_in("So the answer is: **12**.")
    '12'
    >>> strip_lead_in(r"\boxed{B}")
    'B'
    """
    boxes = _BOXED.findall(text)
    if boxes and boxes[-1].strip():
        text = boxes[-1]
    text = _WRAPPERS.sub("", text).strip()
    lead = _LEAD_IN.match(text)
    if lead and text[lead.end() :].strip():
        text = text[lead.end() :]
    text = text.strip()
    shorter = text[:-1].rstrip() if text.endswith(".") else text
    return shorter or text


def text_words(text: str) -> list[str]:
    """Return the words that count: casefolded, no punctuation, no articles.

    Signs that change a meaning stay: `-3`, `c++`, `50%`, `3.5`.

    >>> text_words("The Red, round plate!")
    ['red', 'round', 'plate']
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = [word.strip(".,;:!?\"'()[]{}\u2018\u2019\u201c\u201d") for word in folded.split()]
    words = [word for word in words if word]
    return [word for word in words if word not in _ARTICLES] or words


def contains_words(words: list[str], part: list[str]) -> bool:
    """Return whether `part` occurs in `words` as a run of whole words.

    >>> contains_words(["13"], ["3"])
    False
    """
    if not part:
        return False
    spots = (index for index, word in enumerate(words) if word == part[0])
    return any(words[spot : spot + len(part)] == part for spot in spots)
