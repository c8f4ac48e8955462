"""Asks a judge about the labelled answers and counts how often it agrees with the labels."""

import asyncio
from collections.abc import Sequence

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading.judge import Judge
from agentic_vlm.grading.labelled.measure import Agreement
from agentic_vlm.grading.labelled.pairs import LabelledAnswer
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.schema import Verdict

_JUDGED = frozenset(
    {
        Rule.CHOICE,
        Rule.OPTION,
        Rule.LETTERS,
        Rule.INTEGER,
        Rule.FLOAT,
        Rule.COUNT,
        Rule.TEXT,
        Rule.LIST,
        Rule.OCR,
        Rule.MATH,
    }
)
"""Rules whose labels are what a reader of the texts says; relaxed accuracy, token F1 and boxes are
definitions that a judge is not told."""


def judged_rows(rows: Sequence[LabelledAnswer]) -> list[LabelledAnswer]:
    """Return the rows that a judge of texts can be measured with."""
    return [row for row in rows if row.rule in _JUDGED and not row.reply and row.answer.strip()]


async def measure_judge(
    judge: Judge, rows: Sequence[LabelledAnswer]
) -> tuple[Agreement, list[tuple[LabelledAnswer, Verdict]]]:
    """Return the agreement with the labels, and the rows whose verdict is another one.

    A row on which the judge is undecided, or not available, counts as undecided.
    """
    verdicts = await asyncio.gather(*(_verdict(judge, row) for row in rows))
    agreement = Agreement()
    others: list[tuple[LabelledAnswer, Verdict]] = []
    for row, verdict in zip(rows, verdicts, strict=True):
        agreement.add(row.model_copy(update={"verdict": None}), verdict)
        if verdict is not row.label:
            others.append((row, verdict))
    return agreement, others


async def _verdict(judge: Judge, row: LabelledAnswer) -> Verdict:
    try:
        return await judge.judge(
            _question(row), answer=row.answer, references=(row.reference, *row.aliases)
        )
    except JudgeUnavailable:
        return Verdict.UNGRADED


def _question(row: LabelledAnswer) -> str:
    letters = "ABCDEFGH"
    shown = [f"{letter}. {text}" for letter, text in zip(letters, row.options, strict=False)]
    return "\n".join([row.question, *shown])
