"""The data card: where the samples come from, what became of them, and what was held back."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.curation.registry import REGISTRY, RegistryEntry, read_registry
from agentic_vlm.params import IngestParams, RegisteredSource
from agentic_vlm.schema import CuratedSample, RawSample, Rejection, RejectReason
from agentic_vlm.store import iter_records

_STAGES = ("ingest", "curate", "allocate", "synthesize", "select_sft")
_REJECTIONS = ("data/raw", "data/curated", "data/pools", "data/sft")
_MAX_MATCHES = 20
_MAX_EXAMPLES = 6
_MAX_CHARS = 160


def write_card(root: Path, ingest: IngestParams) -> str:
    """Return the card as Markdown, from what the stages have written so far.

    Raises:
        ArtifactMissing: data/raw or data/curated has not been written.
        ParamsError: the registry of sources is wrong.
    """
    entries = read_registry(root) if (root / REGISTRY).exists() else {}
    rejections = list(_iter_rejections(root))
    raw = Counter(row.source for row in iter_records(root / "data/raw/records", RawSample))
    curated = list(iter_records(root / "data/curated/records", CuratedSample))
    parts = [
        "# Data card",
        "## Sources",
        *_sources(ingest, entries, raw, Counter(row.source for row in curated)),
        "## From sources to lessons",
        *_flow(_read_metrics(root)),
        "## What was left out",
        *_left_out(rejections),
        "## Matches with the evaluation suites",
        *_matches(rejections),
        "## Difficulty",
        *_difficulty(_read_metrics(root).get("probe", {})),
        "## Examples",
        *_examples(curated),
    ]
    return "\n\n".join(parts) + "\n"


def _read_metrics(root: Path) -> dict[str, Mapping[str, object]]:
    found = {}
    for name in (*_STAGES, "probe"):
        path = root / "metrics" / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _iter_rejections(root: Path) -> Iterator[Rejection]:
    for name in _REJECTIONS:
        if (root / name / "rejections").exists():
            yield from iter_records(root / name / "rejections", Rejection)


def _sources(
    ingest: IngestParams,
    entries: Mapping[str, RegistryEntry],
    raw: Mapping[str, int],
    curated: Mapping[str, int],
) -> list[str]:
    rows = []
    for source in ingest.sources:
        entry = entries.get(source.name) if isinstance(source, RegisteredSource) else None
        licence = "ours, generated" if source.type == "world" else "as its owner says"
        rows.append(
            (
                entry.title if entry else source.name,
                entry.licence if entry else licence,
                entry.split if entry else (source.suite or "train"),
                str(raw.get(source.name, 0)),
                str(curated.get(source.name, 0)),
            )
        )
    return [table(("source", "licence", "split", "training rows", "curated"), rows)]


def _flow(metrics: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return a flow diagram: rows into each stage, rows on, rows left out by reason."""
    lines = ["```mermaid", "flowchart TD"]
    before = ""
    for name in _STAGES:
        if name not in metrics:
            continue
        figures = metrics[name]
        lines.append(f'  {name}["{name}: {figures.get("num_out")} of {figures.get("num_in")}"]')
        if before:
            lines.append(f"  {before} --> {name}")
        left_out = figures.get("left_out")
        for reason, count in left_out.items() if isinstance(left_out, Mapping) else ():
            lines.append(f'  {name} -.-> {name}_{reason}(["{reason}: {count}"])')
        before = name
    return ["\n".join([*lines, "```"])]


def _left_out(rejections: Sequence[Rejection]) -> list[str]:
    counts = Counter((row.stage, row.reason.value) for row in rejections)
    first = {(row.stage, row.reason.value): row for row in reversed(rejections)}
    rows = [
        (stage, reason, str(count), _short(first[stage, reason].evidence))
        for (stage, reason), count in sorted(counts.items())
    ]
    return [table(("stage", "reason", "rows", "for example"), rows)]


def _matches(rejections: Iterable[Rejection]) -> list[str]:
    found = [row for row in rejections if row.reason is RejectReason.CONTAMINATED]
    if not found:
        return ["No training row was found in a suite."]
    rows = [(row.row_id, _short(row.evidence)) for row in found[:_MAX_MATCHES]]
    left = len(found) - len(rows)
    more = [f"and {left} more in data/curated/rejections"] if left else []
    return [f"{len(found)} training rows were left out.", table(("row", "match"), rows), *more]


def _difficulty(figures: Mapping[str, object]) -> list[str]:
    """Return pass rates without and with tools; early stopping leaves a range."""
    rates = figures.get("pass_rate")
    if not isinstance(rates, Mapping):
        return ["The base policy has not been probed."]
    rows = [
        (group, _range(modes.get("direct")), _range(modes.get("agent")))
        for group, modes in rates.items()
    ]
    return [table(("family and need", "right without tools", "right with tools"), rows)]


def _range(rate: Mapping[str, float] | None) -> str:
    if rate is None:
        return "not tried"
    return f"{rate['low']:.0%} to {rate['high']:.0%} ({rate['num_samples']} samples)"


def _examples(curated: Sequence[CuratedSample]) -> list[str]:
    first: dict[tuple[str, str], CuratedSample] = {}
    for row in curated:
        first.setdefault((row.source, row.family), row)
    rows = [
        (source, family, _short(row.question), _short(row.answer), str(len(row.images)))
        for (source, family), row in sorted(first.items())[:_MAX_EXAMPLES]
    ]
    return [table(("source", "family", "question", "answer", "pictures"), rows)]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a Markdown table; bars in cells are escaped.

    >>> print(table(("a", "b"), [("1|2", "x")]))
    | a | b |
    | --- | --- |
    | 1\|2 | x |
    """
    lines = [header, ["---"] * len(header), *([_cell(one) for one in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 3]}..."
