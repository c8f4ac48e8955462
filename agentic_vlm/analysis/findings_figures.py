"""The figures of the findings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentic_vlm.analysis.canvas import COLOURS, drawing, say_not_run
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.findings import Finding, Outcome
from agentic_vlm.analysis.reasons import say

_COLOURS = {
    Outcome.CAME_OUT: "#009e73",
    Outcome.DID_NOT: "#d55e00",
    Outcome.UNDECIDED: "#777777",
}
_PANELS = ("reward", "calls", "tokens", "surprisal", "flat_groups")


def draw_findings(findings: Sequence[Finding], folder: Path) -> None:
    """Draw the estimate of each claim over all seeds, and below it each seed.

    Claims differ in their unit, so that each is scaled by its own largest value; the numbers stand
    beside it.
    """
    shown = [finding for finding in findings if finding.estimate is not None]
    size = (8.0, 0.5 * max(len(shown), 1) + 1.6)
    with drawing(folder, "findings", size=size) as figure:
        axes = figure.subplots()
        if not shown:
            say_not_run(axes, "experiments")
            return
        for place, finding in enumerate(shown):
            colour = _COLOURS[finding.outcome]
            estimates = [finding.estimate, *(result.estimate for result in finding.seeds)]
            known = [one for one in estimates if one is not None]
            bound = finding.claim.bound
            unit = max([abs(bound), *(max(abs(one.low), abs(one.high)) for one in known)]) or 1.0
            for rank, one in enumerate(known):
                at, width = place + 0.14 * rank, 3.0 if rank == 0 else 1.0
                axes.plot([one.low / unit, one.high / unit], [at, at], color=colour, lw=width)
                axes.plot([one.mean / unit], [at], "o", color=colour, markersize=3 + width)
            axes.plot([bound / unit] * 2, [place - 0.25, place + 0.55], color="black", lw=1)
            axes.text(1.05, place, say(known[0].mean, finding.claim.measure), va="center")
        labels = [f"{one.claim.key}, {one.claim.measure}\n{one.outcome}" for one in shown]
        axes.set_yticks(range(len(shown)), labels, fontsize=8)
        axes.set_ylim(len(shown) - 0.2, -0.6)
        axes.set_xlim(-1.1, 1.35)
        axes.set_xticks([-1, 0, 1])
        axes.set_xlabel(
            "difference, scaled claim by claim; thick: all seeds, thin: each; black: bound"
        )


def draw_training(curves: Mapping[str, Sequence[StepFigures]], folder: Path) -> None:
    """Draw the RL of the variants, each as the mean over its experiments, as figures 4 and 8 do.

    Args:
        curves: RL by variant, experiments one after another.
        folder: where the files go.
    """
    with drawing(folder, "training", size=(11, 6.5)) as figure:
        if not curves:
            say_not_run(figure.subplots(), "reinforcement learning")
            return
        panels = figure.subplots(2, 3, sharex=True).ravel()
        for axes, name in zip(panels, _PANELS, strict=False):
            for (variant, steps), colour in zip(curves.items(), COLOURS, strict=False):
                means = _mean_by_step(steps, name)
                axes.plot(list(means), list(means.values()), color=colour, label=variant)
            axes.set_title(name.replace("_", " "), fontsize=10)
            axes.set_ylim(bottom=0)
        panels[-1].set_axis_off()
        panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center")


def _mean_by_step(steps: Sequence[StepFigures], name: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for figures in steps:
        value: float | None = getattr(figures, name)
        if value is not None:
            found.setdefault(figures.step, []).append(value)
    return {step: sum(values) / len(values) for step, values in sorted(found.items())}
