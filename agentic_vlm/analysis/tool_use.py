"""Which kinds of calls a model makes on which family of questions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agentic_vlm.analysis.calls import CallKind, classify_call
from agentic_vlm.analysis.scores import percent, title_of
from agentic_vlm.analysis.tables import table
from agentic_vlm.schema import ScoredAnswer, ToolCall, Trajectory

KindsByFamily = Mapping[str, Counter[CallKind]]
"""Calls by family and kind."""


def kinds_of(episode: Trajectory) -> tuple[CallKind, ...]:
    """Return what each call of an episode was for, in order."""
    return tuple(
        classify_call(turn.action, turn.observation)
        for turn in episode.turns
        if isinstance(turn.action, ToolCall)
    )


def count_kinds(
    scores: Iterable[ScoredAnswer], kinds: Mapping[str, Sequence[CallKind]]
) -> dict[str, Counter[CallKind]]:
    """Return the calls by family; families whose answers made no call are there and empty.

    Args:
        scores: answers of one model in one mode.
        kinds: what the calls of an episode were for, by trajectory id.
    """
    found: dict[str, Counter[CallKind]] = {}
    for row in scores:
        found.setdefault(row.family, Counter()).update(kinds.get(row.trajectory_id, ()))
    return dict(sorted(found.items()))


def kinds_by_family_table(models: Mapping[str, KindsByFamily]) -> str:
    """Return shares of calls by kind, family by family, so that models can be compared."""
    families = sorted({family for counts in models.values() for family in counts})
    rows = []
    for family in families:
        for model, counts in models.items():
            kinds = counts.get(family, Counter())
            total = kinds.total()
            shares = [percent(kinds[kind] / total) if total else "-" for kind in CallKind]
            rows.append([family, title_of(model), str(total), *shares])
    head = ["family", "model", "calls", *(kind.value.replace("_", " ") for kind in CallKind)]
    return table(head, rows) if rows else "No model made a call."
