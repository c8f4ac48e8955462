"""The content of metrics/summary.json, from scored answers alone: no clock, no path, no host."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from agentic_vlm.evaluation.metrics import (
    compute_accuracy,
    compute_difference,
    compute_tool_use,
)
from agentic_vlm.schema import Need, ProbeMode, ScoredAnswer

_PAIRS = (
    ("sft", "base"),
    ("rl", "sft"),
    ("rl", "base"),
    ("base", "base_direct"),
    ("sft", "base_direct"),
    ("rl", "base_direct"),
    ("base_think", "base_direct"),
    ("base", "base_think"),
    ("sft", "base_think"),
    ("rl", "base_think"),
    ("rl", "rl_think"),
)
_REALX_FLAGS = ("perception", "reason", "search")
_DIGITS = 6

Choose = Callable[[ScoredAnswer], bool]


def column_of(score: ScoredAnswer) -> str:
    """Return the name under which an answer is counted: `base`, or `base_direct` and `base_think`.

    Tools are the default, so a model's plain name is its agent mode.
    """
    return score.model if score.mode == ProbeMode.AGENT else f"{score.model}_{score.mode}"


def summarize(
    scores: Iterable[ScoredAnswer], *, num_bootstrap: int, seed: int
) -> dict[str, object]:
    """Return the summary: `models`, with intervals, and `paired`, the differences between them.

    Kinds (`tool`, `direct`, `all`), families, suites and models without answers have no entry.
    """
    columns: dict[str, list[ScoredAnswer]] = {}
    for score in scores:
        columns.setdefault(column_of(score), []).append(score)
    return {
        "models": {name: summarize_model(rows) for name, rows in sorted(columns.items())},
        "paired": _pairs(columns, num_bootstrap=num_bootstrap, seed=seed),
    }


def summarize_model(scores: Sequence[ScoredAnswer]) -> dict[str, object]:
    """Return the figures of one model in one mode: kinds, families, suites, RealX-Bench table."""
    families = sorted({score.family for score in scores})
    suites = sorted({score.suite for score in scores})
    by_family = {
        family: _kinds([score for score in scores if score.family == family]) for family in families
    }
    by_suite = {
        suite: _kinds([score for score in scores if score.suite == suite]) for suite in suites
    }
    realx = _realx([score for score in scores if set(_REALX_FLAGS) & set(score.flags)])
    more = {"by_family": by_family, "by_suite": by_suite}
    return {**_kinds(scores), **more, **({"realx": realx} if realx else {})}


def _kinds(scores: Sequence[ScoredAnswer]) -> dict[str, object]:
    chosen = {kind: [score for score in scores if is_kind(score)] for kind, is_kind in _KINDS}
    return {kind: _entry(rows) for kind, rows in chosen.items() if rows}


def _entry(scores: Sequence[ScoredAnswer]) -> dict[str, object]:
    accuracy = _rounded(compute_accuracy(scores)._asdict())
    return {"accuracy": accuracy, **_rounded(compute_tool_use(scores)._asdict())}


def _realx(scores: Sequence[ScoredAnswer]) -> dict[str, object]:
    """Return the columns of the RealX-Bench table; `integration` needs all three abilities."""
    if not scores:
        return {}
    subsets = {flag: [score for score in scores if flag in score.flags] for flag in _REALX_FLAGS}
    subsets["integration"] = [score for score in scores if set(_REALX_FLAGS) <= set(score.flags)]
    subsets["average"] = list(scores)
    return {
        name: _rounded(compute_accuracy(rows)._asdict()) for name, rows in subsets.items() if rows
    }


def _pairs(
    columns: Mapping[str, Sequence[ScoredAnswer]], *, num_bootstrap: int, seed: int
) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for first, second in _PAIRS:
        if first not in columns or second not in columns:
            continue
        pairs[f"{first}_minus_{second}"] = {
            kind: _rounded(difference._asdict())
            for kind, is_kind in _KINDS
            if (
                difference := compute_difference(
                    filter(is_kind, columns[first]),
                    filter(is_kind, columns[second]),
                    num_bootstrap=num_bootstrap,
                    seed=seed,
                )
            ).n
        }
    return pairs


def _rounded(figures: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    return {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in figures.items()
    }


class _Kind(NamedTuple):
    name: str
    holds: Choose


_KINDS = (
    _Kind("tool", lambda score: score.need == Need.TOOL),
    _Kind("direct", lambda score: score.need == Need.DIRECT),
    _Kind("all", lambda score: True),
)
