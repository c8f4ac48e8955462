"""What the report says of benchmarks: tables with the paper's rows, and every figure per model."""

from collections.abc import Callable, Sequence

from agentic_vlm.evaluation.controls.gains import split_gains
from agentic_vlm.evaluation.marking import modes_told
from agentic_vlm.evaluation.run_modes import RunMode
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.summary import column_of
from agentic_vlm.evaluation.tables import family_tables, figure_lines
from agentic_vlm.schema import ScoredAnswer

_WITHOUT_TOOLS = {
    RunMode.DIRECT: "",
    RunMode.THINK: ", against reasoning without them",
}


def suite_tables(scores: Sequence[ScoredAnswer], title: Callable[[str], str]) -> str:
    """Return one table per family of the benchmarks that were asked; empty where none was.

    Args:
        scores: scored answers of all models.
        title: what a model and mode are called, from the name of `column_of`.
    """
    tables = family_tables(
        {
            title(column): {
                name: (len({row.sample_id for row in rows}), SUITES[name].aggregate(rows))
                for name, rows in own.items()
            }
            for column, own in _by_column(scores).items()
        }
    )
    asked = [score for score in scores if score.suite in SUITES]
    return f"{modes_told(asked).capitalize()}.\n\n{tables}" if tables else ""


def suite_figures(scores: Sequence[ScoredAnswer]) -> dict[str, str]:
    """Return all figures of all benchmarks as Markdown, by the name of model and mode."""
    found = {}
    for column, own in _by_column(scores).items():
        parts = []
        for name, rows in own.items():
            lines = "\n".join(figure_lines(SUITES[name].aggregate(rows)))
            parts.append(f"{SUITES[name].title}:\n\n```\n{lines}\n```")
        found[column] = "\n\n".join([*parts, *_gains(column, scores)])
    return found


def _gains(column: str, scores: Sequence[ScoredAnswer]) -> list[str]:
    """Compare a model with itself without tools, in each way in which it was asked so."""
    own = [score for score in scores if column_of(score) == column]
    parts = []
    for mode, told in _WITHOUT_TOOLS.items():
        without = [score for score in scores if column_of(score) == f"{column}_{mode}"]
        if own and without:
            lines = "\n".join(figure_lines(split_gains(own, without).figures()))
            parts.append(f"What tools add and harm, over all suites{told}:\n\n```\n{lines}\n```")
    return parts


def _by_column(
    scores: Sequence[ScoredAnswer],
) -> dict[str, dict[str, list[ScoredAnswer]]]:
    """Return the answers to benchmarks by model and mode, then by suite."""
    columns: dict[str, dict[str, list[ScoredAnswer]]] = {}
    for score in scores:
        if score.suite in SUITES:
            own = columns.setdefault(column_of(score), {})
            own.setdefault(score.suite, []).append(score)
    return columns
