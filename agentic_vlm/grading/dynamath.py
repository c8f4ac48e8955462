"""DynaMath's rules for the short answer that its prompt asks for.

Source: VLMEvalKit e8e78f0, `dynamath.py`, which the benchmark's authors wrote. Where it asks a
model to write the answer anew, the finding is doubt.
"""

import math
import re
from decimal import Decimal

from agentic_vlm.grading.findings import Finding, Reference, decide, doubt
from agentic_vlm.grading.kits import to_number
from agentic_vlm.grading.phrases import grade_text
from agentic_vlm.grading.quantities import parse_number, read_numbers
from agentic_vlm.grading.texts import strip_lead_in
from agentic_vlm.params import GradingParams

_PI = "\u03c0"
_LETTERS = "ABCDE"
_TOLERANCE = 0.001
_MULTIPLE_OF_PI = re.compile(
    r"([0-9]{0,9}(?:\.[0-9]{1,9})?)\s*\*?\s*(?:\u03c0|\\pi|pi)(?:\s*/\s*([0-9]{1,9}))?",
    re.IGNORECASE,
)


def strict_float(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Within 0.001 in decimals, whole multiples and parts of pi included; other words are doubt."""
    wanted = [number for number in map(parse_number, reference.texts) if number is not None]
    if not wanted:
        return grade_text(answer, reference, params)

    def is_near(number: Decimal) -> bool:
        return any(abs(number - one) <= Decimal(str(_TOLERANCE)) for one in wanted)

    short = strip_lead_in(answer)
    of_pi = _multiple_of_pi(short)
    reading = read_numbers(short)
    number = reading.value if of_pi is None else of_pi
    if number is not None:
        return decide(is_near(number), f"the number {number}"[:80])
    if any(map(is_near, reading.possible)):
        return doubt("holds the number among other things")
    return decide(False, "another number" if reading.possible else "holds no number")


def _multiple_of_pi(text: str) -> Decimal | None:
    found = _MULTIPLE_OF_PI.fullmatch(text)
    if found is None:
        return None
    times, divisor = Decimal(found[1] or "1"), Decimal(found[2] or "1")
    return times * Decimal(str(math.pi)) / divisor if divisor else None


def dynamath_float(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """Within 0.001, in binary arithmetic; only the first word counts, and what follows pi is lost.

    So `2\u03c0/3` is read as 2 pi.
    """
    number, wanted = _read_number(answer), to_number(reference.answer)
    if number is None:
        return doubt("no number in the first word: the kit asks a model to write one")
    is_near = wanted is not None and abs(number - wanted) <= _TOLERANCE
    return decide(is_near, f"the number {number}"[:80])


def _read_number(text: str) -> float | None:
    word = text.split(" ")[0]
    before, pi, _ = word.partition(_PI)
    number = to_number(before)
    return number * math.pi if pi and number is not None else number


def dynamath_choice(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """One letter, else the only one of A to E that the text holds, in any word: `None` is E."""
    found = answer.upper()
    if len(answer) != 1:
        held = [letter for letter in _LETTERS if letter in found]
        if len(held) != 1:
            return doubt("none or several of A to E: the kit asks a model for the letter")
        found = held[0]
    return decide(found == reference.answer.strip(), f"reads {found}")


def dynamath_text(answer: str, reference: Reference, params: GradingParams) -> Finding:
    """The answer is a part of the reference: `e` passes for `even`, `even function` does not."""
    is_part = any(answer.lower() in text.lower() for text in reference.texts)
    return decide(is_part, "looked for as a part of the reference")
