"""The tables of the report, as Markdown."""

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agentic_vlm.analysis.calls import CallKind, classify_call
from agentic_vlm.analysis.flow import FlowRow
from agentic_vlm.analysis.scores import (
    KINDS,
    REALX_PARTS,
    Entry,
    Gain,
    Summary,
    interval,
    percent,
    title_of,
)
from agentic_vlm.schema import StopReason, ToolCall, Trajectory, Verdict

_MOST_CALLS = 5


def escape(text: str) -> str:
    r"""Make a text harmless inside a Markdown table: no markup, no control signs, one line.

    >>> escape("a|b <b>*c*</b>")
    'a&#124;b &lt;b&gt;&#42;c&#42;&lt;/b&gt;'
    """
    shown = "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
    plain = html.escape(shown, quote=False)
    return "".join(f"&#{ord(sign)};" if sign in "|*`[]\\" else sign for sign in plain)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; every cell is escaped."""
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def accuracy_table(summary: Summary) -> str:
    """Accuracy by model and kind of question, and how tools were used."""
    rows = []
    for name in summary.names():
        for kind in KINDS:
            entry = summary.models[name].kind(kind)
            if entry is not None:
                rows.append([title_of(name), kind, *_entry_cells(entry)])
    return table(["model", "questions", *_ENTRY_HEAD], rows)


def family_table(summary: Summary) -> str:
    """The same by family, on all questions of the family."""
    rows = [
        [family, title_of(name), *_entry_cells(summary.models[name].by_family[family]["all"])]
        for family in sorted({at for model in summary.models.values() for at in model.by_family})
        for name in summary.names()
        if family in summary.models[name].by_family
    ]
    return table(["family", "model", *_ENTRY_HEAD], rows)


def realx_table(summary: Summary) -> str:
    """Accuracy by ability, in the columns of RealX-Bench."""
    rows = []
    for name in summary.names():
        realx = summary.models[name].realx
        if realx:
            cells = [interval(realx[part]) if part in realx else "-" for part in REALX_PARTS]
            rows.append([title_of(name), *cells])
    return table(["model", *REALX_PARTS], rows) if rows else "No sample carries RealX-Bench flags."


def pair_table(summary: Summary) -> str:
    """Differences between models on the samples that both answered."""
    rows = []
    for pair, kinds in summary.paired.items():
        first, _, second = pair.partition("_minus_")
        title = f"{title_of(first)} minus {title_of(second)}"
        rows += [[title, kind, *_gain_cells(kinds[kind])] for kind in KINDS if kind in kinds]
    head = ["models", "questions", "points (95 %)", "n", "gained", "lost", "McNemar p"]
    return table(head, rows) if rows else "There is one model only."


def left_out_table(trajectories: Mapping[str, Sequence[Trajectory]]) -> str:
    """Share of episodes without a verdict by number of calls: outages hit those who call."""
    rows = []
    for name, episodes in trajectories.items():
        totals, left_out, outages = Counter[int](), Counter[int](), Counter[int]()
        for episode in episodes:
            calls = min(episode.num_calls, _MOST_CALLS)
            totals[calls] += 1
            left_out[calls] += episode.verdict is Verdict.UNGRADED
            outages[calls] += episode.stop_reason is StopReason.INFRASTRUCTURE
        for calls in sorted(totals):
            label = f"{calls} or more" if calls == _MOST_CALLS else str(calls)
            share = percent(left_out[calls] / totals[calls])
            rows.append([title_of(name), label, str(totals[calls]), share, str(outages[calls])])
    return table(["model", "calls", "episodes", "without verdict", "outages"], rows)


def kinds_table(trajectories: Mapping[str, Sequence[Trajectory]]) -> str:
    """What the calls of each model are for, as shares of its calls."""
    rows = []
    for name, episodes in trajectories.items():
        kinds = Counter(
            classify_call(turn.action, turn.observation)
            for episode in episodes
            for turn in episode.turns
            if isinstance(turn.action, ToolCall)
        )
        if total := kinds.total():
            shares = [percent(kinds[kind] / total) for kind in CallKind]
            rows.append([title_of(name), str(total), *shares])
    head = ["model", "calls", *(kind.value.replace("_", " ") for kind in CallKind)]
    return table(head, rows) if rows else "No model made a call."


def flow_table(flow: Sequence[FlowRow]) -> str:
    """What each stage wrote and left out."""
    rows = []
    for row in flow:
        left_out = ", ".join(f"{count} {reason}" for reason, count in row.left_out.items())
        count = "not run" if row.num_rows is None else str(row.num_rows)
        rows.append([row.stage, row.what, count, left_out or "-"])
    return table(["stage", "rows", "number", "left out"], rows)


_ENTRY_HEAD = (
    "accuracy, % (95 %)",
    "n",
    "no verdict",
    "bounds, %",
    "used a tool",
    "calls",
    "failed calls",
    "tokens",
)


def _entry_cells(entry: Entry) -> list[str]:
    share = entry.accuracy
    bounds = "-"
    if share.num_ungraded and share.lowest is not None and share.highest is not None:
        bounds = f"{100 * share.lowest:.1f}-{100 * share.highest:.1f}"
    return [
        interval(share),
        str(share.n),
        str(share.num_ungraded),
        bounds,
        percent(entry.tool_rate),
        _plain(entry.calls),
        _plain(entry.failed_calls),
        _plain(entry.tokens, digits=1),
    ]


def _gain_cells(gain: Gain) -> list[str]:
    points = f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    p = "< 0.0001" if gain.p < 0.0001 else f"{gain.p:.4f}"
    return [points, str(gain.n), str(gain.num_gained), str(gain.num_lost), p]


def _plain(value: float | None, *, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
