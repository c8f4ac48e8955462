"""The score table that ends a run: scores, calls, seconds, and where to look next."""

import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentic_vlm.analysis.scores import (
    KINDS,
    REALX_PARTS,
    Summary,
    interval,
    parse_summary,
    title_of,
)

_WIDTH = 100
_NEXT = (
    ("data/reports/report.md", "tables and figures"),
    ("data/reports/examples.html", "trajectories with their pictures"),
    ("python -m agentic_vlm.store.query", "questions in SQL"),
    ("python -m agentic_vlm.ask", "ask the trained model yourself"),
)


def score_table(summary: object | None, timings: Mapping[str, Mapping[str, object]] | None) -> str:
    """Return scores, seconds and next steps as plain text.

    Args:
        summary: parsed metrics/summary.json; absent before the first report.
        timings: parsed metrics/timings.json; absent before the first stage.

    Raises:
        RecordError: the summary has another form.
    """
    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, highlight=False)
    if summary is None:
        console.print("no scores yet: the stage report writes metrics/summary.json")
    else:
        _print_scores(console, parse_summary(summary))
    if timings:
        console.print(_timing_table(timings))
    width = max(len(place) for place, _ in _NEXT)
    for place, what in _NEXT:
        console.print(f"{place:{width}}  {what}", markup=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _print_scores(console: Console, summary: Summary) -> None:
    table = Table(box=box.SIMPLE, title="accuracy, % (95 % interval)")
    table.add_column("model", no_wrap=True)
    for kind in KINDS:
        table.add_column(f"{kind} questions", no_wrap=True)
    table.add_column("calls,\ntool", justify="right")
    table.add_column("calls,\ndirect", justify="right")
    for name in summary.names():
        entries = [summary.models[name].kind(kind) for kind in KINDS]
        cells = ["-" if entry is None else interval(entry.accuracy) for entry in entries]
        calls = [
            "-" if entry is None or entry.calls is None else f"{entry.calls:.2f}"
            for entry in entries[:2]
        ]
        table.add_row(Text(title_of(name)), *cells, *calls)
    console.print(table)
    if any(summary.models[name].realx for name in summary.names()):
        console.print(_realx_table(summary))
    for name in summary.names():
        entry = summary.models[name].all
        if entry is not None and entry.accuracy.num_ungraded:
            share = entry.accuracy
            line = f"{title_of(name)}: {share.num_ungraded} answers have no verdict and count in no"
            console.print(f"{line} mean ({share.num_infrastructure} outages of ours)", markup=False)


def _realx_table(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE, title="by ability, as in RealX-Bench; integration: all three")
    table.add_column("hard for", no_wrap=True)
    table.add_column("n", justify="right")
    models = {name: realx for name in summary.names() if (realx := summary.models[name].realx)}
    for name in models:
        table.add_column(Text(title_of(name)), no_wrap=True)
    for part in REALX_PARTS:
        shares = [realx.get(part) for realx in models.values()]
        sizes = sorted({share.n for share in shares if share is not None})
        cells = ["-" if share is None else interval(share) for share in shares]
        table.add_row("reasoning" if part == "reason" else part, _counts(sizes), *cells)
    return table


def _counts(sizes: Sequence[int]) -> str:
    """Return the number of questions; a range where models differ, as outages make them."""
    return "-" if not sizes else "-".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))


def _timing_table(timings: Mapping[str, Mapping[str, object]]) -> Table:
    table = Table("stage", box=box.SIMPLE)
    table.add_column("seconds", justify="right")
    table.add_column("peak memory, MiB", justify="right")
    runs = sorted(timings.items(), key=lambda run: (str(run[1].get("started_at", "")), run[0]))
    total_s = 0.0
    for name, run in runs:
        wall_s = _number(run.get("wall_s"))
        total_s += wall_s
        table.add_row(Text(name), f"{wall_s:.1f}", f"{_number(run.get('peak_memory_mb')):.0f}")
    table.add_row("all", f"{total_s:.1f}", "")
    return table


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
