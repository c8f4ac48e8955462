"""Figures: scores that are more than one share of right answers, each with interval and bounds."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentic_vlm.evaluation.metrics import CONFIDENCE, compute_accuracy
from agentic_vlm.schema import ScoredAnswer, Verdict

Array = NDArray[np.float64]
_NUM_BOOTSTRAP = 2000
_SEED = 0
_RESAMPLES_PER_STEP = 100


class Figure(NamedTuple):
    """One figure of a suite."""

    name: str
    """What it is, such as `overall` or `cross`."""
    mean: float | None
    """0 to 1; absent where nothing was graded."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end of it."""
    n: int
    """Independent units behind it: answers, or groups of answers to one question."""
    num_ungraded: int
    """Answers without a verdict; they are in no mean."""
    lowest: float | None
    """The figure if every ungraded answer were wrong."""
    highest: float | None
    """The figure if every ungraded answer were right."""


class Mark(NamedTuple):
    """An answer and whether it counts as right."""

    score: ScoredAnswer
    is_right: bool


Count = Callable[[Sequence[Mark]], Sequence[float] | None]
"""What a group of answers adds to each total; None leaves the group out."""
Statistic = Callable[[Array], Array]
"""Totals [..., D] to the figure [...]; NaN where it is not defined."""


def share(name: str, rows: Iterable[ScoredAnswer]) -> Figure:
    """Return the share of right answers with its Wilson interval."""
    found = compute_accuracy(rows)
    return Figure(
        name, found.mean, found.low, found.high, found.n, found.num_ungraded, found.lowest,
        found.highest,
    )  # fmt: skip


def shares_by(
    key: Callable[[ScoredAnswer], str], rows: Sequence[ScoredAnswer], *, prefix: str = ""
) -> list[Figure]:
    """Return the share of every value of a key, in alphabetical order; empty values have none."""
    values = sorted({key(row) for row in rows} - {""})
    return [
        share(f"{prefix}{value}", (row for row in rows if key(row) == value)) for value in values
    ]


def grouped(
    name: str,
    rows: Sequence[ScoredAnswer],
    *,
    group: Callable[[ScoredAnswer], str],
    count: Count,
    statistic: Statistic,
) -> Figure:
    """Return a figure of totals over groups, with the interval of a bootstrap of whole groups.

    Answers to one question are not independent, so the groups are drawn, never the answers.
    Ungraded answers are left out of the mean and counted both ways for the bounds; the figure must
    not fall where an answer becomes right.

    Args:
        name: of the figure.
        rows: answers.
        group: which answers belong together.
        count: what a group adds to each of D totals.
        statistic: the figure of D totals.
    """
    totals = _totals(rows, group=group, count=count, ungraded=None)
    low_high = bootstrap(totals, statistic)
    lowest = _totals(rows, group=group, count=count, ungraded=False)
    highest = _totals(rows, group=group, count=count, ungraded=True)
    return Figure(
        name,
        _value(totals, statistic),
        *low_high,
        len(totals),
        sum(row.verdict is Verdict.UNGRADED for row in rows),
        _value(lowest, statistic),
        _value(highest, statistic),
    )


def mean_of_ratios(num_classes: int) -> Statistic:
    """Return the mean of right / all over classes; totals are right and all of each, in turn.

    A class that no answer has is left out of the mean.
    """

    def statistic(totals: Array) -> Array:
        right, count = totals[..., 0 : 2 * num_classes : 2], totals[..., 1 : 2 * num_classes : 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.where(count > 0, right / count, 0.0)
            return np.asarray(ratios.sum(axis=-1) / (count > 0).sum(axis=-1))

    return statistic


def count_classes(key: Callable[[ScoredAnswer], str], classes: Sequence[str]) -> Count:
    """Return the counter that `mean_of_ratios` needs: right and all, per class."""

    def count(marks: Sequence[Mark]) -> list[float]:
        totals = [0.0] * (2 * len(classes))
        for mark in marks:
            value = key(mark.score)
            if value in classes:
                place = 2 * classes.index(value)
                totals[place] += mark.is_right
                totals[place + 1] += 1
        return totals

    return count


def ratio(totals: Array) -> Array:
    """Return the first total over the last one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 0] / totals[..., -1])


def _totals(
    rows: Sequence[ScoredAnswer],
    *,
    group: Callable[[ScoredAnswer], str],
    count: Count,
    ungraded: bool | None,
) -> Array:
    groups: dict[str, list[Mark]] = {}
    for row in rows:
        if row.verdict is not Verdict.UNGRADED:
            mark = Mark(row, row.verdict is Verdict.CORRECT)
        elif ungraded is not None:
            mark = Mark(row, ungraded)
        else:
            continue
        groups.setdefault(group(row), []).append(mark)
    counted = (count(groups[name]) for name in sorted(groups))
    kept = [totals for totals in counted if totals is not None]
    return np.array(kept, dtype=np.float64) if kept else np.zeros((0, 1))


def _value(totals: Array, statistic: Statistic) -> float | None:
    if not len(totals):
        return None
    value = float(statistic(totals.sum(axis=0)))
    return None if np.isnan(value) else value


def bootstrap(totals: Array, statistic: Statistic) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a figure of totals [n, D], drawing the n groups."""
    n = len(totals)
    if not n:
        return None, None
    rng = np.random.default_rng(_SEED)
    values: list[Array] = []
    for _ in range(0, _NUM_BOOTSTRAP, _RESAMPLES_PER_STEP):
        draws = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES_PER_STEP)
        values.append(statistic(draws.astype(np.float64) @ totals))
    found = np.concatenate(values)
    found = found[~np.isnan(found)]
    if not len(found):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
