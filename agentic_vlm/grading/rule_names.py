"""The names of the rules, as the command line and the suites spell them."""

from enum import StrEnum


class Rule(StrEnum):
    """Every rule; those of AnswerType have the same names."""

    CHOICE = "choice"
    """One option; the reference is its letter."""
    LETTER = "letter"
    """As `choice`, for benchmarks whose own rule takes the first capital letter."""
    OPTION = "option"
    """One option; the reference is its text."""
    LETTERS = "letters"
    """Several option letters in any order."""
    INTEGER = "integer"
    FLOAT = "float"
    RELAXED = "relaxed"
    """Numbers within five per cent, texts equal."""
    COUNT = "count"
    TEXT = "text"
    EXACT = "exact"
    CONTAINED = "contained"
    """The reference stands in the answer."""
    TOKEN_F1 = "token_f1"
    """Shared words, with a score."""
    LIST = "list"
    OCR = "ocr"
    """Text that was read in a picture stands in the answer."""
    OCR_FORMULA = "ocr_formula"
    MATH = "math"
    BOX = "box"
    """Intersection over union of two boxes, with a score."""
