"""Rules for numbers: integer, float, relaxed accuracy, counting."""

import re
from decimal import ROUND_HALF_EVEN, Decimal

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.phrases import grade_text
from agentic_vlm.grading.quantities import parse_number, read_numbers
from agentic_vlm.grading.texts import strip_lead_in, text_words
from agentic_vlm.params import GradingParams

RELAXED_TOLERANCE = Decimal("0.05")
"""Source: ChartQA, arXiv 2203.10244, section 5.1."""
# Beyond this, rounding to decimals changes nothing, and Decimal's context ends.
_MAX_ROUNDED = Decimal(10) ** 20
_NONE_WORDS = frozenset({"no", "none", "nobody", "nothing", "zero"})
_YEAR = re.compile(r"(?:1[0-9]|20)[0-9]{2}")
_ASKS_FOR_YEAR = re.compile(r"\b(?:years?|when|date)\b", re.IGNORECASE)


def grade_integer(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Whole numbers, in digits or words."""
    return _grade_number(answer, reference, params, tolerance=Decimal(0))


def grade_float(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Decimals: equal after rounding to the precision, else within the relative tolerance."""
    tolerance = Decimal(str(params.float_tolerance))
    return _grade_number(
        answer, reference, params, tolerance=tolerance, precision=reference.precision
    )


def grade_count(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Counts: one integer in digits or words; several are doubt, `none` is zero."""
    words = text_words(answer)
    reading = read_numbers(strip_lead_in(answer))
    if not reading.possible and not _NONE_WORDS.isdisjoint(words):
        wanted = {parse_number(text) for text in reference.texts}
        return decide(Decimal(0) in wanted, "says that there are none")
    if "dozen" in words:
        return doubt("counts by the dozen")
    if reading.value is None and len(reading.possible) > 1:
        return doubt("gives several numbers")
    return grade_integer(answer, reference, params)


def grade_relaxed(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """ChartQA's relaxed accuracy, with years exact and per cent signs looked at."""
    short = strip_lead_in(answer)
    wanted = parse_number(reference.answer)
    reading = read_numbers(short)
    if wanted is None or (reading.value is None and not reading.possible):
        return grade_text(answer, reference, params)
    if reading.value is None:
        holds = any(is_close(n, wanted, tolerance=RELAXED_TOLERANCE) for n in reading.possible)
        return doubt("holds such a number among others") if holds else decide(False, "no such one")
    number = reading.value
    if ("%" in short) != ("%" in reference.answer):
        is_near = any(
            is_close(value, wanted, tolerance=RELAXED_TOLERANCE)
            for value in (number, number * 100, number / 100)
        )
        return doubt("one is a percentage") if is_near else decide(False, "another number")
    if not is_close(number, wanted, tolerance=RELAXED_TOLERANCE):
        return decide(False, "more than five per cent off")
    if number != wanted and _YEAR.fullmatch(reference.answer.strip()):
        asks = bool(_ASKS_FOR_YEAR.search(reference.question))
        return decide(False, "another year") if asks else doubt("may be a year")
    return decide(True, "within five per cent")


def is_close(number: Decimal, reference: Decimal, *, tolerance: Decimal) -> bool:
    """Return whether a number is within the relative tolerance of the reference."""
    # Exponents of up to three digits are far inside Decimal's range, so this cannot overflow.
    return abs(number - reference) <= tolerance * abs(reference)


def is_equal_to_precision(number: Decimal, reference: Decimal, precision: int) -> bool:
    """Return whether two numbers are equal after rounding to so many decimals.

    >>> is_equal_to_precision(Decimal("3.14159"), Decimal("3.14"), 2)
    True
    """
    if max(abs(number), abs(reference)) > _MAX_ROUNDED:
        return number == reference
    # 30 digits exceed Decimal's context; no benchmark asks for more than a few.
    step = Decimal(1).scaleb(-min(max(precision, 0), 6))
    return number.quantize(step, ROUND_HALF_EVEN) == reference.quantize(step, ROUND_HALF_EVEN)


def _grade_number(
    answer: str,
    reference: Reference,
    params: GradingParams,
    *,
    tolerance: Decimal,
    precision: int | None = None,
) -> Finding:
    wanted = [number for number in map(parse_number, reference.texts) if number is not None]
    if not wanted:
        return grade_text(answer, reference, params)

    def matches(number: Decimal) -> bool:
        if precision is not None:
            return any(is_equal_to_precision(number, one, precision) for one in wanted)
        return any(is_close(number, one, tolerance=tolerance) for one in wanted)

    reading = read_numbers(strip_lead_in(answer))
    if reading.value is not None and matches(reading.value):
        return decide(True, f"the number {reading.value}"[:80])
    if any(matches(number) for number in reading.possible):
        return doubt("holds the number among other things")
    if not reading.possible:
        return decide(False, "holds no number")
    return decide(False, "another number")
