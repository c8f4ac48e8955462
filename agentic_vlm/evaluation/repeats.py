"""Several answers per question: pass@k, and how far seeds lie apart."""

from collections.abc import Sequence
from math import comb
from statistics import fmean, stdev
from typing import NamedTuple

from agentic_vlm.evaluation.figures import Figure, Mark, grouped, ratio
from agentic_vlm.evaluation.metrics import compute_accuracy
from agentic_vlm.evaluation.suites.item import label_of
from agentic_vlm.schema import ScoredAnswer


class Seeds(NamedTuple):
    """Accuracy over attempts, each with its own seed."""

    means: tuple[float, ...]
    """Accuracy of each attempt over all questions."""
    mean: float | None
    """Their mean."""
    deviation: float | None
    """Their standard deviation; absent for fewer than two."""


def attempt_of(score: ScoredAnswer) -> int:
    """Return the number of the attempt, from 0."""
    return int(label_of(score, "attempt") or 0)


def pass_at_k(scores: Sequence[ScoredAnswer], k: int) -> Figure:
    """Return the chance that one of k attempts solves a question, with its interval.

    Source: the unbiased estimator of arXiv 2107.03374, section 2.1. Questions with fewer than k
    graded attempts are left out.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"pass@k needs k of at least 1, got {k}")

    def count(marks: Sequence[Mark]) -> tuple[float, float] | None:
        n, right = len(marks), sum(mark.is_right for mark in marks)
        if n < k:
            return None
        return 1.0 - comb(n - right, k) / comb(n, k), 1.0

    return grouped(f"pass@{k}", scores, group=_question, count=count, statistic=ratio)


def mean_over_attempts(scores: Sequence[ScoredAnswer]) -> Figure:
    """Return the accuracy over all attempts; questions are drawn whole for the interval."""

    def count(marks: Sequence[Mark]) -> tuple[float, float]:
        return float(sum(mark.is_right for mark in marks)), float(len(marks))

    return grouped("mean of attempts", scores, group=_question, count=count, statistic=ratio)


def spread_of_seeds(scores: Sequence[ScoredAnswer]) -> Seeds:
    """Return the accuracy of each attempt, their mean and their standard deviation."""
    attempts = sorted({attempt_of(score) for score in scores})
    found = [
        compute_accuracy(row for row in scores if attempt_of(row) == attempt).mean
        for attempt in attempts
    ]
    means = tuple(mean for mean in found if mean is not None)
    return Seeds(
        means,
        fmean(means) if means else None,
        stdev(means) if len(means) > 1 else None,
    )


def _question(score: ScoredAnswer) -> str:
    return f"{score.suite}/{score.mode}/{score.sample_id}"
