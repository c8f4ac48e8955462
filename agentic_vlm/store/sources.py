"""What an index is made from: Parquet parts, checkpoint cards, run logs and call latencies.

Every source becomes a relation that the selects in `rows/` read: `source_trajectory` holds all
Trajectory files, wherever they lie. Files are read by Arrow, so DuckDB itself needs no access to
the file system.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import ValidationError

from agentic_vlm.errors import RecordError
from agentic_vlm.schema import (
    CheckpointCard,
    CuratedSample,
    Probe,
    RawSample,
    Record,
    Rejection,
    Rollout,
    ScoredAnswer,
    Trajectory,
)
from agentic_vlm.store.columns import RECORD_KEY, arrow_schema, to_table
from agentic_vlm.store.datasets import check_tags, open_part
from agentic_vlm.store.images import IMAGE_SCHEMA
from agentic_vlm.store.latencies import LATENCY_SCHEMA, calls_folder, read_latencies

RECORD_TYPES: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (RawSample, CuratedSample, Probe, Trajectory, Rollout, ScoredAnswer, Rejection)
}
"""Record types that the index knows, by the name in the Parquet files."""

# A row may stand in several folders. The last one wins, and folders are read in this order, so
# that a sample or a trajectory shows the furthest place that it came to.
_FOLDER_ORDER = ("data/raw", "data/curated", "data/pools", "data/suites", "data/trajectories")
# Where a running stage puts its rows in the end; until then, what lies there is of an earlier run.
_OUTPUTS = {"probe": "data/probes", "synthesize": "data/trajectories", "train_rl": "data/rollouts"}
_IMAGE = IMAGE_SCHEMA.metadata[RECORD_KEY].decode()
_RUN_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("run_id", pa.string()),
        ("started_at", pa.string()),
        ("wall_s", pa.float64()),
        ("cpu_s", pa.float64()),
        ("gpu_s", pa.float64()),
        ("peak_memory_mb", pa.float64()),
        ("num_in", pa.int64()),
        ("num_out", pa.int64()),
        ("seed", pa.int64()),
        ("params_digest", pa.string()),
        ("git_revision", pa.string()),
        ("host", pa.string()),
    ]
)
_STEP_SCHEMA = pa.schema([("run", pa.string()), ("step", pa.string()), ("seconds", pa.float64())])


class PartFile(NamedTuple):
    """One Parquet file and what it holds."""

    path: Path
    """The file."""
    folder: str
    """Its folder, relative to the root."""
    record: str
    """Name of the record type."""


def find_parts(root: Path, *, is_live: bool = False) -> list[PartFile]:
    """Return the part files of a project whose record type the index knows.

    Args:
        root: root of the project.
        is_live: also those of running stages under `.scratch/`, which then stand for the output of
            the same stage.

    Raises:
        RecordError: a file is damaged, or of another schema version.
    """
    folders = list(_iter_scratch(root)) if is_live else []
    outdated = {_output_of(folder.relative_to(root).parts[1]) for folder in folders}
    found = []
    for path in [*_iter_files(root / "data"), *(p for f in folders for p in _iter_files(f))]:
        folder = path.parent.relative_to(root).as_posix()
        if any(folder == old or folder.startswith(f"{old}/") for old in outdated):
            continue
        name = _record_name(path)
        if name is not None:
            found.append(PartFile(path, folder, name))
    return found


def register_sources(
    connection: duckdb.DuckDBPyConnection, root: Path, *, is_live: bool = False
) -> None:
    """Create the relations `source_*` in a connection, empty ones where there is nothing.

    Raises:
        RecordError: a part, card or log is damaged, or of another schema version.
    """
    parts = find_parts(root, is_live=is_live)
    ranks = _ranks({part.folder for part in parts})
    for name in (*RECORD_TYPES, _IMAGE):
        schema = IMAGE_SCHEMA if name == _IMAGE else arrow_schema(RECORD_TYPES[name])
        files: dict[str, list[Path]] = {}
        for part in parts:
            if part.record == name:
                files.setdefault(part.folder, []).append(part.path)
        _register_parts(connection, name, schema, files, ranks)
    tables = {
        "source_checkpoint": _read_cards(root),
        "source_run": _read_runs(root),
        "source_step": _read_steps(root),
        "source_latency": _read_calls(root),
    }
    for name, table in tables.items():
        connection.register(name, table)


def _register_parts(
    connection: duckdb.DuckDBPyConnection,
    record: str,
    schema: pa.Schema,
    files: dict[str, list[Path]],
    ranks: dict[str, int],
) -> None:
    name = f"source_{_snake(record)}"
    connection.register(f"{name}_none", schema.empty_table())
    selects = [f"select *, '' as folder, -1 as rank from {name}_none"]
    for folder, paths in files.items():
        rank = ranks[folder]
        dataset = ds.dataset([str(path) for path in paths], schema=schema, format="parquet")
        connection.register(f"{name}_{rank}", dataset)
        literal = folder.replace("'", "''")
        selects.append(f"select *, '{literal}' as folder, {rank} as rank from {name}_{rank}")
    connection.execute(f"create temp view {name} as {' union all by name '.join(selects)}")


def _iter_scratch(root: Path) -> Iterator[Path]:
    """Yield the newest scratch folder of every run that has one."""
    for run in sorted((root / ".scratch").glob("*/")):
        attempts = [entry for entry in run.iterdir() if any(entry.rglob("part-*.parquet"))]
        if attempts:
            yield max(attempts, key=lambda entry: (entry.stat().st_mtime_ns, entry.name))


def _output_of(run: str) -> str:
    if run.startswith("evaluate-"):
        return f"data/scores/{run.removeprefix('evaluate-')}"
    return _OUTPUTS.get(run, f"data/{run}")


def _iter_files(folder: Path) -> Iterator[Path]:
    """Yield the parts of a folder in order, without the drafts of a stage that was killed."""
    for path in sorted(folder.rglob("part-*.parquet")):
        inside = path.relative_to(folder).parent.parts
        if not any(".tmp-" in part or ".old-" in part for part in inside):
            yield path


def _record_name(path: Path) -> str | None:
    with open_part(path) as part:
        tags = part.schema_arrow.metadata or {}
    name: str = tags.get(RECORD_KEY, b"").decode()
    if name == _IMAGE:
        return name
    if name not in RECORD_TYPES:
        return None
    check_tags(path, tags, RECORD_TYPES[name])
    return name


def _ranks(folders: set[str]) -> dict[str, int]:
    def key(folder: str) -> tuple[bool, int, str]:
        order = enumerate(_FOLDER_ORDER)
        place = next((rank for rank, top in order if folder.startswith(top)), len(_FOLDER_ORDER))
        return folder.startswith(".scratch"), place, folder

    return {folder: rank for rank, folder in enumerate(sorted(folders, key=key))}


def _read_cards(root: Path) -> pa.Table:
    cards, names = [], []
    for path in sorted((root / "models").glob("*/card.json")):
        try:
            cards.append(CheckpointCard.model_validate_json(path.read_bytes()))
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            where = f"{path}, field {'.'.join(str(key) for key in first['loc'])!r}"
            fix = f"rerun the stage that wrote {path.parent}"
            raise RecordError(where, first["msg"], fix) from fault
        names.append(path.parent.name)
    table = to_table(cards, CheckpointCard, where="models/*/card.json")
    return table.append_column("name", pa.array(names, type=pa.string()))


def _read_runs(root: Path) -> pa.Table:
    rows = [{"run": run, **facts} for run, facts in _timings(root).items()]
    return pa.Table.from_pylist(rows, schema=_RUN_SCHEMA)


def _read_steps(root: Path) -> pa.Table:
    rows = []
    for run, facts in _timings(root).items():
        steps = facts["steps"]
        if isinstance(steps, dict):
            seconds = {**steps, "total": facts["wall_s"]}
            rows += [{"run": run, "step": step, "seconds": s} for step, s in seconds.items()]
    return pa.Table.from_pylist(rows, schema=_STEP_SCHEMA)


def _timings(root: Path) -> dict[str, dict[str, object]]:
    path = root / "metrics" / "timings.json"
    if not path.exists():
        return {}
    try:
        runs: dict[str, dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        fix = "delete it; the next stage that runs writes it again"
        raise RecordError(str(path), f"no JSON: {fault}", fix) from fault
    return runs


def _read_calls(root: Path) -> pa.Table:
    files = sorted(calls_folder(root).glob("*.jsonl"))
    tables = [read_latencies(path) for path in files]
    return pa.concat_tables([LATENCY_SCHEMA.empty_table(), *tables])


def _snake(name: str) -> str:
    text = io.StringIO()
    for sign in name:
        text.write(f"_{sign.lower()}" if sign.isupper() else sign)
    return text.getvalue().lstrip("_")
