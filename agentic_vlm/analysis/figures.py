"""The figures of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.canvas import COLOURS, colour_of, drawing, say_not_run
from agentic_vlm.analysis.dynamics import PassCounts, StepFigures
from agentic_vlm.analysis.scores import Entry, Share, Summary, title_of

_GROUP_WIDTH = 0.8
_MIN_WIDTH_IN = 8.0


class FigureFile(NamedTuple):
    """A figure of the report."""

    name: str
    """Stem of its PNG and SVG files."""
    caption: str
    """What it shows, in one or two sentences."""


def draw_accuracy(summary: Summary, folder: Path) -> FigureFile:
    """Draw accuracy by family and model with intervals, tool questions first."""
    families = _families(summary)
    size = (max(_MIN_WIDTH_IN, 1.6 * len(families) + 2), 6.5)
    with drawing(folder, "accuracy", size=size) as figure:
        if not summary.models:
            say_not_run(figure.subplots(), "evaluate")
            return FigureFile("accuracy", "No model was evaluated.")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, kind in zip(panels, ("tool", "direct"), strict=True):
            bars = {
                model: [_share(summary, model, family, kind) for family in families]
                for model in summary.names()
            }
            _draw_bars(axes, bars)
            axes.set_ylabel(f"{kind} questions\naccuracy")
            axes.set_ylim(0, 1.02)
        panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        panels[1].set_xticks(range(len(families)), families)
    caption = "Accuracy by family and model, with 95 % Wilson intervals."
    return FigureFile("accuracy", caption)


def draw_calls(summary: Summary, folder: Path) -> FigureFile:
    """Draw calls per answer on tool and on direct questions: who calls only where it helps?"""
    families = _families(summary)
    models = [name for name in summary.names() if not name.endswith(("_direct", "_think"))]
    size = (max(_MIN_WIDTH_IN, 1.6 * len(families) + 2), 6.5)
    with drawing(folder, "calls", size=size) as figure:
        if not models:
            say_not_run(figure.subplots(), "evaluate with tools")
            return FigureFile("calls", "No model was evaluated with tools.")
        panels = figure.subplots(2, 1, sharex=True, sharey=True)
        for axes, kind in zip(panels, ("tool", "direct"), strict=True):
            width = _GROUP_WIDTH / max(len(models), 1)
            for index, model in enumerate(models):
                places = [at + _offset(index, len(models)) for at in range(len(families))]
                entries = [_entry(summary, model, family, kind) for family in families]
                calls = [0.0 if entry is None else entry.calls or 0.0 for entry in entries]
                failed = [0.0 if entry is None else entry.failed_calls or 0.0 for entry in entries]
                colour = colour_of(model, index)
                axes.bar(places, calls, width, color=colour, label=title_of(model))
                axes.bar(places, failed, width, color="none", hatch="////", edgecolor="white")
                _mark_absent(axes, places, [entry is None for entry in entries])
            axes.set_ylabel(f"{kind} questions\ncalls per answer")
        panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        panels[1].set_xticks(range(len(families)), families)
    caption = (
        "Tool calls per answer by family and model; the hatched part failed. "
        "A selective model calls on tool questions and not on direct ones."
    )
    return FigureFile("calls", caption)


def draw_rl(curves: Sequence[StepFigures], folder: Path) -> FigureFile:
    """Draw what changed over the RL steps."""
    with drawing(folder, "rl_curves", size=(11, 6.5)) as figure:
        if not curves:
            say_not_run(figure.subplots(), "reinforcement learning")
            return FigureFile("rl_curves", "Reinforcement learning was not run.")
        panels = figure.subplots(2, 3, sharex=True).ravel()
        steps = [figures.step for figures in curves]
        for axes, (title, names) in zip(panels, _PANELS.items(), strict=False):
            for name, colour in zip(names, COLOURS, strict=False):
                values = [_value(figures, name) for figures in curves]
                axes.plot(steps, values, color=colour, label=name.replace("_", " "), marker=".")
            axes.set_title(title, fontsize=10)
            axes.set_ylim(bottom=0)
            if len(names) > 1:
                axes.legend(fontsize=8)
        _draw_kinds(panels[len(_PANELS)], curves)
        for axes in panels[3:]:
            axes.set_xlabel("step")
    caption = (
        "Averages over the rollouts of each RL step. Left out: infrastructure failures and "
        "ungraded answers. Surprisal, the mean of -log p of sampled tokens, estimates the entropy."
    )
    return FigureFile("rl_curves", caption)


_PANELS: dict[str, tuple[str, ...]] = {
    "reward and its parts": ("reward", "accuracy", "format"),
    "calls per rollout": ("calls", "failed_calls"),
    "sampled tokens per rollout": ("tokens",),
    "surprisal, nats per token": ("surprisal",),
    "share left out": ("left_out",),
}


def _value(figures: StepFigures, name: str) -> float:
    value: float | None = getattr(figures, name)
    return float("nan") if value is None else value


def _draw_kinds(axes: Axes, curves: Sequence[StepFigures]) -> None:
    present = [kind for kind in CallKind if any(kind in figures.kinds for figures in curves)]
    axes.set_title("calls per rollout, by what they are for", fontsize=10)
    if not present:
        return
    heights = [[figures.kinds.get(kind, 0.0) for figures in curves] for kind in present]
    labels = [kind.value.replace("_", " ") for kind in present]
    palette = [(*COLOURS, "#999999")[list(CallKind).index(kind)] for kind in present]
    axes.stackplot(
        [figures.step for figures in curves], heights, labels=labels, colors=palette, linewidth=0
    )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_passes(counts: Mapping[str, PassCounts], folder: Path) -> FigureFile:
    """Draw how many samples the base solved how often, without tools and with them."""
    with drawing(folder, "probe_passes", size=(9, 3.4)) as figure:
        if not counts:
            say_not_run(figure.subplots(), "probe")
            return FigureFile("probe_passes", "The probe was not run.")
        panels = figure.subplots(1, len(counts), squeeze=False)[0]
        for axes, mode in zip(panels, sorted(counts, reverse=True), strict=True):
            passes = counts[mode]
            places = range(passes.num_attempts + 1)
            axes.bar(places, passes.at_least, 0.85, color=COLOURS[4], label="at least")
            axes.step(places, passes.at_most, where="mid", color="black", label="at most")
            axes.set_title(f"{mode} ({passes.num_open} samples open)", fontsize=10)
            axes.set_xlabel(f"right attempts of {passes.num_attempts}")
            axes.set_xticks(list(places))
        panels[0].set_ylabel("samples")
        panels[0].legend()
    caption = (
        "How often the base solves a sample. Early stopping leaves some samples open: their right "
        "attempts lie between `at least` and `at most`."
    )
    return FigureFile("probe_passes", caption)


def _families(summary: Summary) -> list[str]:
    known = ("perception", "reasoning", "search", "integration", "text")
    found = {family for model in summary.models.values() for family in model.by_family}
    return [family for family in known if family in found] + sorted(found - set(known))


def _entry(summary: Summary, model: str, family: str, kind: str) -> Entry | None:
    return summary.models[model].by_family.get(family, {}).get(kind)


def _share(summary: Summary, model: str, family: str, kind: str) -> Share | None:
    entry = _entry(summary, model, family, kind)
    return None if entry is None else entry.accuracy


def _offset(index: int, num_bars: int) -> float:
    return (index - (num_bars - 1) / 2) * _GROUP_WIDTH / num_bars


def _draw_bars(axes: Axes, bars: Mapping[str, Sequence[Share | None]]) -> None:
    for index, (model, shares) in enumerate(bars.items()):
        places = [at + _offset(index, len(bars)) for at in range(len(shares))]
        heights, below, above = [], [], []
        for share in shares:
            mean = 0.0 if share is None or share.mean is None else share.mean
            low = mean if share is None or share.low is None else share.low
            high = mean if share is None or share.high is None else share.high
            heights.append(mean)
            below.append(max(0.0, mean - low))
            above.append(max(0.0, high - mean))
        width = _GROUP_WIDTH / len(bars)
        axes.bar(places, heights, width, color=colour_of(model, index), label=title_of(model))
        axes.errorbar(
            places, heights, yerr=(below, above), fmt="none", ecolor="black", lw=1, capsize=2
        )
        _mark_absent(axes, places, [share is None or share.mean is None for share in shares])


def _mark_absent(axes: Axes, places: Sequence[float], absent: Sequence[bool]) -> None:
    for place, is_absent in zip(places, absent, strict=True):
        if is_absent:
            axes.text(place, 0.02, "-", ha="center", color="#999999")
