"""Figures of answers that are right, wrong or not attempted (SimpleVQA, arXiv 2502.13059)."""

from collections.abc import Mapping, Sequence

import numpy as np

from agentic_vlm.evaluation.figures import Array, Figure, Mark, grouped, ratio
from agentic_vlm.evaluation.suites.item import label_of
from agentic_vlm.evaluation.suites.measures import mean_measure
from agentic_vlm.grading import Grade
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory, Verdict

_NOT_ATTEMPTED, _INCORRECT = "not_attempted", "incorrect"


def measure_attempt(trajectory: Trajectory, sample: RawSample, grade: Grade) -> Mapping[str, float]:
    """Return which of the three an answer is, as labels 0 or 1; none where that is undecided."""
    if grade.is_attempted is None:
        return {}
    is_wrong = grade.is_attempted and grade.verdict is Verdict.INCORRECT
    return {_NOT_ATTEMPTED: float(not grade.is_attempted), _INCORRECT: float(is_wrong)}


def attempt_figures(name: str, rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Return the shares NA and IN, CGA (right among the attempted), and the F-score.

    The share of right answers (CO) is the figure that every suite has. The F-score is the harmonic
    mean of CO and CGA. Undecided answers are in no mean; the bounds count all of them one way and
    the other, wrong ones as attempted.

    Args:
        name: of the part of the suite, in front of every figure.
        rows: its answers; where none tells attempts, as under other rules, there are no figures.
    """
    if not any(label_of(row, _NOT_ATTEMPTED) for row in rows):
        return []
    return [
        mean_measure(f"{name}: not attempted", rows, label=_NOT_ATTEMPTED),
        mean_measure(f"{name}: incorrect", rows, label=_INCORRECT),
        grouped(
            f"{name}: correct given attempted", rows,
            group=_sample_of, count=_count_attempted, statistic=ratio,
        ),
        grouped(
            f"{name}: F-score", rows, group=_sample_of, count=_count_both, statistic=_f_score,
        ),
    ]  # fmt: skip


def _sample_of(row: ScoredAnswer) -> str:
    return row.sample_id


def _count_attempted(marks: Sequence[Mark]) -> list[float]:
    """Count right and attempted answers; an undecided one, counted as wrong, was attempted."""
    attempted = [mark for mark in marks if label_of(mark.score, _NOT_ATTEMPTED) != f"{1:.6f}"]
    return [float(sum(mark.is_right for mark in marks)), float(len(attempted))]


def _count_both(marks: Sequence[Mark]) -> list[float]:
    right, attempted = _count_attempted(marks)
    return [right, attempted, float(len(marks))]


def _f_score(totals: Array) -> Array:
    # With c right, a attempted, n asked: the harmonic mean of c/n and c/a is 2c / (a + n).
    right, attempted, asked = totals[..., 0], totals[..., 1], totals[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * right / (attempted + asked))
