"""Figures of answers that are worth a share: token F1, intersection over union."""

from collections.abc import Callable, Sequence

import numpy as np

from agentic_vlm.evaluation.figures import Array, Figure, Statistic, bootstrap, mean_of_ratios
from agentic_vlm.evaluation.suites.item import label_of
from agentic_vlm.schema import ScoredAnswer


def mean_measure(
    name: str,
    rows: Sequence[ScoredAnswer],
    *,
    label: str,
    group: Callable[[ScoredAnswer], str] = lambda row: row.sample_id,
) -> Figure:
    """Return the mean of the measure that answers carry as the label `label`.

    Args:
        name: of the figure.
        rows: answers; those without the label have no measure, and stand in the bounds only.
        label: name of a flag `label=0.5`, 0 to 1.
        group: which answers the bootstrap draws together.
    """
    return _figure(
        name, rows, label=label, group=group, kind=lambda row: "", kinds=("",),
        statistic=mean_of_ratios(1),
    )  # fmt: skip


def weighted_measure(
    name: str,
    rows: Sequence[ScoredAnswer],
    *,
    label: str,
    group: Callable[[ScoredAnswer], str],
    kind: Callable[[ScoredAnswer], str],
    weights: dict[str, float],
) -> Figure:
    """Return the weighted sum of the means of several kinds; absent where a kind has no answer.

    Args:
        name: of the figure.
        rows: answers.
        label: as in `mean_measure`.
        group: which answers the bootstrap draws together.
        kind: of an answer.
        weights: by kind; they sum to 1.
    """

    def statistic(totals: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = totals[..., 0::2] / totals[..., 1::2]
        return np.asarray(means @ np.array(list(weights.values())))

    return _figure(
        name, rows, label=label, group=group, kind=kind, kinds=tuple(weights), statistic=statistic
    )


def _figure(
    name: str,
    rows: Sequence[ScoredAnswer],
    *,
    label: str,
    group: Callable[[ScoredAnswer], str],
    kind: Callable[[ScoredAnswer], str],
    kinds: Sequence[str],
    statistic: Statistic,
) -> Figure:
    chosen = [row for row in rows if kind(row) in kinds]

    def totals(missing: float | None) -> Array:
        groups: dict[str, list[float]] = {}
        for row in chosen:
            text = label_of(row, label)
            value = float(text) if text else missing
            if value is not None:
                place = 2 * kinds.index(kind(row))
                counted = groups.setdefault(group(row), [0.0] * (2 * len(kinds)))
                counted[place] += value
                counted[place + 1] += 1
        kept = [groups[name] for name in sorted(groups)]
        return np.array(kept) if kept else np.zeros((0, 2 * len(kinds)))

    measured = totals(None)
    low, high = bootstrap(measured, statistic)
    num_missing = sum(not label_of(row, label) for row in chosen)
    mean, lowest, highest = (_value(totals(m), statistic) for m in (None, 0.0, 1.0))
    return Figure(name, mean, low, high, len(measured), num_missing, lowest, highest)


def _value(totals: Array, statistic: Statistic) -> float | None:
    value = float(statistic(totals.sum(axis=0))) if len(totals) else float("nan")
    return None if np.isnan(value) else value
