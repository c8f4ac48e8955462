"""How RL went on each family of questions, over the seeds of a variant."""

from collections.abc import Iterable, Mapping, Sequence

from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.findings import GridRun
from agentic_vlm.analysis.tables import table

_NUM_STEPS = 5
_NAMES = ("accuracy", "format", "calls", "failed_calls", "tokens", "surprisal")


def family_sections(
    runs: Iterable[GridRun], families: Mapping[str, Mapping[str, Sequence[StepFigures]]]
) -> list[str]:
    """Return the section with the first and the last steps of RL by variant and family.

    Args:
        runs: experiments in order.
        families: RL by name of the experiment and family.
    """
    found: dict[tuple[str, str], list[Sequence[StepFigures]]] = {}
    for run in runs:
        for family, steps in families.get(run.name, {}).items():
            found.setdefault((run.variant, family), []).append(steps)
    rows = [
        [variant, family, str(len(own)), *(_ends(own, name) for name in _NAMES)]
        for (variant, family), own in found.items()
    ]
    head = ["variant", "family", "seeds", *(name.replace("_", " ") for name in _NAMES)]
    return [
        "### By family",
        "Means of the first five steps -> those of the last five, over the seeds of a variant"
        " ([query](queries/training_families.sql)).",
        table(head, rows) if rows else "Reinforcement learning was not run.",
    ]


def _ends(seeds: Sequence[Sequence[StepFigures]], name: str) -> str:
    ends = (
        [getattr(one, name) for steps in seeds for one in steps[:_NUM_STEPS]],
        [getattr(one, name) for steps in seeds for one in steps[-_NUM_STEPS:]],
    )
    return " -> ".join(_mean(end) for end in ends)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else "-"
