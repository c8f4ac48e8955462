"""Verdicts and scores."""

from enum import StrEnum

from agentic_vlm.schema.record import Record


class Verdict(StrEnum):
    """Three-valued: a grader that cannot decide never says `incorrect`."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNGRADED = "ungraded"


class ScoredAnswer(Record):
    """One answer of one model to one sample of one suite."""

    model: str
    """base, sft or rl, or the name of a recipe's model."""
    suite: str
    """Name of the suite."""
    mode: str
    """direct, think or agent."""
    sample_id: str
    """The sample."""
    trajectory_id: str
    """The episode that gave the answer."""
    family: str
    """Copied from the sample, so that scores can be grouped without a join."""
    need: str | None
    """Copied from the sample."""
    difficulty: int | None
    """Copied from the sample."""
    flags: tuple[str, ...] = ()
    """Copied from the sample."""
    verdict: Verdict
    """The verdict."""
    rule: str
    """Which grading rule decided."""
    answer: str | None
    """The extracted answer; absent where the episode gave none."""
    stop_reason: str
    """How the episode ended."""
    num_calls: int
    """Tool calls made."""
    num_failed_calls: int
    """Calls whose observation was an error of the model's making."""
    num_tokens: int
    """Tokens that the policy wrote."""
