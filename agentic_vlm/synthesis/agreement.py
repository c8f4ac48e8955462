"""Self-consistency: how many of a sample's attempts come to the right answer."""

from collections import Counter
from collections.abc import Iterable, Mapping

from agentic_vlm.grading import grade_answer
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import (
    CuratedSample,
    RejectReason,
    StopReason,
    Trajectory,
    Verdict,
)


class Agreement:
    """Counts, per sample, the attempts and the right ones; failures of ours are no attempts."""

    def __init__(
        self,
        trajectories: Iterable[Trajectory],
        samples: Mapping[str, CuratedSample],
        *,
        grading: GradingParams,
    ) -> None:
        """Take all attempts; they are graded when they are asked for."""
        self._rows = [
            row for row in trajectories if row.stop_reason is not StopReason.INFRASTRUCTURE
        ]
        self._samples = samples
        self._grading = grading
        self._counts: tuple[Counter[str], Counter[str]] | None = None

    def fault(self, trajectory: Trajectory, min_share: float) -> tuple[RejectReason, str] | None:
        """Return why a sample's attempts disagree too much; None where enough are right."""
        if self._counts is None:
            self._counts = self._count()
        right, graded = (counts[trajectory.sample_id] for counts in self._counts)
        if right >= min_share * graded:
            return None
        return RejectReason.UNDECIDED, f"{right} of {graded} attempts are right"

    def _count(self) -> tuple[Counter[str], Counter[str]]:
        right: Counter[str] = Counter()
        graded: Counter[str] = Counter()
        for row in self._rows:
            sample = self._samples[row.sample_id]
            verdict = grade_answer(row.answer, sample, params=self._grading).verdict
            right[row.sample_id] += verdict is Verdict.CORRECT
            graded[row.sample_id] += verdict is not Verdict.UNGRADED
        return right, graded
