"""Is this answer right? One rule per type of answer; a rule that cannot decide says `ungraded`."""

import re
from typing import Protocol

from agentic_vlm.grading.boxes import grade_box
from agentic_vlm.grading.dynamath import strict_float
from agentic_vlm.grading.findings import Finding, Grade, Reference, RuleFunction
from agentic_vlm.grading.fork import PAPER
from agentic_vlm.grading.inscriptions import grade_ocr, grade_ocr_formula
from agentic_vlm.grading.mathematics import grade_math
from agentic_vlm.grading.mmsearch import grade_requery, grade_rerank
from agentic_vlm.grading.modes import ALL_DEFECTS, Defect, Mode
from agentic_vlm.grading.numeric import grade_count, grade_float, grade_integer, grade_relaxed
from agentic_vlm.grading.official import OFFICIAL
from agentic_vlm.grading.options import grade_choice, grade_letters, grade_option
from agentic_vlm.grading.phrases import (
    grade_contained,
    grade_exact,
    grade_list,
    grade_text,
    grade_token_f1,
)
from agentic_vlm.grading.quantities import parse_number
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, Verdict

# Rules look at an answer several times over; a longer one is no short answer but an essay.
_MAX_CHARS = 4000
_DEFAULTS = GradingParams()


class Gradable(Protocol):
    """What grading needs of a sample; RawSample and CuratedSample have it."""

    @property
    def answer(self) -> str:
        """The reference answer."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other texts that are right too."""

    @property
    def answer_type(self) -> AnswerType | None:
        """Which rule grades it; guessed from the reference where absent."""


_STRICT: dict[Rule, RuleFunction] = {
    Rule.CHOICE: grade_choice,
    Rule.LETTER: grade_choice,
    Rule.OPTION: grade_option,
    Rule.LETTERS: grade_letters,
    Rule.INTEGER: grade_integer,
    Rule.FLOAT: grade_float,
    Rule.RELAXED: grade_relaxed,
    Rule.COUNT: grade_count,
    Rule.TEXT: grade_text,
    Rule.EXACT: grade_exact,
    Rule.CONTAINED: grade_contained,
    Rule.TOKEN_F1: grade_token_f1,
    Rule.LIST: grade_list,
    Rule.OCR: grade_ocr,
    Rule.OCR_FORMULA: grade_ocr_formula,
    Rule.MATH: grade_math,
    Rule.BOX: grade_box,
    Rule.DYNAMATH_FLOAT: strict_float,
    Rule.DYNAMATH_CHOICE: grade_choice,
    Rule.DYNAMATH_TEXT: grade_text,
    Rule.REQUERY: grade_requery,
    Rule.RERANK: grade_rerank,
    Rule.ATTEMPT: grade_text,
    Rule.RUBRIC: grade_text,
}


def grade_answer(
    answer: str | None, sample: Gradable, *, params: GradingParams = _DEFAULTS
) -> Grade:
    """Grade an answer by the rule of its type.

    Args:
        answer: the extracted answer; None for an episode that ended without one by its own doing.
            Infrastructure failures are no answers: callers leave them out.
        sample: the sample that was asked.
        params: tolerances and time limits.

    Returns:
        `incorrect` only where the rule is sure; doubt is `ungraded`, for a judge to decide.

    Raises:
        JudgeUnavailable: a symbolic comparison is needed and its process does not start.
    """
    rule = sample.answer_type or guess_answer_type(sample.answer)
    reference = Reference(sample.answer, sample.aliases)
    return grade_by_rule(Rule(rule.value), answer, reference, params=params)


def grade_by_rule(
    rule: Rule,
    answer: str | None,
    reference: Reference,
    *,
    params: GradingParams = _DEFAULTS,
    mode: Mode = Mode.STRICT,
    defects: frozenset[Defect] = ALL_DEFECTS,
) -> Grade:
    """Grade an answer by a named rule; arguments and errors as in `grade_answer`.

    Args:
        rule: which rule.
        answer: the extracted answer; None where there is none.
        reference: what it is compared with.
        params: tolerances and time limits.
        mode: whose rules.
        defects: what mode `paper` copies; other modes have none.
    """
    if answer is None or not answer.strip():
        return Grade(Verdict.INCORRECT, "none", "no answer")
    if mode is Mode.STRICT and answer.strip() in {text.strip() for text in reference.texts}:
        return Grade(Verdict.CORRECT, "identical", "equals the reference letter by letter")
    if max(map(len, (answer, *reference.texts, *reference.options))) > _MAX_CHARS:
        return Grade(Verdict.UNGRADED, rule.value, "too long for a rule")
    finding = _find(rule, answer, reference, params, mode, defects)
    return Grade(finding.verdict, rule.value, finding.reason, finding.score)


def _find(
    rule: Rule,
    answer: str,
    reference: Reference,
    params: GradingParams,
    mode: Mode,
    defects: frozenset[Defect],
) -> Finding:
    match mode:
        case Mode.STRICT:
            return _STRICT[rule](answer, reference, params)
        case Mode.OFFICIAL:
            return OFFICIAL[rule](answer, reference, params)
        case Mode.PAPER:
            return PAPER[rule](answer, reference, params, defects)


def guess_answer_type(reference: str) -> AnswerType:
    r"""Return the type that a reference answer looks like.

    >>> references = ("B", "1,234", "0.5", "red, blue", r"\frac{1}{2}")
    >>> [guess_answer_type(reference).value for reference in references]
    ['choice', 'integer', 'float', 'list', 'math']
    """
    text = reference.strip()
    if re.fullmatch(r"\(?[A-H]\)?\.?", text):
        return AnswerType.CHOICE
    number = parse_number(text)
    is_plain = not re.search(r"[\\^]", text)
    if number is not None and is_plain and any(sign.isdigit() for sign in text):
        return AnswerType.INTEGER if number == number.to_integral_value() else AnswerType.FLOAT
    if re.search(r"\\[a-zA-Z]+|[=^\u221a\u03c0]|\$", text):
        return AnswerType.MATH
    return AnswerType.LIST if re.search(r",\s|;", text) else AnswerType.TEXT
