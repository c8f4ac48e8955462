"""Mode `paper`: what the evaluation released with DeepEyesV2 does, defect by defect.

Source: the VLMEvalKit fork in DeepEyesV2 0373e6e. Where it asks a model, the finding is doubt.
"""

import re
from collections.abc import Callable

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.kits import (
    calculate,
    first_letter,
    infer_option,
    relaxed_correctness,
    to_number,
)
from agentic_vlm.grading.mathematics import grade_math
from agentic_vlm.grading.modes import Defect
from agentic_vlm.grading.official import LETTERS, OFFICIAL, is_same_text, letter_verdict
from agentic_vlm.grading.phrases import grade_text
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.params import GradingParams

Defects = frozenset[Defect]
PaperRule = Callable[[str, Reference, GradingParams, Defects], Finding]

# What pandas takes for a missing cell.
_MISSING = frozenset(
    {"", "#N/A", "N/A", "NA", "n/a", "nan", "NaN", "null", "NULL", "None", "<NA>", "-nan", "-NaN"}
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")


def _options(reference: Reference, defects: Defects) -> list[str | None]:
    texts = reference.options or tuple(f"option {letter}" for letter in LETTERS)
    loses = Defect.LOST_OPTIONS in defects
    return [None if loses and text in _MISSING else text for text in texts]


def _choice(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    letter = infer_option(answer, _options(reference, defects))
    return letter_verdict(letter, reference.answer.strip().upper())


def _option(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if reference.answer not in reference.options:
        return doubt("the reference is none of the options")
    wanted = LETTERS[reference.options.index(reference.answer) :][:1]
    return letter_verdict(infer_option(answer, _options(reference, defects)), wanted)


def _letter(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    tagged = re.search(r"<answer>(.*?)</answer>", answer, re.DOTALL)
    text = tagged[1] if tagged else answer
    if Defect.UPPER_CASED in defects and tagged:
        text = text.upper()
    boxed = re.search(r"\\boxed\{(\([A-E]\))\}", text, re.IGNORECASE)
    if Defect.BOXED_BRACKETS in defects and boxed:
        return decide(False, f"reads {boxed[1]}, which is no letter")
    letter = first_letter(text, has_commas=Defect.MISSING_COMMAS not in defects)
    return decide(letter == reference.answer.strip(), f"the first letter is {letter or 'none'}")


def _letters(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if Defect.SEPARATED_LETTERS not in defects:
        return OFFICIAL[Rule.LETTERS](answer, reference, params)
    if not re.fullmatch(r"[A-Z]+", answer):
        return doubt("a model is asked for letters, and again where it writes anything between")
    wanted = reference.answer.split(", ")
    return decide(sorted(answer) == sorted(wanted), f"letters {answer}"[:80])


def _integer(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    # Python refuses to convert more digits than these, and so do we.
    is_whole = re.fullmatch(r"\s*[-+]?[0-9]{1,300}\s*", answer)
    wanted = to_number(reference.answer)
    is_equal = bool(is_whole) and wanted is not None and float(answer) == wanted
    return decide(is_equal, "compared as whole numbers")


def _float(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if Defect.UNROUNDED_FLOAT not in defects:
        return OFFICIAL[Rule.FLOAT](answer, reference, params)
    number, wanted = to_number(answer), to_number(reference.answer)
    return decide(number is not None and number == wanted, "compared without rounding")


def _relaxed(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    for text in reference.texts:
        pair = (text, answer) if Defect.SWAPPED_ARGUMENTS in defects else (answer, text)
        if relaxed_correctness(*pair):
            return decide(True, "relaxed accuracy")
    return doubt("whatever the rule does not pass goes to the judge")


def _count(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if Defect.SUBSTRING_COUNT not in defects:
        return OFFICIAL[Rule.COUNT](answer, reference, params)
    return decide(reference.answer.strip() in answer, "looked for as a part of the text")


def _list(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if Defect.NEVER_RIGHT not in defects:
        return OFFICIAL[Rule.LIST](answer, reference, params)
    return decide(answer == "None", "compared with the word None")


def _text(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    if is_same_text(answer, reference):
        return decide(True, "exact match")
    return doubt("goes to the judge")


def _ocr(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    return _unless_empty(Rule.OCR, answer, reference, params, defects)


def _ocr_formula(
    answer: str, reference: Reference, params: GradingParams, defects: Defects
) -> Finding:
    return _unless_empty(Rule.OCR_FORMULA, answer, reference, params, defects)


def _unless_empty(
    rule: Rule, answer: str, reference: Reference, params: GradingParams, defects: Defects
) -> Finding:
    if Defect.EMPTY_REFERENCE not in defects and not all(map(str.strip, reference.texts)):
        return doubt("the reference is empty")
    return OFFICIAL[rule](answer, reference, params)


def _dynamath_text(
    answer: str, reference: Reference, params: GradingParams, defects: Defects
) -> Finding:
    if Defect.PART_OF_REFERENCE not in defects:
        return grade_text(answer, reference, params)
    return OFFICIAL[Rule.DYNAMATH_TEXT](answer, reference, params)


def _as_official(rule: Rule) -> PaperRule:
    return lambda answer, reference, params, defects: OFFICIAL[rule](answer, reference, params)


def _math(answer: str, reference: Reference, params: GradingParams, defects: Defects) -> Finding:
    """Equal as lower-case texts, else as numbers within 1e-6; names such as sqrt are unknown."""
    if reference.options:
        return _choice(answer, reference, params, defects)
    if answer.lower() == reference.answer.lower():
        return decide(True, "the same text")
    number, wanted = _arithmetic(answer), _arithmetic(reference.answer)
    if number is not None and wanted is not None:
        return decide(abs(number - wanted) < 1e-6, "compared as numbers")
    if Defect.VERBATIM_IRRATIONAL in defects:
        return decide(False, "another text, and no plain number")
    return grade_math(answer, reference, params)


def _arithmetic(text: str) -> float | None:
    if len(text) > 200:
        return None
    plain = _LATEX_FRACTION.sub(r"((\1)/(\2))", text.replace("$", ""))
    plain = plain.replace(r"\times", "*").replace(r"\cdot", "*").replace("^", "**")
    return calculate(plain.translate(str.maketrans("{}", "()")))


PAPER: dict[Rule, PaperRule] = {
    Rule.CHOICE: _choice,
    Rule.LETTER: _letter,
    Rule.OPTION: _option,
    Rule.LETTERS: _letters,
    Rule.INTEGER: _integer,
    Rule.FLOAT: _float,
    Rule.RELAXED: _relaxed,
    Rule.COUNT: _count,
    Rule.TEXT: _text,
    Rule.EXACT: _text,
    Rule.CONTAINED: _text,
    Rule.TOKEN_F1: _text,
    Rule.LIST: _list,
    Rule.OCR: _ocr,
    Rule.OCR_FORMULA: _ocr_formula,
    Rule.MATH: _math,
    Rule.BOX: _as_official(Rule.BOX),
    Rule.DYNAMATH_FLOAT: _as_official(Rule.DYNAMATH_FLOAT),
    Rule.DYNAMATH_CHOICE: _as_official(Rule.DYNAMATH_CHOICE),
    Rule.DYNAMATH_TEXT: _dynamath_text,
    Rule.REQUERY: _as_official(Rule.REQUERY),
    Rule.RERANK: _as_official(Rule.RERANK),
    Rule.ATTEMPT: _text,
    Rule.RUBRIC: _as_official(Rule.RUBRIC),
}
