"""Judge: decides what the rules leave open."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from agentic_vlm.grading.attempt import Attempt
from agentic_vlm.grading.findings import Grade
from agentic_vlm.grading.rules import Gradable, grade_answer
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType, Verdict

# An answer in other words may still be right ("crimson" for "red"): no rule can tell.
_OPEN_RULES = frozenset({AnswerType.TEXT.value, AnswerType.LIST.value})


class Judge(Protocol):
    """A grader that understands language."""

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        """Return the verdict; `ungraded` where the judge gives none.

        Raises:
            JudgeUnavailable: the judge failed, which is not the same as having no opinion.
        """
        ...


class NoJudge:
    """Decides nothing: open answers stay as the rules left them."""

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        """Return `ungraded`."""
        return Verdict.UNGRADED


@runtime_checkable
class JudgesByRubric(Protocol):
    """A judge that can be asked by the rubric of a benchmark instead of its own prompt."""

    async def judge_by_rubric(
        self, rubric: str, *, question: str, answer: str, references: tuple[str, ...]
    ) -> Verdict:
        """Return the verdict; `ungraded` where the reply has no score.

        Args:
            rubric: the whole message, with `{PREDICTION}` where the answer goes.
            question: what was asked; kept with the verdict, as are the references.
            answer: what was answered.
            references: right answers.

        Raises:
            JudgeUnavailable: the judge failed.
        """
        ...


class JudgedAnswer(NamedTuple):
    """An answer that a judge is asked about."""

    question: str
    answer: str
    references: tuple[str, ...]
    """Right answers."""


@runtime_checkable
class JudgesGroups(Protocol):
    """A judge that can be asked about several answers in one request."""

    async def judge_group(self, rubric: str, answers: Sequence[JudgedAnswer]) -> list[Verdict]:
        """Return one verdict per answer, all `ungraded` where the reply tells not all of them.

        Args:
            rubric: what stands before the answers.
            answers: at least one, in the order in which they are shown.

        Raises:
            JudgeUnavailable: the judge failed.
        """
        ...


@runtime_checkable
class JudgesAttempts(Protocol):
    """A judge that tells a wrong answer from one that was not attempted."""

    async def judge_attempt(
        self, question: str, *, answer: str, references: tuple[str, ...]
    ) -> Attempt:
        """Return which of the three it is; `undecided` where the judge does not say.

        Raises:
            JudgeUnavailable: the judge failed.
        """
        ...


@runtime_checkable
class CountsDisagreement(Protocol):
    """A judge that wants to know where it overrules a rule."""

    def note_disagreement(self) -> None:
        """Count an answer that a rule calls incorrect and the judge correct."""
        ...


async def grade_with_judge(
    answer: str | None,
    sample: Gradable,
    *,
    question: str,
    judge: Judge,
    params: GradingParams,
) -> Grade:
    """Grade by rules, and ask the judge where they doubt or where only words differ.

    Without a judge the verdict of the rule stays. A judge that cannot tell leaves the answer
    ungraded: it was asked since the rule could not be sure.

    Raises:
        JudgeUnavailable: the judge failed.
    """
    grade = grade_answer(answer, sample, params=params)
    references = (sample.answer, *sample.aliases)
    return await settle(
        grade,
        answer,
        question=question,
        references=references,
        judge=judge,
        is_open=grade.verdict is Verdict.UNGRADED
        or (grade.verdict is Verdict.INCORRECT and grade.rule in _OPEN_RULES),
    )


async def settle(
    grade: Grade,
    answer: str | None,
    *,
    question: str,
    references: tuple[str, ...],
    judge: Judge,
    is_open: bool,
    rubric: str = "",
) -> Grade:
    """Return what the judge says where a rule left an answer open; else the grade of the rule.

    Args:
        grade: what the rule says.
        answer: the extracted answer; None where there is none, which needs no judge.
        question: what was asked.
        references: the reference answer and its aliases.
        judge: who is asked.
        is_open: whether the rule is not sure.
        rubric: how the benchmark wants its judge to be asked; empty: by the judge's own prompt.

    Raises:
        JudgeUnavailable: the judge failed.
    """
    if answer is None or not is_open or isinstance(judge, NoJudge):
        return grade
    if not rubric:
        verdict = await judge.judge(question, answer=answer, references=references)
    elif isinstance(judge, JudgesByRubric):
        verdict = await judge.judge_by_rubric(
            rubric, question=question, answer=answer, references=references
        )
    else:
        return grade._replace(reason=f"{grade.reason}; this judge takes no rubric")
    is_overruled = (grade.verdict, verdict) == (Verdict.INCORRECT, Verdict.CORRECT)
    if is_overruled and isinstance(judge, CountsDisagreement):
        judge.note_disagreement()
    left_open = f"the rule {grade.rule} left it open: {grade.reason}"
    if verdict is Verdict.UNGRADED:
        return Grade(verdict, "judge", f"the judge is undecided; {left_open}")
    return Grade(verdict, "judge", left_open)


async def settle_attempt(
    grade: Grade, answer: str | None, *, question: str, references: tuple[str, ...], judge: Judge
) -> Grade:
    """Return the grade with whether the answer was attempted; the judge says where the rule doubts.

    No answer is not attempted, and what a rule passes is. Arguments as in `settle`.

    Raises:
        JudgeUnavailable: the judge failed.
    """
    if grade.verdict is not Verdict.UNGRADED:
        return grade._replace(is_attempted=grade.verdict is Verdict.CORRECT)
    if answer is None or isinstance(judge, NoJudge):
        return grade
    if not isinstance(judge, JudgesAttempts):
        return grade._replace(reason=f"{grade.reason}; this judge tells no attempts")
    attempt = await judge.judge_attempt(question, answer=answer, references=references)
    said = {Attempt.UNDECIDED: "the judge is undecided; ", Attempt.NOT_ATTEMPTED: "not attempted; "}
    reason = f"{said.get(attempt, '')}the rule {grade.rule} left it open: {grade.reason}"
    return Grade(attempt.verdict, "judge", reason, is_attempted=attempt.is_attempted)
