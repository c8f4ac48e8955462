"""Multiple choice to open form: the question without its options, the text of the right one.

Source: DeepEyesV2, section 3.1: questions are rewritten to open-ended ones, so that a guess among
four letters earns nothing.
"""

import re

from agentic_vlm.formats.row import split_options
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.schema import AnswerType, CuratedSample

_LETTER = re.compile(r"\(?([A-Z])\)?\.?")
# Questions that mean nothing without their options, and options that mean nothing without others.
_NEEDS_OPTIONS = re.compile(
    r"\b(?:which|what) (?:one )?of (?:the|these|those)\b|\bfollowing\b|\boptions?\b|\bchoices?\b"
    r"|\bchoose\b|\bselect\b|\bbelow\b|\bnot\b|\bexcept\b|\b(?:best|most|least|closest)\b",
    re.IGNORECASE,
)
_NEEDS_OTHERS = re.compile(
    r"\b(?:all|none|both|neither|any) of\b|\babove\b|\bcannot be\b|\b(?:and|or) [A-E]\b|^[A-Z]$"
    r"|^picture \d+$",
    re.IGNORECASE,
)
_MAX_ANSWER_WORDS = 8


def to_open_form(sample: CuratedSample) -> CuratedSample:
    """Return the sample as an open question; as it is where it needs its options.

    The id stays: it is the digest of the sample as its source gave it.
    """
    question, options = split_options(sample.question)
    letter = _LETTER.fullmatch(sample.answer)
    if not options or letter is None or sample.answer_type is not AnswerType.CHOICE:
        return sample
    number = ord(letter[1]) - ord("A")
    if number >= len(options):
        return sample
    answer = options[number].strip()
    is_open = (
        question.rstrip().endswith("?")
        and not _NEEDS_OPTIONS.search(question)
        and not any(_NEEDS_OTHERS.search(option) for option in options)
        and len({option.casefold() for option in options}) == len(options)
        and 0 < len(answer.split()) <= _MAX_ANSWER_WORDS
    )
    if not is_open:
        return sample
    changes = {
        "question": question,
        "answer": answer,
        "aliases": (),
        "answer_type": guess_answer_type(answer),
    }
    return sample.model_copy(update=changes)
