"""Marks an answer: a published suite's by the rule of that suite, all others by their type.

Scores differ by points between the rules of a benchmark's authors, those of the paper's released
evaluation and ours. The mode says whose hold, and stands in front of the name of the rule of every
score: `official:relaxed`. Suites of our own (the pocket world, plain files) have one rule only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.item import label_in
from agentic_vlm.evaluation.suites.item import rule_of as published_rule
from agentic_vlm.grading import (
    Grade,
    Judge,
    Mode,
    Reference,
    Rule,
    extract_answer,
    extract_as_released,
    grade_by_rule,
    grade_with_judge,
    settle,
    settle_attempt,
)
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import RawSample, ScoredAnswer, StopReason, Trajectory, Verdict

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Rules whose strict form says more than the type of the answer does.
_OWN_STRICT = frozenset(
    {
        Rule.RELAXED,
        Rule.COUNT,
        Rule.LETTERS,
        Rule.OCR,
        Rule.OCR_FORMULA,
        Rule.CHOICE,
        Rule.LETTER,
        Rule.DYNAMATH_FLOAT,
        Rule.TOKEN_F1,
        Rule.REQUERY,
        Rule.RERANK,
    }
)
# What such a rule finds is a share, which no judge is asked about, and the paper has no other rule.
_MEASURED = frozenset({Rule.TOKEN_F1, Rule.REQUERY, Rule.RERANK})
# In mode strict, other words may still be right; the authors' rules say so themselves.
_OPEN_STRICT = frozenset({Rule.OCR, Rule.RELAXED})


class _Wanted(NamedTuple):
    rule: Rule
    reference: Reference


async def mark_answer(
    answer: str | None, sample: RawSample, *, judge: Judge, params: GradingParams, mode: Mode
) -> Grade:
    """Grade an answer; the judge is asked where the rule leaves it open.

    Args:
        answer: as `answer_of` gives it.
        sample: what was asked.
        judge: who is asked.
        params: tolerances and time limits.
        mode: whose rules, for suites that publish one.

    Raises:
        JudgeUnavailable: the judge failed, or the process of a symbolic comparison did not start.
    """
    wanted = _wanted(sample, mode)
    if wanted is None:
        return await grade_with_judge(
            answer, sample, question=sample.question, judge=judge, params=params
        )
    if wanted.rule in _MEASURED:
        grade = grade_by_rule(
            wanted.rule, answer, wanted.reference, params=params, mode=Mode.OFFICIAL
        )
        return grade._replace(rule=f"{mode.value}:{grade.rule}")
    grade = grade_by_rule(wanted.rule, answer, wanted.reference, params=params, mode=mode)
    if wanted.rule is Rule.ATTEMPT and mode is Mode.OFFICIAL:
        tried = await settle_attempt(
            grade,
            answer,
            question=sample.question,
            references=wanted.reference.texts,
            judge=judge,
        )
        return _named(tried, mode)
    is_open = grade.verdict is Verdict.UNGRADED or (
        mode is Mode.STRICT
        and grade.verdict is Verdict.INCORRECT
        and Rule.TEXT in (wanted.rule, sample.answer_type)
        and grade.rule in (*_OPEN_STRICT, Rule.TEXT)
    )
    settled = await settle(
        grade,
        answer,
        question=sample.question,
        references=wanted.reference.texts,
        judge=judge,
        is_open=is_open,
        # Ours is a judge of texts, whatever the benchmark.
        rubric="" if mode is Mode.STRICT else label_in(sample.flags, "rubric"),
    )
    return _named(settled, mode)


def _named(grade: Grade, mode: Mode) -> Grade:
    """Return the grade with whose rules hold in front of its rule; a judge is one of its own."""
    return grade if grade.rule == "judge" else grade._replace(rule=f"{mode.value}:{grade.rule}")


def answer_of(trajectory: Trajectory, sample: RawSample, *, mode: Mode) -> str | None:
    """Return the answer that counts.

    In mode `paper` a published suite takes the first answer tags of the last message, else all of
    it, as the released evaluation does. Runs of mode `think` have a thought before the answer: what
    stands in it is none, nor is a thought that never ends. A suite that asks for a form, such as
    JSON, reads it.
    """
    answer = trajectory.answer
    if trajectory.mode == RunMode.THINK and answer is not None:
        answer = extract_answer(trajectory.turns[-1].text)
    is_published = bool(published_rule(sample)[0])
    is_ended = trajectory.turns and trajectory.stop_reason is not StopReason.INFRASTRUCTURE
    if mode is Mode.PAPER and is_published and is_ended:
        answer = extract_as_released(trajectory.turns[-1].text) or None
    suite = SUITES.get(sample.split)
    if suite is None or suite.read_answer is None or answer is None:
        return answer
    return suite.read_answer(answer)


def measured_flags(trajectory: Trajectory, grade: Grade, sample: RawSample) -> tuple[str, ...]:
    """Return what the suite measures beside the verdict, as labels `name=0.500000`."""
    suite = SUITES.get(sample.split)
    is_outage = trajectory.stop_reason is StopReason.INFRASTRUCTURE
    if suite is None or suite.measure is None or is_outage:
        return ()
    measures = suite.measure(trajectory, sample, grade)
    return tuple(f"{name}={value:.6f}" for name, value in sorted(measures.items()))


def modes_told(scores: Sequence[ScoredAnswer]) -> str:
    """Return whose rules graded answers, for the head of a table.

    >>> modes_told([])
    'rules: the one of each answer type'
    """
    found = sorted({score.rule.partition(":")[0] for score in scores if ":" in score.rule})
    return f"rules: {' and '.join(found) if found else 'the one of each answer type'}"


def _wanted(sample: RawSample, mode: Mode) -> _Wanted | None:
    """Return the published rule of a sample, or None where its suite publishes none."""
    name, options = published_rule(sample)
    if not name:
        return None
    rule = Rule(name)
    kind = sample.answer_type
    if mode is Mode.STRICT and kind is not None and rule not in _OWN_STRICT:
        rule = Rule(kind.value)
    precision = label_in(sample.flags, "precision")
    reference = Reference(
        sample.answer,
        sample.aliases,
        options=options,
        precision=int(float(precision)) if precision else None,
        question=sample.question,
    )
    place = LETTERS.find(sample.answer)
    if rule is Rule.OPTION and 0 <= place < len(options):
        # The rule compares texts of options; our samples hold the letter.
        reference = replace(reference, answer=options[place], aliases=())
    return _Wanted(rule, reference)
