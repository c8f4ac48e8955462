"""Counts how often rules, Math-Verify and judges agree with the labels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from math_verify import parse, verify

from agentic_vlm.grading.labelled.pairs import LabelledAnswer
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.grading.rules import grade_by_rule
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import Verdict

GradeRow = Callable[[LabelledAnswer], Verdict]


@dataclass(slots=True)
class Agreement:
    """How verdicts compare with labels."""

    num_rows: int = 0
    num_right: int = 0
    """The verdict is the label, or `ungraded` where the row says that a rule should doubt."""
    num_as_labelled: int = 0
    """The verdict is the label."""
    num_passed_wrong: int = 0
    """Answers labelled incorrect that were passed as correct."""
    num_failed_right: int = 0
    """Answers labelled correct that were called incorrect."""
    num_undecided: int = 0
    """Rows without a verdict."""

    @property
    def share_right(self) -> float:
        """Share of rows whose verdict is right; 0 without rows."""
        return self.num_right / self.num_rows if self.num_rows else 0.0

    def add(self, row: LabelledAnswer, verdict: Verdict) -> None:
        """Count one verdict."""
        self.num_rows += 1
        self.num_right += verdict in (row.label, row.verdict)
        self.num_as_labelled += verdict is row.label
        self.num_undecided += verdict is Verdict.UNGRADED
        is_label_right = row.label is Verdict.CORRECT
        self.num_passed_wrong += verdict is Verdict.CORRECT and not is_label_right
        self.num_failed_right += verdict is Verdict.INCORRECT and is_label_right


def measure(rows: Iterable[LabelledAnswer], grade: GradeRow) -> Agreement:
    """Return the agreement of a grader with the labels of the rows."""
    agreement = Agreement()
    for row in rows:
        agreement.add(row, grade(row))
    return agreement


def grade_row(row: LabelledAnswer) -> Verdict:
    """Return the verdict of the row's rule, with the default params."""
    return grade_by_rule(row.rule, row.given, row.wanted, params=GradingParams()).verdict


def grade_by_bare_math_verify(row: LabelledAnswer) -> Verdict:
    """Return what Math-Verify says when called plainly, as its README shows; never ungraded."""
    is_equal = verify(parse(row.reference), parse(row.answer))
    return Verdict.CORRECT if is_equal else Verdict.INCORRECT


def mathematical(rows: Sequence[LabelledAnswer]) -> list[LabelledAnswer]:
    """Return the rows of the mathematical part."""
    return [row for row in rows if row.rule is Rule.MATH and not row.reply]
