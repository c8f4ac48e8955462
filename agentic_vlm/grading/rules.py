"""Is this answer right? One rule per type of answer; a rule that cannot decide says `ungraded`."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from agentic_vlm.grading.math_pool import shared_pool
from agentic_vlm.grading.quantities import parse_number, read_numbers
from agentic_vlm.grading.texts import contains_words, strip_lead_in, text_words
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, Verdict

_OPTION = re.compile(r"\s*[(\[]?\s*(?:option\s+|choice\s+)?([A-Za-z])\s*[)\].:]?\s*", re.IGNORECASE)
_LEADING_OPTION = re.compile(r"\s*(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[).:])\s+\S")
_ITEM_BREAK = re.compile(r"[;\n]|,\s+(?:and\s+)?|\s+and\s+")
_MAX_MATH_CHARS = 1000
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


class Grade(NamedTuple):
    """A verdict and where it comes from."""

    verdict: Verdict
    rule: str
    """Name of the rule: a type of answer, or `none`, `identical`, `judge`."""
    reason: str
    """Why, in one sentence part."""


class _Finding(NamedTuple):
    verdict: Verdict
    reason: str


_Rule = Callable[[str, Sequence[str], GradingParams], _Finding]


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
    if answer is None or not answer.strip():
        return Grade(Verdict.INCORRECT, "none", "no answer")
    references = (sample.answer, *sample.aliases)
    if any(answer.strip() == reference.strip() for reference in references):
        return Grade(Verdict.CORRECT, "identical", "equals the reference letter by letter")
    verdict, reason = _RULES[rule](answer, references, params)
    return Grade(verdict, rule.value, reason)


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
    if number is not None and any(sign.isdigit() for sign in text):
        return AnswerType.INTEGER if number == number.to_integral_value() else AnswerType.FLOAT
    if re.search(r"\\[a-zA-Z]+|[=^\u221a\u03c0]|\$", text):
        return AnswerType.MATH
    return AnswerType.LIST if re.search(r",\s|;", text) else AnswerType.TEXT


def _choice(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    wanted = {letter for letter in map(_option_letter, references) if letter}
    given = _option_letter(answer)
    if given:
        return _decide(given in wanted, f"option {given}")
    by_text = _text(answer, references, params)
    if by_text.verdict is Verdict.CORRECT:
        return by_text
    named = set(re.findall(r"(?<![\w'])([A-Z])(?![\w'])", answer))
    if named & wanted:
        return _Finding(Verdict.UNGRADED, "names the option among other words")
    if named - {"A", "I"}:
        return _Finding(Verdict.INCORRECT, "names other options only")
    return _Finding(Verdict.UNGRADED, "names no option")


def _option_letter(text: str) -> str | None:
    """Return the one option that a text names at its beginning, else None."""
    short = strip_lead_in(text)
    if whole := _OPTION.fullmatch(short):
        return whole[1].upper()
    leading = _LEADING_OPTION.match(short)
    if leading is None:
        return None
    letter = str(leading[1] or leading[2] or leading[3])
    others = set(re.findall(r"(?<![\w'])([B-HJ-Z])(?![\w'])", short)) - {letter}
    return None if others else letter


def _integer(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    return _number(answer, references, params, tolerance=Decimal(0))


def _float(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    return _number(answer, references, params, tolerance=Decimal(str(params.float_tolerance)))


def _number(
    answer: str, references: Sequence[str], params: GradingParams, *, tolerance: Decimal
) -> _Finding:
    wanted = [number for number in map(parse_number, references) if number is not None]
    if not wanted:
        return _text(answer, references, params)

    def matches(number: Decimal) -> bool:
        return any(is_close(number, reference, tolerance=tolerance) for reference in wanted)

    reading = read_numbers(strip_lead_in(answer))
    if reading.value is not None and matches(reading.value):
        return _Finding(Verdict.CORRECT, f"the number {reading.value}"[:80])
    if any(matches(number) for number in reading.possible):
        return _Finding(Verdict.UNGRADED, "holds the number among other things")
    if not reading.possible:
        return _Finding(Verdict.INCORRECT, "holds no number")
    return _Finding(Verdict.INCORRECT, "another number")


def is_close(number: Decimal, reference: Decimal, *, tolerance: Decimal) -> bool:
    """Return whether a number is within the relative tolerance of the reference."""
    # Exponents of up to three digits are far inside Decimal's range, so this cannot overflow.
    return abs(number - reference) <= tolerance * abs(reference)


def _text(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    words, short = text_words(answer), text_words(strip_lead_in(answer))
    wanted = [text_words(reference) for reference in references]
    if any(reference in (words, short) for reference in wanted if reference):
        return _Finding(Verdict.CORRECT, "same words")
    if any(contains_words(words, reference) for reference in wanted):
        return _Finding(Verdict.UNGRADED, "holds the reference among other words")
    return _Finding(Verdict.INCORRECT, "other words")


def _list(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    given = _items(strip_lead_in(answer))
    for reference in references:
        wanted = _items(strip_lead_in(reference))
        numbers = [parse_number(item) for item in wanted]
        if wanted and all(number is not None for number in numbers):
            if [parse_number(item) for item in given] == numbers:
                return _Finding(Verdict.CORRECT, "same numbers in the same order")
        elif _multiset(given) == _multiset(wanted) != Counter():
            return _Finding(Verdict.CORRECT, "same items")
    return _Finding(Verdict.INCORRECT, "other items")


def _items(text: str) -> list[str]:
    text = text.strip().strip("[](){}").strip()
    items = [item for item in _ITEM_BREAK.split(text) if item.strip()]
    return items if len(items) > 1 else [item for item in text.split(",") if item.strip()]


def _multiset(items: Sequence[str]) -> Counter[str]:
    return Counter(" ".join(text_words(item)) for item in items)


def _math(answer: str, references: Sequence[str], params: GradingParams) -> _Finding:
    short = strip_lead_in(answer)
    number = parse_number(short)
    findings = []
    for reference in references:
        wanted = parse_number(strip_lead_in(reference))
        if number is not None and wanted is not None:
            findings.append(_decide(number == wanted, f"the number {number}"[:80]))
        elif _is_words(short) or _is_words(reference):
            findings.append(_text(answer, [reference], params))
        else:
            findings.append(_symbolic(answer, reference, params))
    for verdict in (Verdict.CORRECT, Verdict.UNGRADED):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return findings[0]


def _is_words(text: str) -> bool:
    """Return whether a text is words, not mathematics: no digit, operator, command or variable."""
    return not re.search(r"[0-9\\=^+*/<>{}$|\u221a\u03c0]", text) and bool(re.search(r"\w\w", text))


def _symbolic(answer: str, reference: str, params: GradingParams) -> _Finding:
    if len(answer) > _MAX_MATH_CHARS or len(reference) > _MAX_MATH_CHARS:
        return _Finding(Verdict.UNGRADED, "too long for a symbolic comparison")
    # Math-Verify takes the last number of "13 or 14", and reads 36% as 36 and as 0.36.
    if re.search(r"\bor\b|%", answer) and not re.search(r"\bor\b|%", reference):
        return _Finding(Verdict.UNGRADED, "gives alternatives or a percentage")
    equal = shared_pool().is_equal(reference, answer, timeout_s=params.math_timeout_s)
    if equal is None:
        return _Finding(Verdict.UNGRADED, "no symbolic verdict in time")
    return _decide(equal, "symbolically equal" if equal else "symbolically different")


def _decide(is_correct: bool, reason: str) -> _Finding:
    return _Finding(Verdict.CORRECT if is_correct else Verdict.INCORRECT, reason)


_RULES: dict[AnswerType, _Rule] = {
    AnswerType.CHOICE: _choice,
    AnswerType.INTEGER: _integer,
    AnswerType.FLOAT: _float,
    AnswerType.TEXT: _text,
    AnswerType.LIST: _list,
    AnswerType.MATH: _math,
}
