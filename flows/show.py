"""What a person sees of a run in Prefect's user interface: progress, figures, samples, a summary.

Everything is an artifact with its pictures inside, as data URLs: the page needs no other server.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from agentic_vlm.analysis.table import score_table
from flows import pictures, samples
from flows.dag import Node

_PROGRESS = re.compile(r"PROGRESS ([01]\.\d+)\s*$")
_PERCENT = 100.0


@contextlib.contextmanager
def progress_of(node: Node) -> Iterator[Callable[[str], bool]]:
    """Give a function that takes a line of a stage and tells whether it was about progress.

    The artifact is made with the first such line, so that short stages have none.
    """
    artifact: UUID | None = None

    def take(line: str) -> bool:
        nonlocal artifact
        match = _PROGRESS.fullmatch(line)
        if match is None:
            return False
        percent = _PERCENT * float(match[1])
        if artifact is None:
            # Typed for both flavours of a function that may be awaited.
            artifact = cast(
                UUID,
                create_progress_artifact(
                    percent, key=f"progress-{key_of(node.name)}", description=node.desc
                ),
            )
        else:
            update_progress_artifact(artifact, percent)
        return True

    yield take


def show_stage(node: Node, root: Path) -> None:
    """Make the artifacts of a stage that has run: metrics, curves and figures, samples."""
    key = key_of(node.name)
    rows = _metric_rows(node, root)
    if rows:
        create_table_artifact(key=f"metrics-{key}", table=rows, description=node.desc)
    try:
        for name, url in pictures.figures_of(node.outputs, root):
            create_image_artifact(url, key=f"figure-{key}-{key_of(name)}", description=name)
        text = samples.render_samples(node.outputs, root)
    except Exception:
        # The stage is done and its data is right: a picture of it may be missing.
        get_run_logger().exception("%s has run, but not all of it can be shown", node.name)
        return
    if text:
        create_markdown_artifact(text, key=f"samples-{key}", description=f"Samples: {node.desc}")


def show_summary(nodes: Sequence[Node], endings: Mapping[str, str], root: Path) -> None:
    """Make the artifact of the whole run: what became of each stage, scores, where to look."""
    timings = _read_json(root / "metrics" / "timings.json") or {}
    lines = ["| stage | state | seconds of its last run | what it does |", "|---|---|---|---|"]
    for node in nodes:
        seconds = timings.get(node.name.replace("@", "-"), {}).get("wall_s", "")
        lines.append(f"| {node.name} | {endings[node.name]} | {seconds} | {node.desc} |")
    summary = _read_json(root / "metrics" / "summary.json")
    if summary:
        lines += ["", "```", score_table(summary, None).strip("\n"), "```"]
    for place, what in (
        ("data/reports/report.md", "tables and figures"),
        ("data/reports/examples.html", "trajectories, turn by turn"),
        ("logs", "the whole log of each stage"),
    ):
        if (root / place).exists():
            lines.append(f"\n- [{place}]({(root / place).as_uri()}): {what}")
    lines.append("- in SQL: `python -m agentic_vlm.store.query`")
    create_markdown_artifact("\n".join(lines), key="summary", description="What this run did")


def key_of(name: str) -> str:
    """Return a name in the signs that keys of artifacts may have.

    >>> key_of("evaluate@base")
    'evaluate-base'
    """
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def _metric_rows(node: Node, root: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for name in node.metrics:
        content = _read_json(root / name) or {}
        rows += [{"figure": key, "value": value} for key, value in _flatten(content)]
    return rows


def _flatten(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value if isinstance(value, str) else json.dumps(value)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
