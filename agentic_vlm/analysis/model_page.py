"""One page per model: its card, its scores, its figures, how its episodes ended."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from agentic_vlm.analysis.canvas import drawing, say_not_run
from agentic_vlm.analysis.report_queries import asked, counted
from agentic_vlm.analysis.scores import Summary, percent, title_of
from agentic_vlm.analysis.tables import (
    accuracy_table,
    escape,
    family_table,
    kinds_table,
    left_out_table,
    pair_table,
    realx_table,
    table,
)
from agentic_vlm.schema import CheckpointCard, Trajectory, Verdict

_SHOWN = (
    "checkpoint_id", "stage", "parent", "step", "seed", "architecture", "num_parameters", "command",
)  # fmt: skip
_MOST_CALLS = 6
_VERDICTS = (
    (Verdict.CORRECT, "#009e73"),
    (Verdict.INCORRECT, "#d55e00"),
    (Verdict.UNGRADED, "#999999"),
)


def slug_of(model: str) -> str:
    """Return the name of a model's files.

    >>> slug_of("Qwen2.5-VL 7B")
    'qwen2.5-vl_7b'
    """
    return re.sub(r"[^a-z0-9._-]", "_", model.lower()) or "model"


def write_model_page(
    model: str,
    summary: Summary,
    episodes: Sequence[Trajectory],
    folder: Path,
    *,
    benchmarks: str = "",
    card: CheckpointCard | None = None,
) -> str:
    """Write `models/NAME.md` with its figure and return the link to it from the report.

    Args:
        model: as named in the summary.
        summary: of all models.
        episodes: its graded episodes.
        folder: of the report.
        benchmarks: Markdown list of all figures of its benchmarks; empty where it has none.
        card: of the checkpoint that answered; absent where it has none here.
    """
    own = Summary(models={model: summary.models[model]}, paired=_pairs_of(model, summary))
    figure = f"model_{slug_of(model)}"
    _draw(own, model, episodes, folder / "figures", figure)
    parts = [
        f"# {title_of(model)}",
        "[Back to the report](../report.md). Intervals are 95 %; answers without a verdict are in "
        "no mean, and `bounds` counts them all wrong and all right.",
        "## Checkpoint",
        _card(card),
        "## Scores",
        accuracy_table(own),
        asked("scores"),
        f"![Accuracy by family, and verdicts by number of calls](../figures/{figure}.png)",
        "### By family",
        family_table(own),
        asked("scores"),
        "### By ability, as in RealX-Bench",
        realx_table(own),
        asked("score_by_ability"),
        *_benchmark_sections(benchmarks),
        "## Beside the other models",
        pair_table(own),
        asked("score_differences"),
        "## What calls are for",
        kinds_table({model: episodes}),
        counted("calls_by_kind", folder="../queries"),
        "## How episodes ended",
        _endings(episodes),
        counted("endings", folder="../queries"),
        "### Without a verdict, by number of calls",
        left_out_table({model: episodes}),
        counted("left_out", folder="../queries"),
        "## Trajectories",
        "A sample of them is in [trajectories.html](../trajectories.html). "
        f"`python -m agentic_vlm.view scores --model {slug_of(model)}` writes all of them, with "
        "their pictures, as one page to browse.",
    ]
    path = folder / "models" / f"{slug_of(model)}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return f"models/{path.name}"


def _card(card: CheckpointCard | None) -> str:
    """Return the card of a checkpoint, as lineage in SQL knows it."""
    if card is None:
        return "It has no card here: another server holds it, or it was removed."
    shown = card.model_dump(include=set(_SHOWN))
    rows = [[name.replace("_", " "), str(shown[name])] for name in _SHOWN if shown[name] != ""]
    notes = [f"- {escape(note)}" for note in card.notes]
    parts = [table(["card", "value"], rows), *(["\n".join(notes)] if notes else [])]
    return "\n\n".join([*parts, asked("samples_of_checkpoint", "lineage_up")])


def _benchmark_sections(benchmarks: str) -> list[str]:
    if not benchmarks:
        return []
    return ["### Benchmarks, all figures", benchmarks, counted("benchmarks", folder="../queries")]


def _pairs_of(model: str, summary: Summary) -> dict[str, Mapping[str, object]]:
    return {
        pair: dict(kinds)
        for pair, kinds in summary.paired.items()
        if model in pair.split("_minus_")
    }


def _endings(episodes: Sequence[Trajectory]) -> str:
    counts = Counter(
        (row.stop_reason.value, "none" if row.verdict is None else row.verdict.value)
        for row in episodes
    )
    rows = [
        [ended, verdict, str(count), percent(count / len(episodes))]
        for (ended, verdict), count in sorted(counts.items())
    ]
    return table(["ended", "verdict", "episodes", "share"], rows)


def _draw(
    own: Summary, model: str, episodes: Sequence[Trajectory], folder: Path, name: str
) -> None:
    with drawing(folder, name, size=(10, 3.6)) as figure:
        if not episodes:
            say_not_run(figure.subplots(), "evaluate")
            return
        left, right = figure.subplots(1, 2)
        _draw_families(left, own, model)
        _draw_verdicts(right, episodes)


def _draw_families(axes: Axes, own: Summary, model: str) -> None:
    by_family = own.models[model].by_family
    for shift, kind, colour in ((-0.2, "direct", "#56b4e9"), (0.2, "tool", "#0072b2")):
        for place, family in enumerate(sorted(by_family)):
            entry = by_family[family].get(kind)
            if entry is None or entry.accuracy.mean is None:
                continue
            share = entry.accuracy
            low, high = share.low or 0.0, share.high or 0.0
            mean = entry.accuracy.mean
            label = f"{kind} questions" if place == 0 else None
            axes.bar(place + shift, mean, 0.4, color=colour, label=label)
            bars = ([max(0.0, mean - low)], [max(0.0, high - mean)])
            axes.errorbar([place + shift], [mean], yerr=bars, fmt="none", ecolor="black", lw=1)
    axes.set_xticks(range(len(by_family)), sorted(by_family), rotation=20)
    axes.set_ylim(0, 1.02)
    axes.set_title("accuracy by family, 95 % intervals", fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _draw_verdicts(axes: Axes, episodes: Sequence[Trajectory]) -> None:
    counts = Counter((min(row.num_calls, _MOST_CALLS), row.verdict) for row in episodes)
    below = [0] * (_MOST_CALLS + 1)
    for verdict, colour in _VERDICTS:
        heights = [counts[calls, verdict] for calls in range(_MOST_CALLS + 1)]
        places = range(_MOST_CALLS + 1)
        axes.bar(places, heights, 0.8, bottom=below, color=colour, label=verdict.value)
        below = [low + more for low, more in zip(below, heights, strict=True)]
    labels = [str(calls) for calls in range(_MOST_CALLS)]
    axes.set_xticks(range(_MOST_CALLS + 1), [*labels, f"{_MOST_CALLS}+"])
    axes.set_title("episodes by number of calls", fontsize=10)
    axes.legend(fontsize=8)
