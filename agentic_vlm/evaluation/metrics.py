"""Scores with their uncertainty: accuracy, paired differences, use of tools."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from agentic_vlm.schema import ScoredAnswer, StopReason, Verdict

CONFIDENCE = 0.95
"""Level of every interval."""


class Accuracy(NamedTuple):
    """Share of right answers among the graded ones."""

    mean: float | None
    """0 to 1; absent where nothing was graded."""
    low: float | None
    """Lower end of the 95 % Wilson interval."""
    high: float | None
    """Upper end of it."""
    n: int
    """Graded answers."""
    num_ungraded: int
    """Answers without a verdict, infrastructure failures included; they are in no mean."""
    num_infrastructure: int
    """Those of them that an outage of ours ended."""
    lowest: float | None
    """The accuracy if every ungraded answer were wrong; absent where there are no answers."""
    highest: float | None
    """The accuracy if every ungraded answer were right."""


class Difference(NamedTuple):
    """Accuracy of one model minus that of another, on the samples that both have a verdict for."""

    mean: float | None
    """-1 to 1; absent where no sample is shared."""
    low: float | None
    """Lower end of the 95 % interval of the paired bootstrap."""
    high: float | None
    """Upper end of it."""
    n: int
    """Shared samples."""
    num_gained: int
    """Samples that only the first model answers right."""
    num_lost: int
    """Samples that only the second model answers right."""
    p: float | None
    """Two-sided p of McNemar's exact test; 1 where the models never differ."""


class ToolUse(NamedTuple):
    """How an average answer used tools; absent where there are no answers."""

    tool_rate: float | None
    """Share of answers with at least one call."""
    calls: float | None
    """Calls per answer, failed ones included."""
    failed_calls: float | None
    """Calls per answer whose observation was an error of the model's making."""
    tokens: float | None
    """Tokens that the policy wrote, per answer."""


def compute_accuracy(scores: Iterable[ScoredAnswer]) -> Accuracy:
    """Return the accuracy with its interval and both bounds of what is ungraded.

    Source of the interval: Wilson 1927; unlike the normal one it stays within 0 and 1.
    """
    rows = list(scores)
    num_right = sum(row.verdict is Verdict.CORRECT for row in rows)
    num_ungraded = sum(row.verdict is Verdict.UNGRADED for row in rows)
    num_outages = sum(row.stop_reason == StopReason.INFRASTRUCTURE for row in rows)
    n = len(rows) - num_ungraded
    if not rows:
        return Accuracy(None, None, None, 0, 0, 0, None, None)
    lowest, highest = num_right / len(rows), (num_right + num_ungraded) / len(rows)
    if n == 0:
        return Accuracy(None, None, None, 0, num_ungraded, num_outages, lowest, highest)
    interval = binomtest(num_right, n).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Accuracy(num_right / n, low, high, n, num_ungraded, num_outages, lowest, highest)


def compute_difference(
    first: Iterable[ScoredAnswer],
    second: Iterable[ScoredAnswer],
    *,
    num_bootstrap: int,
    seed: int,
) -> Difference:
    """Return the accuracy of `first` minus that of `second` on the samples that both share.

    Args:
        first: answers of one model; at most one per suite and sample.
        second: answers of the other model.
        num_bootstrap: resamples of the samples, with replacement.
        seed: of the resampling.
    """
    ours, theirs = _verdicts(first), _verdicts(second)
    shared = ours.keys() & theirs.keys()
    n = len(shared)
    if n == 0:
        return Difference(None, None, None, 0, 0, 0, None)
    num_gained = sum(ours[key] and not theirs[key] for key in shared)
    num_lost = sum(theirs[key] and not ours[key] for key in shared)
    # A sample counts +1, 0 or -1, so a resample of samples is a draw of three counts.
    shares = np.array([num_gained, num_lost, n - num_gained - num_lost]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=num_bootstrap)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [tail, 1 - tail])
    num_different = num_gained + num_lost
    p = float(binomtest(num_gained, num_different).pvalue) if num_different else 1.0
    mean = (num_gained - num_lost) / n
    return Difference(mean, float(low), float(high), n, num_gained, num_lost, p)


def compute_tool_use(scores: Iterable[ScoredAnswer]) -> ToolUse:
    """Return how tools were used, without the answers that an outage ended."""
    rows = [row for row in scores if row.stop_reason != StopReason.INFRASTRUCTURE]
    if not rows:
        return ToolUse(None, None, None, None)
    return ToolUse(
        tool_rate=_mean([float(row.num_calls > 0) for row in rows]),
        calls=_mean([row.num_calls for row in rows]),
        failed_calls=_mean([row.num_failed_calls for row in rows]),
        tokens=_mean([row.num_tokens for row in rows]),
    )


def _verdicts(scores: Iterable[ScoredAnswer]) -> dict[tuple[str, str], bool]:
    return {
        (row.suite, row.sample_id): row.verdict is Verdict.CORRECT
        for row in scores
        if row.verdict is not Verdict.UNGRADED
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
