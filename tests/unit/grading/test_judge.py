"""The judge is asked only where the rules leave something open."""

import asyncio
from dataclasses import dataclass, field

import pytest

from agentic_vlm.grading import Grade, NoJudge, grade_with_judge
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, Verdict


@dataclass(frozen=True)
class Sample:
    answer: str
    answer_type: AnswerType
    aliases: tuple[str, ...] = ()


@dataclass
class SureJudge:
    """Says `correct` and remembers what it was asked."""

    asked: list[str] = field(default_factory=list)

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        self.asked.append(answer)
        return Verdict.CORRECT


def decide(answer: str | None, sample: Sample, judge: SureJudge | NoJudge) -> Grade:
    work = grade_with_judge(answer, sample, question="?", judge=judge, params=GradingParams())
    return asyncio.run(work)


@pytest.mark.parametrize(
    ("answer", "sample"),
    [
        ("red", Sample("red", AnswerType.TEXT)),
        ("13", Sample("14", AnswerType.INTEGER)),
        (None, Sample("red", AnswerType.TEXT)),
    ],
)
def test_a_sure_rule_needs_no_judge(answer: str | None, sample: Sample) -> None:
    judge = SureJudge()
    decide(answer, sample, judge)
    assert judge.asked == []


@pytest.mark.parametrize(
    ("answer", "sample"),
    [
        ("crimson", Sample("red", AnswerType.TEXT)),
        ("13 or 14", Sample("14", AnswerType.INTEGER)),
    ],
)
def test_doubt_and_other_words_go_to_the_judge(answer: str, sample: Sample) -> None:
    judge = SureJudge()
    grade = decide(answer, sample, judge)
    assert (grade.verdict, grade.rule, judge.asked) == (Verdict.CORRECT, "judge", [answer])


def test_without_a_judge_the_verdict_of_the_rule_stays() -> None:
    assert decide("blue", Sample("red", AnswerType.TEXT), NoJudge()).verdict is Verdict.INCORRECT
    assert decide("not red", Sample("red", AnswerType.TEXT), NoJudge()).verdict is Verdict.UNGRADED
