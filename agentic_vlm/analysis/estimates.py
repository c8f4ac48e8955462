"""Means over samples with bootstrap intervals, paired or not."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_TAIL = 0.025
_DIGITS = 12

SampleKey = tuple[str, str]
"""Suite and sample id."""


class Estimate(NamedTuple):
    """A mean difference."""

    mean: float
    """First minus second, per answer."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of it."""
    n: int
    """Samples."""


def average_samples(
    values: Iterable[Mapping[SampleKey, float]],
) -> dict[SampleKey, float]:
    """Return the mean of each sample over the seeds that have it.

    >>> average_samples([{("a", "1"): 1.0}, {("a", "1"): 0.0, ("a", "2"): -1.0}])
    {('a', '1'): 0.5, ('a', '2'): -1.0}
    """
    found: dict[SampleKey, list[float]] = {}
    for mapping in values:
        for key, value in mapping.items():
            found.setdefault(key, []).append(value)
    return {key: sum(parts) / len(parts) for key, parts in sorted(found.items())}


def estimate_mean(values: Collection[float], *, num_bootstrap: int, seed: int) -> Estimate | None:
    """Return the mean with its interval; absent where there are no values.

    >>> estimate_mean([1.0, 1.0], num_bootstrap=10, seed=0)
    Estimate(mean=1.0, low=1.0, high=1.0, n=2)
    """
    if not values:
        return None
    mean, means = _resample(values, num_bootstrap, np.random.default_rng(seed))
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return Estimate(mean, float(low), float(high), len(values))


def estimate_gap(
    first: Collection[float], second: Collection[float], *, num_bootstrap: int, seed: int
) -> Estimate | None:
    """Return the difference of two means over different samples; n is that of the smaller side.

    >>> estimate_gap([1.0, 1.0], [0.5], num_bootstrap=10, seed=0)
    Estimate(mean=0.5, low=0.5, high=0.5, n=1)
    """
    if not first or not second:
        return None
    rng = np.random.default_rng(seed)
    mean, means = _resample(first, num_bootstrap, rng)
    other, others = _resample(second, num_bootstrap, rng)
    low, high = np.quantile(means - others, [_TAIL, 1 - _TAIL])
    return Estimate(mean - other, float(low), float(high), min(len(first), len(second)))


def _resample(
    values: Collection[float], num_bootstrap: int, rng: np.random.Generator
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the mean and the means of resamples."""
    n = len(values)
    # Values are few and repeat, so a resample of samples is a draw of how often each occurs.
    distinct, counts = np.unique(np.round(list(values), _DIGITS), return_counts=True)
    draws = rng.multinomial(n, counts / n, size=num_bootstrap)
    return float(counts @ distinct / n), draws @ distinct / n
