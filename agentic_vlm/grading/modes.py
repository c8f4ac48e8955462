"""Whose rules grade: ours, the benchmark authors', or those of the released evaluation."""

from enum import StrEnum


class Mode(StrEnum):
    """Named in every report, since scores differ by points between them."""

    STRICT = "strict"
    """Ours: three-valued, passes no wrong answer, leaves doubt to a judge. The default."""
    OFFICIAL = "official"
    """What the benchmark's authors do, or the evaluation kit that stands for them."""
    PAPER = "paper"
    """What the evaluation that was released with DeepEyesV2 does, with its defects."""


class Defect(StrEnum):
    """What mode `paper` copies on purpose; each can be switched off. `DEFECTS` explains them."""

    SWAPPED_ARGUMENTS = "swapped_arguments"
    LOST_OPTIONS = "lost_options"
    SUBSTRING_COUNT = "substring_count"
    UNROUNDED_FLOAT = "unrounded_float"
    NEVER_RIGHT = "never_right"
    VERBATIM_IRRATIONAL = "verbatim_irrational"
    SEPARATED_LETTERS = "separated_letters"
    MISSING_COMMAS = "missing_commas"
    BOXED_BRACKETS = "boxed_brackets"
    UPPER_CASED = "upper_cased"
    FIRST_TAG = "first_tag"
    EMPTY_REFERENCE = "empty_reference"
    PART_OF_REFERENCE = "part_of_reference"


DEFECTS = {
    Defect.SWAPPED_ARGUMENTS: "relaxed: the five per cent are of the answer, not of the reference",
    Defect.LOST_OPTIONS: "choice, option: texts such as None and NA are read as missing options",
    Defect.SUBSTRING_COUNT: "count: right where the digits occur anywhere, 13 for 3 included",
    Defect.UNROUNDED_FLOAT: "float: compared without rounding to the precision of the question",
    Defect.NEVER_RIGHT: "list: compared with the word None, so never right",
    Defect.VERBATIM_IRRATIONAL: "math: roots and pi must match letter by letter",
    Defect.SEPARATED_LETTERS: "letters: a reply with a blank, comma or full stop is asked again, "
    "then wrong; a reference `A,C` without a blank matches nothing",
    Defect.MISSING_COMMAS: "letter: some lead-ins are not removed; `Best answer: A` is read as B",
    Defect.BOXED_BRACKETS: r"letter: \boxed{(B)} is read as `(B)`, which is never `B`",
    Defect.UPPER_CASED: "letter: tagged answers are upper-cased, so `dog` names D",
    Defect.FIRST_TAG: "replies: the first answer tags count, not the last after the thought",
    Defect.EMPTY_REFERENCE: "ocr, ocr_formula: an empty reference is found in every answer",
    Defect.PART_OF_REFERENCE: "dynamath_text: a part of the reference passes, `e` for `even`",
}
"""Not copied, whatever the mode: a random option where none is found, `eval` of model text, a judge
that says yes wherever its reply holds `yes`, options that are changed for the caller."""

ALL_DEFECTS = frozenset(Defect)
