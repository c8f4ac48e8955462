"""The data card: where the samples come from, what became of them, and what was held back."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.curation.card_counts import Counts, count_all, tallies_of
from agentic_vlm.curation.pass_rates import rate_range
from agentic_vlm.curation.registry import REGISTRY, RegistryEntry, read_registry
from agentic_vlm.params import IngestParams, RegisteredSource
from agentic_vlm.schema import ImageRef, ProbeMode, RejectReason
from agentic_vlm.store import ImageStore
from agentic_vlm.vision import encode_png

CARD = "data_card.md"
"""Name of the card in the folder of the report."""
_PICTURES = "data_card"
_USAGE = "metrics/synthesize.json"
_MAX_MATCHES = 20
_MAX_EXAMPLES = 12
_MAX_CHARS = 160
_MAX_PX = 320


def write_card(
    root: Path,
    ingest: IngestParams,
    *,
    num_attempts: int,
    folder: Path,
    figures: Sequence[str] = (),
) -> None:
    """Write the card and its example pictures, from what the stages have written so far.

    Args:
        root: root of the project.
        ingest: names the sources.
        num_attempts: k of the probe.
        folder: takes `data_card.md` and the folder `data_card`.
        figures: paths of figures of the difficulty, relative to `folder`.

    Raises:
        ArtifactMissing: data/raw or data/curated has not been written.
        ParamsError: the registry of sources is wrong.
    """
    entries = read_registry(root) if (root / REGISTRY).exists() else {}
    counts = count_all(root / "data", max_matches=_MAX_MATCHES)
    parts = [
        "# Data card",
        "## Sources",
        _sources(ingest, entries, counts),
        "## From sources to lessons",
        _flow(counts),
        "## What was left out",
        _left_out(counts),
        "## Matches with the evaluation suites",
        *_matches(counts),
        "## Difficulty",
        *_difficulty(counts, num_attempts),
        *(f"![{Path(figure).stem}]({figure})" for figure in figures),
        "## Pools",
        *_pools(counts, num_attempts),
        "## Cost",
        _cost(root, counts),
        "## Examples",
        *_examples(root / "data/raw/images", counts, folder),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _sources(ingest: IngestParams, entries: Mapping[str, RegistryEntry], counts: Counts) -> str:
    rows = []
    for source in ingest.sources:
        entry = entries.get(source.name) if isinstance(source, RegisteredSource) else None
        licence = "ours, generated" if source.type == "world" else "as its owner says"
        share = entry.source.share if entry else getattr(source, "share", 1.0)
        rows.append(
            (
                entry.title if entry else source.name,
                entry.licence if entry else licence,
                entry.split if entry else (source.suite or "train"),
                f"{share:g}",
                str(counts.raw[source.name]),
                str(counts.curated[source.name]),
            )
        )
    return table(("source", "licence", "split", "share", "training rows", "curated"), rows)


def _flow(counts: Counts) -> str:
    """Return a flow diagram: rows of each stage, and rows left out by reason."""
    sizes = {"sft": 0, "rl": 0}
    for group, ids in counts.pools.items():
        sizes[group.pool] += len(ids)
    nodes = [("ingest", f"raw samples: {counts.raw.total()}", "")]
    nodes.append(("curate", f"curated: {counts.curated.total()}", "ingest"))
    last = "curate"
    if counts.attempts:
        made, spared = counts.attempts["made"], counts.attempts["not_needed"]
        nodes.append(("probe", f"probed: {made} attempts, {spared} not needed", last))
        last = "probe"
    if counts.pools:
        nodes.append(("allocate", f"allocated: {sizes['sft'] + sizes['rl']}", last))
        nodes.append(("rl", f"pool for RL: {sizes['rl']}", "allocate"))
        nodes.append(("sft", f"pool for the cold start: {sizes['sft']}", "allocate"))
        last = "sft"
    if counts.num_trajectories is not None:
        nodes.append(("synthesize", f"trajectories: {counts.num_trajectories}", last))
        last = "synthesize"
    if counts.num_kept is not None:
        nodes.append(("select_sft", f"lessons: {counts.num_kept}", last))
    lines = ["```mermaid", "flowchart TD"]
    for name, label, before in nodes:
        lines.append(f'  {name}["{label}"]')
        lines += [f"  {before} --> {name}"] if before else []
    for (stage, reason), count in sorted(counts.rejected.items()):
        lines.append(f'  {stage} -.-> {stage}_{reason}(["{reason}: {count}"])')
    return "\n".join([*lines, "```"])


def _left_out(counts: Counts) -> str:
    rows = [
        (stage, reason, str(count), _short(counts.evidence[stage, reason]))
        for (stage, reason), count in sorted(counts.rejected.items())
    ]
    return table(("stage", "reason", "rows", "for example"), rows) if rows else "Nothing."


def _matches(counts: Counts) -> Iterator[str]:
    reason = RejectReason.CONTAMINATED.value
    total = sum(num for (_, why), num in counts.rejected.items() if why == reason)
    if not total:
        yield "No training row was found in a suite."
        return
    yield f"{total} training rows were left out."
    yield table(("row", "match"), [(row.row_id, _short(row.evidence)) for row in counts.matches])
    if total > len(counts.matches):
        yield f"and {total - len(counts.matches)} more in data/curated/rejections"


def _difficulty(counts: Counts, num_attempts: int) -> Iterator[str]:
    """Yield pass rates without and with tools; early stopping leaves a range."""
    if not counts.tallies:
        yield "The base policy has not been probed."
        return
    groups: dict[str, list[str]] = {}
    for sample_id, kind in counts.families.items():
        groups.setdefault(kind, []).append(sample_id)
    rows = [(kind, *_rates(counts, ids, num_attempts)) for kind, ids in sorted(groups.items())]
    yield table(("family and need", "right without tools", "right with tools"), rows)


def _pools(counts: Counts, num_attempts: int) -> Iterator[str]:
    if not counts.pools:
        yield "Nothing has been allocated."
        return
    rows = [
        (*group, str(len(ids)), *_rates(counts, ids, num_attempts), str(counts.optional[group]))
        for group, ids in sorted(counts.pools.items())
    ]
    header = ("pool", "source", "family", "samples", "right without tools", "right with tools")
    yield table((*header, "tool_optional"), rows)
    ids = [one for members in counts.pools.values() for one in members]
    solved = sum(tally.num_correct > 0 for tally in tallies_of(counts, ids, ProbeMode.AGENT))
    num_optional = counts.optional.total()
    share = f" ({num_optional / solved:.1%})" if solved else ""
    yield (
        f"Of {solved} samples that were solved at least once with tools, {num_optional}{share} "
        "were solved at least once without them too: `tool_optional`. Samples that the direct "
        "attempts alone decide were not tried with tools."
    )


def _rates(counts: Counts, ids: Sequence[str], num_attempts: int) -> tuple[str, str]:
    found = []
    for mode in (ProbeMode.DIRECT, ProbeMode.AGENT):
        tallies = tallies_of(counts, ids, mode)
        if not tallies:
            found.append("not tried")
            continue
        rate = rate_range(tallies, num_attempts)
        span = f"{rate['low']:.0%}"
        if rate["high"] > rate["low"]:
            span += f" to {rate['high']:.0%}"
        found.append(f"{span} ({len(tallies)} samples)")
    return found[0], found[1]


def _cost(root: Path, counts: Counts) -> str:
    """Return what teachers behind servers cost per trajectory that is learned from."""
    path = root / _USAGE
    usage = json.loads(path.read_text(encoding="utf-8")).get("usage") if path.exists() else None
    if not usage:
        return "No server was paid for trajectories."
    rows = [
        (model, *(f"{one[key]:,}" for key in ("num_requests", "input_tokens", "output_tokens")),
         f"{one['usd']:.4f}")
        for model, one in sorted(usage.items())
    ]  # fmt: skip
    text = table(("teacher", "requests", "tokens sent", "tokens written", "USD"), rows)
    if not counts.num_kept:
        return text
    usd = sum(one["usd"] for one in usage.values()) / counts.num_kept
    tokens = sum(one["input_tokens"] + one["output_tokens"] for one in usage.values())
    per_row = f"{usd:.4f} USD and {tokens / counts.num_kept:,.0f} tokens"
    return f"{text}\n\nPer kept trajectory ({counts.num_kept}): {per_row}."


def _examples(images: Path, counts: Counts, folder: Path) -> Iterator[str]:
    store = ImageStore.open(images) if images.exists() else ImageStore({})
    for (source, family), row in sorted(counts.examples.items())[:_MAX_EXAMPLES]:
        yield f"**{_cell(source)}, {_cell(family)}**"
        for ref in row.images:
            if ref.sha256 in store:
                yield f"![{ref.sha256[:12]}]({_write_picture(store, ref, folder)})"
        yield table(("question", "answer"), [(_short(row.question), _short(row.answer))])


def _write_picture(store: ImageStore, ref: ImageRef, folder: Path) -> str:
    """Write a small copy of a picture, and return its path in the folder."""
    picture = store.get(ref)
    picture.thumbnail((_MAX_PX, _MAX_PX))
    (folder / _PICTURES).mkdir(parents=True, exist_ok=True)
    name = f"{_PICTURES}/{ref.sha256[:12]}.png"
    (folder / name).write_bytes(encode_png(picture))
    return name


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
    # Text of the samples is foreign: it must not become markup.
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " "), ("`", "'")):
        text = text.replace(sign, harmless)
    return text


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 3]}..."
