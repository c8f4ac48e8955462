"""What every rule takes and gives: a reference, and a finding about an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from agentic_vlm.params import GradingParams
from agentic_vlm.schema import Verdict


@dataclass(frozen=True, slots=True)
class Reference:
    """The right answer of a question, and what a rule needs to know of the question."""

    answer: str
    """The reference answer: for `choice` the letter, for `box` four numbers."""
    aliases: tuple[str, ...] = ()
    """Other texts that are right too."""
    options: tuple[str, ...] = ()
    """Texts of the options A, B, C, ... in their order; empty where there are none."""
    precision: int | None = None
    """Decimals that count for `float`; absent: the relative tolerance of the params."""
    min_iou: float = 0.5
    """Least intersection over union of `box`."""
    question: str = ""
    """The question; `relaxed` looks whether it asks for a year."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The reference answer and its aliases."""
        return (self.answer, *self.aliases)


class Finding(NamedTuple):
    """What a rule says about an answer."""

    verdict: Verdict
    reason: str
    """Why, in one sentence part."""
    score: float | None = None
    """Token F1 or intersection over union, 0 to 1; absent for rules without a measure."""


class Grade(NamedTuple):
    """A verdict and where it comes from."""

    verdict: Verdict
    rule: str
    """Name of the rule, or `none`, `identical`, `judge`."""
    reason: str
    """Why, in one sentence part."""
    score: float | None = None
    """Token F1 or intersection over union, 0 to 1; absent for rules without a measure."""
    is_attempted: bool | None = None
    """Whether the answer commits itself (SimpleVQA); absent where nobody says so."""


RuleFunction = Callable[[str, Reference, GradingParams], Finding]


def decide(is_correct: bool, reason: str, score: float | None = None) -> Finding:
    """Return `correct` or `incorrect`."""
    return Finding(Verdict.CORRECT if is_correct else Verdict.INCORRECT, reason, score)


def doubt(reason: str, score: float | None = None) -> Finding:
    """Return `ungraded`: for a judge to decide."""
    return Finding(Verdict.UNGRADED, reason, score)


def best_of(findings: list[Finding]) -> Finding:
    """Return the kindest finding, the first of them where several are as kind."""
    for verdict in (Verdict.CORRECT, Verdict.UNGRADED):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return findings[0]
