"""Attempt: what a judge of three values says of an answer, of which a verdict is a part."""

from enum import StrEnum

from agentic_vlm.schema import Verdict


class Attempt(StrEnum):
    """Right, wrong, or no commitment to any answer (SimpleVQA, arXiv 2502.13059)."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    """Contradicts the reference, however carefully it is worded."""
    NOT_ATTEMPTED = "not_attempted"
    """Neither holds the reference nor contradicts it: a refusal, a bound, an evasion."""
    UNDECIDED = "undecided"
    """The judge gave none of the three."""

    @property
    def verdict(self) -> Verdict:
        """The verdict: what was not attempted is not right.

        >>> Attempt.NOT_ATTEMPTED.verdict
        <Verdict.INCORRECT: 'incorrect'>
        """
        match self:
            case Attempt.CORRECT:
                return Verdict.CORRECT
            case Attempt.INCORRECT | Attempt.NOT_ATTEMPTED:
                return Verdict.INCORRECT
            case Attempt.UNDECIDED:
                return Verdict.UNGRADED

    @property
    def is_attempted(self) -> bool | None:
        """Whether the answer commits itself; absent where that is undecided."""
        return None if self is Attempt.UNDECIDED else self is not Attempt.NOT_ATTEMPTED
