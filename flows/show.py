"""What a person sees of a run in Prefect's user interface: progress, figures, samples, a summary.

Everything is an artifact with its pictures inside, as data URLs: the page needs no other server.
"""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.sorting import ArtifactCollectionSort

from agentic_vlm.analysis.scores import KINDS, Summary, interval, parse_summary, title_of
from agentic_vlm.errors import AgenticError
from flows import pictures, samples
from flows.dag import Node

_PROGRESS = re.compile(r"PROGRESS ([01]\.\d+)\s*$")
_PERCENT = 100.0
_MAX_CHARS = 300
# Bars of libraries draw themselves anew many times a second; the server would keep every one.
_BAR = re.compile(r"\d+%\||^\s*$")
# Rows of one metrics file; the summary of a run has hundreds, its page shows them as a table.
_MAX_ROWS = 120
# The most that a server gives at once; a run of all stages makes some forty.
_MAX_ARTIFACTS = 200


@contextlib.contextmanager
def showing_lines(name: str, desc: str) -> Iterator[Callable[[str], None]]:
    """Give a function that takes each line of a stage and shows it in the user interface.

    Lines about progress become one artifact, made with the first of them, so that short stages have
    none. All others go to the log of the run.

    Args:
        name: address of the stage.
        desc: what it does.
    """
    artifact: UUID | None = None
    logger = get_run_logger()

    def take(line: str) -> None:
        nonlocal artifact
        match = _PROGRESS.fullmatch(line)
        if match is None:
            if not _BAR.search(line):
                logger.info("%s", shorten(line))
            return
        percent = _PERCENT * float(match[1])
        if artifact is None:
            key = f"progress-{key_of(name)}"
            # Typed for both flavours of a function that may be awaited.
            artifact = cast(UUID, create_progress_artifact(percent, key=key, description=desc))
        else:
            update_progress_artifact(artifact, percent)

    yield take


def shorten(line: str) -> str:
    """Return a line of a log with at most some 300 characters; trainers print every figure at once.

    >>> shorten("x" * 310)[295:]
    'xxxxx ... and 10 more characters'
    """
    num_more = len(line) - _MAX_CHARS
    return line if num_more <= 0 else f"{line[:_MAX_CHARS]} ... and {num_more} more characters"


def show_stage(node: Node, root: Path) -> None:
    """Make the artifacts of a stage that has run: metrics, curves and figures, samples."""
    key = key_of(node.name)
    rows = metric_rows(node, root)
    if rows:
        create_table_artifact(key=f"metrics-{key}", table=rows, description=node.desc)
    try:
        for name, url in pictures.figures_of(node.outputs, root):
            create_image_artifact(url, key=f"figure-{key}-{key_of(name)}", description=name)
        text = samples.render_samples(node.outputs, root)
    except (AgenticError, OSError, ValueError):
        # The stage is done and its data is right: a picture of it may be missing.
        get_run_logger().exception("%s has run, but not all of it can be shown", node.name)
        return
    if text:
        create_markdown_artifact(text, key=f"samples-{key}", description=f"Samples: {node.desc}")


def find_pages() -> frozenset[str]:
    """Return the keys of the artifacts that the server has."""
    with get_client(sync_client=True) as client:
        found = client.read_latest_artifacts(
            limit=_MAX_ARTIFACTS, sort=ArtifactCollectionSort.KEY_ASC
        )
    return frozenset(page.key for page in found)


def is_shown(node: Node, pages: Collection[str]) -> bool:
    """Tell whether the server has the pages of a stage, from this run or an earlier one."""
    return f"metrics-{key_of(node.name)}" in pages


def show_summary(nodes: Sequence[Node], endings: Mapping[str, str], root: Path) -> None:
    """Make the artifact of the whole run: what became of each stage, scores, where to look."""
    text = render_summary(nodes, endings, root, pages=find_pages())
    create_markdown_artifact(text, key="summary", description="What this run did")


def render_summary(
    nodes: Sequence[Node], endings: Mapping[str, str], root: Path, *, pages: Collection[str]
) -> str:
    """Return the page about a whole run.

    Args:
        nodes: the stages of the run.
        endings: the name of the final state per stage.
        root: root of the project.
        pages: keys of the artifacts that the server has, from this run or an earlier one.
    """
    lines = []
    summary = _read_json(root / "metrics" / "summary.json")
    if summary:
        lines += [*_score_rows(parse_summary(summary)), ""]
    timings = _read_json(root / "metrics" / "timings.json") or {}
    lines += [
        "| stage | state | seconds of its last run here | look at | what it does |",
        "|---|---|---|---|---|",
    ]
    for node in nodes:
        seconds = timings.get(node.name.replace("@", "-"), {}).get("wall_s", "unknown")
        links = " ".join(_links(node, pages))
        lines.append(f"| {node.name} | {endings[node.name]} | {seconds} | {links} | {node.desc} |")
    lines.append("")
    # A page that came by http may not link to files; their places can be copied.
    for place, what in (
        ("data/reports/report.md", "tables and figures"),
        ("data/reports/examples.html", "trajectories, turn by turn"),
        ("logs", "the whole log of each stage"),
    ):
        if (root / place).exists():
            lines.append(f"- `{root / place}`: {what}")
    lines.append("- `python -m agentic_vlm.view`: every trajectory with its pictures, in a browser")
    lines.append("- `python -m agentic_vlm.store.query`: all of it in SQL")
    return "\n".join(lines)


def _score_rows(summary: Summary) -> Iterator[str]:
    """Yield the accuracy of each model, and how many answers have no verdict where some do."""
    yield f"| accuracy, % (95 % interval) | {' | '.join(f'{kind} questions' for kind in KINDS)} |"
    yield f"|---{'|---' * len(KINDS)}|"
    for name in summary.names():
        scores = summary.models[name]
        entries = [scores.kind(kind) for kind in KINDS]
        cells = ["-" if entry is None else interval(entry.accuracy) for entry in entries]
        num_ungraded = scores.all.accuracy.num_ungraded if scores.all else 0
        note = f" ({num_ungraded} without a verdict)" if num_ungraded else ""
        yield f"| {title_of(name)}{note} | {' | '.join(cells)} |"


def _links(node: Node, pages: Collection[str]) -> Iterator[str]:
    """Yield a link to each artifact of a stage, relative to the page of an artifact."""
    key = key_of(node.name)
    for kind in ("metrics", "samples"):
        if f"{kind}-{key}" in pages:
            yield f"[{kind}](../key/{kind}-{key})"
    for one in sorted(pages):
        if one.startswith(f"figure-{key}-"):
            yield f"[{one.removeprefix(f'figure-{key}-')}](../key/{one})"


def key_of(name: str) -> str:
    """Return a name in the signs that keys of artifacts may have.

    >>> key_of("evaluate@base")
    'evaluate-base'
    """
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def metric_rows(node: Node, root: Path) -> list[dict[str, str]]:
    """Return the figures of a stage by name; of a long file the first ones and how many more."""
    rows: list[dict[str, str]] = []
    for name in node.metrics:
        content = _read_json(root / name) or {}
        found = [{"figure": key, "value": value} for key, value in _flatten(content)]
        rows += found[:_MAX_ROWS]
        if len(found) > _MAX_ROWS:
            rows.append({"figure": f"{len(found) - _MAX_ROWS} more", "value": f"in {name}"})
    return rows


def _flatten(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each figure with its path; those of the whole before those of its parts."""
    for key, value in sorted(content.items(), key=lambda row: isinstance(row[1], Mapping)):
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value if isinstance(value, str) else json.dumps(value)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
