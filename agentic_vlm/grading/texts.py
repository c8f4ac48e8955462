"""Texts made comparable: letter case, articles, punctuation, lead-ins, boxes."""

import json
import re
import unicodedata

_LEAD_IN = re.compile(
    r"\s*(?:(?:so|thus|therefore|hence)\b[\s,]*)?"
    r"(?:i\s+(?:think|believe)\s+(?:that\s+)?)?"
    r"(?:(?:the\s+)?(?:final\s+|correct\s+|right\s+|best\s+)?(?:answer|option|choice)s?\s*(?:is\s*:?|are\s*:?|:)"
    r"|it\s+is\b|it's\b)\s*",
    re.IGNORECASE,
)
_BOX = "\\boxed{"
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_LATEX_BRACKETS = re.compile(r"\\[()\[\]]")
_ARTICLES = frozenset({"a", "an", "the"})
_WRAPPERS = re.compile(r"[*`$]+")
_EMPHASIS = re.compile(
    r"(?<!\w)(?:\*{2,3}([^*\n]+)\*{2,3}|\*([^*\n]+)\*|`{1,3}([^`\n]+)`{1,3})(?!\w)"
)
_EMPHASIZED = re.compile(r"(?:\*{1,3}|`{1,3})(.+?)(?:\*{1,3}|`{1,3})", re.DOTALL)
_PUNCTUATION = ".,;:!?\"'()[]{}\u2018\u2019\u201c\u201d\u3002\uff0c"
_HEDGES = frozenset(
    {"not", "no", "never", "neither", "nor", "or", "cannot", "except", "isn't", "unless", "rather"}
)


def last_box(text: str) -> str | None:
    r"""Return what the last LaTeX box holds, a box that was cut off included; None without one.

    >>> last_box(r"\boxed{13} so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    start = text.rfind(_BOX)
    if start < 0:
        return None
    depth = 1
    begin = start + len(_BOX)
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index].strip()
    return text[begin:].strip()


def unwrap(text: str) -> str:
    r"""Return the text without tags, JSON, boxes and LaTeX text commands around it.

    >>> unwrap('{"answer": "A"}')
    'A'
    >>> unwrap(r"so $\boxed{\text{B}}$")
    'B'
    """
    text = text.strip().removeprefix("<answer>").removesuffix("</answer>").strip()
    text = _json_answer(text) or text
    text = last_box(text) or text
    text = _LATEX_TEXT.sub(r"\1", text)
    return _LATEX_BRACKETS.sub(" ", text).strip()


def _json_answer(text: str) -> str | None:
    if not text.startswith("{"):
        return None
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return None
    answer = reply.get("answer") if isinstance(reply, dict) else None
    return str(answer) if isinstance(answer, str | int | float) else None


def strip_lead_in(text: str) -> str:
    r"""Return the text without `The answer is`, boxes, emphasis and a trailing full stop.

    >>> strip_lead_in("So the answer is: **12**.")
    '12'
    >>> strip_lead_in(r"\boxed{B}")
    'B'
    """
    text = _WRAPPERS.sub("", unwrap(text)).strip()
    lead = _LEAD_IN.match(text)
    if lead and text[lead.end() :].strip():
        text = text[lead.end() :]
    text = text.strip()
    shorter = text[:-1].rstrip() if text.endswith(".") else text
    return shorter or text


def strip_emphasis(text: str) -> str:
    """Return the text without pairs of Markdown stars and back-ticks around words.

    >>> strip_emphasis("It says **STOP** and `12.50`."), strip_emphasis("a*b*c, 5*")
    ('It says STOP and 12.50.', 'a*b*c, 5*')
    """
    return _EMPHASIS.sub(lambda match: next(filter(None, match.groups())), text)


def after_lead_in(text: str) -> str:
    """Return what follows `The answer is`, else the whole text; nothing inside it changes.

    >>> after_lead_in("The answer is **a*b**"), after_lead_in("x^2")
    ('a*b', 'x^2')
    """
    lead = _LEAD_IN.match(text)
    rest = text[lead.end() :].strip() if lead else text.strip()
    whole = _EMPHASIZED.fullmatch(rest or text.strip())
    return whole[1] if whole else rest or text


def text_words(text: str) -> list[str]:
    """Return the words that count: casefolded, no punctuation, no articles.

    Signs that change a meaning stay: `-3`, `c++`, `50%`, `3.5`.

    >>> text_words("The Red, round plate!")
    ['red', 'round', 'plate']
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = [word.strip(_PUNCTUATION) for word in folded.split()]
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


def is_hedged(words: list[str], *, besides: list[str]) -> bool:
    """Return whether words such as `not` and `or` stand beside those of the reference.

    >>> is_hedged(["not", "red"], besides=["red"])
    True
    """
    return any(word in _HEDGES or word.endswith("n't") for word in words if word not in besides)
