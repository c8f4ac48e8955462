"""Rules for text that was read in a picture: containment, and formulas sign by sign."""

import re
import unicodedata

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.texts import (
    after_lead_in,
    contains_words,
    is_hedged,
    strip_emphasis,
    text_words,
)
from agentic_vlm.params import GradingParams

_MAX_WORDS = 40
_WORD_SIGN = re.compile(r"[A-Za-z0-9]")
_FORMULA_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|,|;|!|:|quad|qquad)(?![A-Za-z])|\\[()\[\]]|[\s$]"
)
_LONE_BRACES = re.compile(r"(?<=[\^_])\{(\\[A-Za-z]+|.)\}")


def grade_ocr(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """OCR-type containment: whole words, or a part of the text in scripts without blanks."""
    answer = strip_emphasis(answer)
    words = text_words(answer)
    folded = unicodedata.normalize("NFKC", answer).casefold()
    is_inside = False
    for text in reference.texts:
        wanted = text_words(text)
        whole = unicodedata.normalize("NFKC", text).casefold().strip()
        if not wanted:
            continue
        is_inside |= whole in folded
        has_blanks = bool(_WORD_SIGN.search(whole))
        if contains_words(words, wanted) or (not has_blanks and whole in folded):
            if is_hedged(words, besides=wanted):
                return doubt("holds the text beside words such as `not` or `or`")
            if len(words) > len(wanted) + _MAX_WORDS:
                return doubt("holds the text in a long answer")
            return decide(True, "holds the text")
    if not any(map(text_words, reference.texts)):
        return doubt("the reference is empty")
    return decide(False, "inside other words only" if is_inside else "does not hold the text")


def grade_ocr_formula(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Formulas that were read: the same signs, whatever the blanks; letter case counts."""
    given = {canonical_formula(answer), canonical_formula(after_lead_in(answer))}
    wanted = [canonical_formula(text) for text in reference.texts]
    if not any(wanted):
        return doubt("the reference is empty")
    is_same = not given.isdisjoint(wanted)
    return decide(is_same, "same signs" if is_same else "other signs")


def canonical_formula(text: str) -> str:
    r"""Return a formula without blanks, dollars and choices of size.

    >>> canonical_formula(r"$\dfrac { a } { b } ^ {2}$")
    '\\frac{a}{b}^2'
    """
    text = _FORMULA_NOISE.sub("", text)
    text = re.sub(r"\\[dt]frac(?![A-Za-z])", r"\\frac", text)
    return _LONE_BRACES.sub(r"\1", text)
