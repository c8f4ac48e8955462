"""How RL went on each family of questions: the first steps against the last, and all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.canvas import COLOURS, drawing, say_not_run
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.figures import FigureFile
from agentic_vlm.analysis.tables import table

_NUM_STEPS = 5
_NAMES = (
    "reward", "accuracy", "format", "calls", "failed_calls", "tokens", "surprisal", "flat_groups",
)  # fmt: skip
_PANELS = ("accuracy", "calls", "tokens", "surprisal")


def family_dynamics_table(curves: Mapping[str, Sequence[StepFigures]]) -> str:
    """Return the means over the first and the last steps of RL, by family."""
    rows = []
    for family, steps in curves.items():
        ends = steps[:_NUM_STEPS], steps[-_NUM_STEPS:]
        figures = [
            " -> ".join(_mean([getattr(one, name) for one in end]) for end in ends)
            for name in _NAMES
        ]
        rows.append([family, *figures])
    head = ["family", *(name.replace("_", " ") for name in _NAMES)]
    return table(head, rows) if rows else "Reinforcement learning was not run."


def family_kinds_table(curves: Mapping[str, Sequence[StepFigures]]) -> str:
    """Return calls per rollout by what they are for, first steps against last, by family."""
    rows = []
    for family, steps in curves.items():
        ends = steps[:_NUM_STEPS], steps[-_NUM_STEPS:]
        figures = [
            " -> ".join(_mean([one.kinds.get(kind, 0.0) for one in end]) for end in ends)
            for kind in CallKind
        ]
        rows.append([family, *figures])
    head = ["family", *(kind.value.replace("_", " ") for kind in CallKind)]
    return table(head, rows) if rows else "Reinforcement learning was not run."


def draw_family_dynamics(curves: Mapping[str, Sequence[StepFigures]], folder: Path) -> FigureFile:
    """Draw accuracy, calls, lengths and entropy over the RL steps, one line per family."""
    with drawing(folder, "rl_by_family", size=(11, 6.5)) as figure:
        if not curves:
            say_not_run(figure.subplots(), "reinforcement learning")
            return FigureFile("rl_by_family", "Reinforcement learning was not run.")
        panels = figure.subplots(2, 2, sharex=True).ravel()
        for axes, name in zip(panels, _PANELS, strict=True):
            for (family, steps), colour in zip(curves.items(), COLOURS, strict=False):
                known = [one for one in steps if getattr(one, name) is not None]
                values = _smooth([getattr(one, name) for one in known])
                axes.plot([one.step for one in known], values, color=colour, label=family)
            axes.set_title(name, fontsize=10)
            axes.set_ylim(bottom=0)
        panels[0].legend(fontsize=8)
        for axes in panels[2:]:
            axes.set_xlabel("step")
    caption = (
        "The same by family of the question, each point the mean of five steps around it: a step "
        "has few prompts of each family."
    )
    return FigureFile("rl_by_family", caption)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the mean of each value with its neighbours.

    >>> _smooth([0.0, 0.0, 5.0, 0.0, 0.0])[2]
    1.0
    """
    half = _NUM_STEPS // 2
    windows = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else "-"
