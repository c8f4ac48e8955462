"""What tools add and what they harm: the same questions with tools and without."""

from collections.abc import Iterable
from typing import NamedTuple

from scipy.stats import binomtest

from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.metrics import CONFIDENCE
from agentic_vlm.evaluation.repeats import attempt_of
from agentic_vlm.schema import ScoredAnswer, Verdict


class GainSplit(NamedTuple):
    """Questions with a verdict both ways, by what solved them."""

    only_with: int
    """Gain: solved with tools, not without."""
    only_without: int
    """Harm: solved without tools, not with them."""
    both: int
    neither: int
    num_undecided: int
    """Questions that lack a verdict on one side; they are in no count."""

    @property
    def n(self) -> int:
        """Questions in the four counts."""
        return self.only_with + self.only_without + self.both + self.neither

    def figures(self) -> list[Figure]:
        """Return the four shares, and how much of what tools solve is solved without them too."""
        names = ("only with tools", "only without tools", "both", "neither")
        counts = (self.only_with, self.only_without, self.both, self.neither)
        shares = [_share(name, k, self.n, self) for name, k in zip(names, counts, strict=True)]
        solved = self.only_with + self.both
        return [*shares, _share("solved with tools that need none", self.both, solved, self)]


def split_gains(with_tools: Iterable[ScoredAnswer], without: Iterable[ScoredAnswer]) -> GainSplit:
    """Return the split; sides are paired by suite, sample and attempt.

    Source of the question: arXiv 2606.02357 and 2602.01334 for DeepEyesV2.
    """
    ours, theirs = _verdicts(with_tools), _verdicts(without)
    shared = [(ours[key], theirs[key]) for key in ours.keys() & theirs.keys()]
    decided = [pair for pair in shared if Verdict.UNGRADED not in pair]
    rights = [(a is Verdict.CORRECT, b is Verdict.CORRECT) for a, b in decided]
    return GainSplit(
        only_with=rights.count((True, False)),
        only_without=rights.count((False, True)),
        both=rights.count((True, True)),
        neither=rights.count((False, False)),
        num_undecided=len(shared) - len(decided),
    )


def _verdicts(scores: Iterable[ScoredAnswer]) -> dict[tuple[str, str, int], Verdict]:
    return {(row.suite, row.sample_id, attempt_of(row)): row.verdict for row in scores}


def _share(name: str, k: int, n: int, split: GainSplit) -> Figure:
    undecided = split.num_undecided
    if not n:
        return Figure(name, None, None, None, 0, undecided, None, None)
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(
        name, k / n, float(interval.low), float(interval.high), n, undecided,
        k / (n + undecided), (k + undecided) / (n + undecided),
    )  # fmt: skip
