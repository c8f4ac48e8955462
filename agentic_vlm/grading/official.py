"""Mode `official`: the rule of each benchmark's authors, or of the kit that stands for them.

`docs/grading.md` names the benchmark and the source of each rule.
"""

import re
from decimal import Decimal

from agentic_vlm.grading.boxes import iou, read_boxes, read_tagged_boxes
from agentic_vlm.grading.dynamath import dynamath_choice, dynamath_float, dynamath_text
from agentic_vlm.grading.findings import Finding, Reference, RuleFunction, decide, doubt
from agentic_vlm.grading.kits import (
    edit_distance,
    first_letter,
    infer_option,
    normalize_answer,
    relaxed_correctness,
    to_number,
)
from agentic_vlm.grading.latex import squeeze
from agentic_vlm.grading.mmsearch import grade_requery, grade_rerank
from agentic_vlm.grading.number_words import parse_number_words
from agentic_vlm.grading.phrases import token_f1
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.grading.texts import last_box, strip_lead_in
from agentic_vlm.params import GradingParams

LETTERS = "ABCDEFGH"
_MAX_NEAREST = 500


def letter_verdict(letter: str | None, wanted: str) -> Finding:
    """Grade what the kit's option matching read."""
    if letter is None or letter == "Z":
        return doubt("the kit reads no option and asks a model")
    return decide(letter == wanted, f"the kit reads option {letter}")


def _choice(answer: str, reference: Reference, params: GradingParams) -> Finding:
    options = reference.options or tuple(f"option {letter}" for letter in LETTERS)
    return letter_verdict(infer_option(answer, options), reference.answer.strip().upper())


def _letter(answer: str, reference: Reference, params: GradingParams) -> Finding:
    letter = first_letter(answer, has_commas=True)
    return decide(letter == reference.answer.strip(), f"the first letter is {letter or 'none'}")


def _option(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MathVista: the letter, else the nearest option by edit distance; then its text."""
    text = answer.strip()
    if found := re.fullmatch(r"\(?([A-Z])\)?\.?", text):
        index = ord(found[1]) - ord("A")
        text = reference.options[index] if index < len(reference.options) else text
    if len(text) > _MAX_NEAREST or any(len(one) > _MAX_NEAREST for one in reference.options):
        return doubt("too long for the edit distance")
    nearest = min(reference.options, key=lambda one: edit_distance(text, one), default=text)
    return decide(nearest == reference.answer, f"the nearest option is {nearest}"[:80])


def _letters(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """LogicVista: a reply of capital letters, in any order."""
    given = re.sub(r"[\s,.()]|\band\b", "", answer)
    if not re.fullmatch(r"[A-Z]+", given):
        return doubt("the rule asks a model for the letters")
    wanted = re.sub(r"[\s,]", "", reference.answer)
    return decide(sorted(given) == sorted(wanted), f"letters {given}"[:80])


def _integer(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MathVista: the figures before the point."""
    number, wanted = to_number(answer), to_number(reference.answer)
    if number is None or wanted is None or not abs(number) < 1e300 or not abs(wanted) < 1e300:
        return decide(False, "no number")
    return decide(int(number) == int(wanted), f"the number {int(number)}"[:80])


def _float(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MathVista: equal after rounding to the precision of the question."""
    number, wanted = to_number(answer), to_number(reference.answer)
    if number is None or wanted is None:
        return decide(False, "no number")
    if reference.precision is not None:
        digits = min(max(reference.precision, 0), 15)
        number, wanted = round(number, digits), round(wanted, digits)
    return decide(number == wanted, f"the number {number}"[:80])


def _relaxed(answer: str, reference: Reference, params: GradingParams) -> Finding:
    is_right = any(relaxed_correctness(answer, text) for text in reference.texts)
    return decide(is_right, "relaxed accuracy")


def _count(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """lmms-eval: equal as numbers, in digits or words."""
    given, wanted = _whole(answer), _whole(reference.answer)
    return decide(given is not None and given == wanted, f"the number {given}"[:80])


def _whole(text: str) -> Decimal | None:
    text = text.strip().rstrip(".")
    return Decimal(text) if re.fullmatch(r"[0-9]{1,30}", text) else parse_number_words(text)


def _verbatim(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MathVista: the same text."""
    return decide(answer == reference.answer, "compared as texts")


def exact_match(answer: str, reference: Reference) -> bool:
    """Return whether an answer equals a reference after SQuAD's normalisation."""
    given = normalize_answer(answer)
    return any(normalize_answer(text) == given for text in reference.texts)


def is_same_text(answer: str, reference: Reference) -> bool:
    """Return whether an answer is an exact match that no judge need see.

    SQuAD's normalisation drops the decimal point, so that 1.5 would match 15.
    """
    given = _figures(answer)
    return any(
        exact_match(answer, Reference(text)) and _figures(text) == given for text in reference.texts
    )


def _figures(text: str) -> list[str]:
    return [found.replace(",", "") for found in re.findall(r"[0-9]+(?:[.,][0-9]+)*", text)]


def _text(answer: str, reference: Reference, params: GradingParams) -> Finding:
    if is_same_text(answer, reference):
        return decide(True, "exact match")
    return doubt("the benchmarks with such answers ask a judge")


def _exact(answer: str, reference: Reference, params: GradingParams) -> Finding:
    return decide(exact_match(answer, reference), "exact match after normalisation")


def _contained(answer: str, reference: Reference, params: GradingParams) -> Finding:
    given = normalize_answer(answer)
    is_inside = any(normalize_answer(text) in given for text in reference.texts)
    return decide(is_inside, "looked for as a part of the text")


def _token_f1(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MMSearch: the score counts; a verdict is given for 0 and 1 only."""
    words = normalize_answer(answer).split()
    best = max(_f1(words, normalize_answer(text).split()) for text in reference.texts)
    return doubt("a share of the words", best) if 0 < best < 1 else decide(best == 1, "F1", best)


def _f1(answer: list[str], reference: list[str]) -> float:
    # Two texts of which nothing is left agree.
    return token_f1(answer, reference) if answer and reference else float(answer == reference)


def _ocr(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """OCRBench: a part of the text, letter case aside."""
    given = answer.lower().strip().replace("\n", " ")
    is_inside = any(text.lower().strip().replace("\n", " ") in given for text in reference.texts)
    return decide(is_inside, "looked for as a part of the text")


def _ocr_formula(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """OCRBench, handwritten formulas: a part of the text without blanks, letter case kept."""
    given = re.sub(r"\s", "", answer)
    is_inside = any(re.sub(r"\s", "", text) in given for text in reference.texts)
    return decide(is_inside, "looked for as a part of the formula")


def _math(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """MathVision: box, LaTeX cleaned, letter or value of the option, two decimals."""
    given = squeeze(strip_lead_in(last_box(answer) or answer)).lower()
    wanted = {squeeze(text).lower() for text in reference.texts}
    letter = reference.answer.strip()
    if reference.options and letter in LETTERS and len(letter) == 1:
        index = ord(letter) - ord("A")
        wanted |= {squeeze(text).lower() for text in reference.options[index : index + 1]}
    if given and given in wanted:
        return decide(True, "the same text after cleaning")
    number = to_number(given)
    numbers = [value for value in map(to_number, wanted) if value is not None]
    is_equal = number is not None and any(round(number, 2) == round(one, 2) for one in numbers)
    return decide(is_equal, "compared to two decimals")


def _box(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """TreeBench: the best box in tags, of integers without blanks."""
    wanted = [box for text in reference.texts for box in read_boxes(text)]
    given = read_tagged_boxes(answer)
    if not wanted or not given:
        return decide(False, "no box in tags", 0.0)
    best = max(iou(box, one) for box in given for one in wanted)
    return decide(best >= reference.min_iou, f"IoU {best:.2f}", best)


def _rubric(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """CharXiv: the same text is right, all else is for the judge, who gets the rubric."""
    if answer.strip() in {text.strip() for text in reference.texts}:
        return decide(True, "the same text")
    return doubt("the benchmark asks a judge, with the rubric of the question")


OFFICIAL: dict[Rule, RuleFunction] = {
    Rule.CHOICE: _choice,
    Rule.LETTER: _letter,
    Rule.OPTION: _option,
    Rule.LETTERS: _letters,
    Rule.INTEGER: _integer,
    Rule.FLOAT: _float,
    Rule.RELAXED: _relaxed,
    Rule.COUNT: _count,
    Rule.TEXT: _text,
    Rule.EXACT: _exact,
    Rule.CONTAINED: _contained,
    Rule.TOKEN_F1: _token_f1,
    Rule.LIST: _verbatim,
    Rule.OCR: _ocr,
    Rule.OCR_FORMULA: _ocr_formula,
    Rule.MATH: _math,
    Rule.BOX: _box,
    Rule.DYNAMATH_FLOAT: dynamath_float,
    Rule.DYNAMATH_CHOICE: dynamath_choice,
    Rule.DYNAMATH_TEXT: dynamath_text,
    Rule.REQUERY: grade_requery,
    Rule.RERANK: grade_rerank,
    Rule.ATTEMPT: _text,
    Rule.RUBRIC: _rubric,
}
