"""Figures as text: ours with intervals and bounds, the paper's beside them."""

from collections.abc import Mapping, Sequence

from agentic_vlm.evaluation.figures import Figure
from agentic_vlm.evaluation.runs import RunCard
from agentic_vlm.evaluation.suites import SUITES, Suite
from agentic_vlm.evaluation.suites.paper import POINT_COLUMNS, paper_table

_TABLE_TITLES = {
    "real_world": "Real-world perception, text and charts",
    "mathematics": "Mathematics and logic",
    "search": "Search",
    "realx": "RealX-Bench",
    "other": "Other suites",
}
_REALX_COLUMNS = ("average", "perception", "reason", "search", "integration")


def figure_lines(figures: Sequence[Figure]) -> list[str]:
    """Return one line per figure: mean, interval, n, and both bounds where answers are ungraded."""
    width = max((len(figure.name) for figure in figures), default=0)
    return [f"{figure.name:{width}}  {_told(figure)}" for figure in figures]


def _told(figure: Figure) -> str:
    ungraded = ""
    if figure.num_ungraded and figure.lowest is not None and figure.highest is not None:
        bounds = f"{100 * figure.lowest:.1f} to {100 * figure.highest:.1f}"
        ungraded = f"  {figure.num_ungraded} without a verdict: {bounds}"
    if figure.mean is None or figure.low is None or figure.high is None:
        return f"    -{ungraded}"
    interval = f"({100 * figure.low:.1f}-{100 * figure.high:.1f})"
    return f"{100 * figure.mean:5.1f} % {interval:13} n={figure.n}{ungraded}"


def run_title(card: RunCard, mode: str) -> str:
    """Return what a run is called in tables: model, mode, and its tools where they are not usual.

    The four tool settings of RealX-Bench are four rows: without tools (mode `direct`), and with
    code and text search, image search, or both.
    """
    is_usual = mode != "agent" or set(card.tools) == set(SUITES[card.suite].tools)
    tools = "" if is_usual else f" ({' + '.join(card.tools)})"
    return f"{card.model}, {mode}{tools}"


def coverage_line(suite: Suite, num_items: int) -> str:
    """Return how much of the benchmark was asked, and whether the paper's rows may stand beside."""
    if suite.size is None:
        return f"{num_items} items; how many were published is not known"
    if num_items == suite.size:
        return f"all {num_items} items"
    return f"PARTIAL: {num_items} of {suite.size} items, not comparable with published scores"


def family_tables(runs: Mapping[str, Mapping[str, tuple[int, Sequence[Figure]]]]) -> str:
    """Return one Markdown table per suite family, the paper's rows beside ours.

    Args:
        runs: for each model, for each suite: the number of items asked, and the figures.
    """
    asked = {suite for suites in runs.values() for suite in suites}
    sections = []
    for table, title in _TABLE_TITLES.items():
        suites = [
            suite for suite in SUITES.values() if suite.table == table and suite.name in asked
        ]
        if suites and table == "realx":
            sections += [f"### {title}", _realx(suites, runs)]
        elif suites:
            sections += [f"### {title}", _family(table, suites, runs)]
    return "\n\n".join(sections)


def _family(
    table: str,
    suites: Sequence[Suite],
    runs: Mapping[str, Mapping[str, tuple[int, Sequence[Figure]]]],
) -> str:
    """Columns are suites; paper rows fill those columns that hold the whole benchmark."""
    paper = paper_table(table)
    lines = [
        "| model | " + " | ".join(suite.title for suite in suites) + " |",
        "|---|" + "---|" * len(suites),
    ]
    for model, own in runs.items():
        cells = [_cell(suite, own.get(suite.name)) for suite in suites]
        lines.append(f"| **{model}** | " + " | ".join(cells) + " |")
    for model in paper.rows:
        figures = [paper.figure(model, suite.column) for suite in suites]
        if any(figure is not None for figure in figures):
            cells = [
                _paper_cell(figure, suite.column)
                for figure, suite in zip(figures, suites, strict=True)
            ]
            lines.append(f"| {model} (paper) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _realx(
    suites: Sequence[Suite], runs: Mapping[str, Mapping[str, tuple[int, Sequence[Figure]]]]
) -> str:
    """One table per set of questions: the public 194 never stand beside figures on 300."""
    parts = []
    for suite in suites:
        lines = [
            f"| {suite.title} | average | perception | reasoning | search | integration |",
            "|---|---|---|---|---|---|",
        ]
        for model, own in runs.items():
            if suite.name in own:
                num_items, figures = own[suite.name]
                by_name = {figure.name: figure for figure in figures}
                cells = [_interval(by_name.get(name)) for name in _REALX_COLUMNS]
                note = _note(suite, num_items)
                lines.append(f"| **{model}**{note} | " + " | ".join(cells) + " |")
        if suite.column:
            for model, row in paper_table("realx").rows.items():
                cells = ["-" if figure is None else f"{figure:.1f}" for figure in row]
                lines.append(f"| {model} (paper) | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(suite: Suite, run: tuple[int, Sequence[Figure]] | None) -> str:
    if run is None:
        return "-"
    num_items, figures = run
    return _interval(figures[0] if figures else None) + _note(suite, num_items)


def _note(suite: Suite, num_items: int) -> str:
    is_partial = suite.size is not None and num_items != suite.size
    return f" partial, {num_items} of {suite.size}" if is_partial else ""


def _interval(figure: Figure | None) -> str:
    if figure is None or figure.mean is None or figure.low is None or figure.high is None:
        return "-"
    told = f"{100 * figure.mean:.1f} ({100 * figure.low:.1f}-{100 * figure.high:.1f}), n {figure.n}"
    if figure.num_ungraded and figure.lowest is not None and figure.highest is not None:
        told += f", bounds {100 * figure.lowest:.1f}-{100 * figure.highest:.1f}"
    return told


def _paper_cell(figure: float | None, column: str) -> str:
    if figure is None:
        return "-"
    return f"{figure / 10:.1f}" if column in POINT_COLUMNS else f"{figure:.1f}"
