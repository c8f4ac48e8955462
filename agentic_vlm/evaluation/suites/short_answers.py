"""Short answers of search benchmarks: alternatives, and which rule is nearest."""

from collections.abc import Sequence
from typing import Any

from agentic_vlm.evaluation.suites.rows import read_literal
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.schema import AnswerType

SHORT_RULE = "a judge compares with the reference and its aliases"
SHORT_DEVIATION = "equal words or numbers by rule, the judge of `grading` on doubt"


def texts_of(cell: Any) -> tuple[str, ...]:
    """Return the texts of a list that is one, is its text, or is absent.

    >>> texts_of("['a', 'b']"), texts_of(None), texts_of("plain")
    (('a', 'b'), (), ('plain',))
    """
    if isinstance(cell, str) and cell.strip():
        try:
            cell = read_literal(cell)
        except ValueError:
            # A plain alternative that is no list.
            cell = [cell]
    if cell is None or cell == "":
        return ()
    return tuple(str(part) for part in cell) if isinstance(cell, list | tuple) else (str(cell),)


def other_texts(texts: Sequence[str], gold: str) -> tuple[str, ...]:
    """Return the texts that differ from the gold answer, each once."""
    return tuple(dict.fromkeys(text for text in texts if text.strip() and text != gold))


def short_answer_type(gold: str) -> AnswerType:
    """Return the rule of a short answer: numbers by value, all else by its words."""
    kind = guess_answer_type(gold)
    return kind if kind in (AnswerType.INTEGER, AnswerType.FLOAT) else AnswerType.TEXT
