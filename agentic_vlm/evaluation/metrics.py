"""Scores with their uncertainty: accuracy, paired differences, use of tools."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from agentic_vlm.schema import ScoredAnswer, StopReason, Verdict

CONFIDENCE = 0.95
"""Level of every interval."""
# Differences of single attempts: gained, lost, equal.
_VALUES = np.array([1.0, -1.0, 0.0])


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


def compute_share(k: int, n: int) -> Accuracy:
    """Return k of n as a share, with its interval."""
    if not n:
        return Accuracy(None, None, None, 0, 0, 0, None, None)
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Accuracy(k / n, low, high, n, 0, 0, k / n, k / n)


def compute_difference(
    first: Iterable[ScoredAnswer],
    second: Iterable[ScoredAnswer],
    *,
    num_bootstrap: int,
    seed: int,
) -> Difference:
    """Return the accuracy of `first` minus that of `second` on the samples that both share.

    Several attempts at a sample count as their mean; a sample is gained where that mean is higher.

    Args:
        first: answers of one model.
        second: answers of the other model.
        num_bootstrap: resamples of the samples, with replacement.
        seed: of the resampling.
    """
    ours, theirs = _pass_rates(first), _pass_rates(second)
    shared = ours.keys() & theirs.keys()
    n = len(shared)
    if n == 0:
        return Difference(None, None, None, 0, 0, 0, None)
    differences = np.array([ours[key] - theirs[key] for key in sorted(shared)])
    num_gained, num_lost = int((differences > 0).sum()), int((differences < 0).sum())
    # A resample of samples is a draw of how often each value of the difference occurs.
    values, counts = np.unique(differences, return_counts=True)
    if set(values) <= {-1.0, 0.0, 1.0}:
        values, counts = _VALUES, np.array([num_gained, num_lost, n - num_gained - num_lost])
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=num_bootstrap)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws @ values / n, [tail, 1 - tail])
    num_different = num_gained + num_lost
    p = float(binomtest(num_gained, num_different).pvalue) if num_different else 1.0
    mean = float(differences.mean())
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


def _pass_rates(scores: Iterable[ScoredAnswer]) -> dict[tuple[str, str], float]:
    """Return the share of right attempts among the graded ones, by suite and sample."""
    graded: dict[tuple[str, str], list[float]] = {}
    for row in scores:
        if row.verdict is not Verdict.UNGRADED:
            right = float(row.verdict is Verdict.CORRECT)
            graded.setdefault((row.suite, row.sample_id), []).append(right)
    return {key: _mean(rights) for key, rights in graded.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
