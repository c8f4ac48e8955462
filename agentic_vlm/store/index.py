"""Builds data/trajectories.duckdb from every Parquet folder under data/.

The file is an index for people: nothing depends on it, and it is rebuilt, never migrated.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.schema import SCHEMA_VERSION
from agentic_vlm.store.columns import RECORD_KEY
from agentic_vlm.store.datasets import iter_part, open_part
from agentic_vlm.store.flatten import RECORD_TYPES, Row, flatten
from agentic_vlm.store.images import IMAGE_SCHEMA

# Files of this version open in DuckDB 1.5 and 2.0; the default of 2.0 opens in 2.0 only.
_STORAGE_VERSION = "v1.5.0"
_ROWS_PER_INSERT = 5_000
_TABLES_SQL = Path(__file__).with_name("tables.sql")
# Rows of these tables may stand in several folders. The last one wins, and folders are read in
# the order below, so that a sample shows the furthest place that it came to.
_FOLDER_ORDER = ("data/raw", "data/curated", "data/pools", "data/suites", "data/trajectories")
_RUN_COLUMNS = (
    "run_id",
    "started_at",
    "wall_s",
    "cpu_s",
    "peak_memory_mb",
    "num_in",
    "num_out",
    "seed",
    "params_digest",
    "git_revision",
    "host",
)


def build_index(root: Path, out: Path) -> dict[str, int]:
    """Build the index of a project and return the number of rows per table.

    Folders that do not exist leave their tables empty.

    Raises:
        RecordError: a row of a Parquet file is no valid record.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        counts = _fill(draft, root)
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)
    return counts


def _fill(draft: Path, root: Path) -> dict[str, int]:
    with duckdb.connect(":memory:") as connection:
        name = str(draft).replace("'", "''")
        connection.execute(f"attach '{name}' as built (storage_version '{_STORAGE_VERSION}')")
        connection.execute("use built")
        connection.execute("set timezone = 'UTC'")
        connection.execute(_TABLES_SQL.read_text(encoding="utf-8"))
        loader = _Loader(connection)
        loader.add("schema_version", {"version": SCHEMA_VERSION})
        for path in _part_files(root):
            _load_part(loader, path, folder=path.parent.relative_to(root).as_posix())
        for table, row in _timing_rows(root):
            loader.add(table, row)
        loader.flush()
        counts = {table: loader.count(table) for table in loader.tables}
        connection.execute("use memory")
        connection.execute("detach built")
    return counts


class _Loader:
    """Collects rows per table and inserts them as Arrow tables, deduplicated by key."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        found = connection.execute(
            "select table_name, column_name, data_type from information_schema.columns "
            "where table_catalog = 'built' order by table_name, ordinal_position"
        ).fetchall()
        self._columns: dict[str, dict[str, str]] = {}
        for table, column, data_type in found:
            self._columns.setdefault(table, {})[column] = data_type
        keys = connection.execute(
            "select table_name, constraint_column_names from duckdb_constraints() "
            "where constraint_type = 'PRIMARY KEY' and database_name = 'built'"
        ).fetchall()
        self._keys: dict[str, list[str]] = dict(keys)
        self._waiting: dict[str, list[Row]] = {table: [] for table in self._columns}

    @property
    def tables(self) -> list[str]:
        return list(self._columns)

    def add(self, table: str, row: Row) -> None:
        self._waiting[table].append(row)
        if len(self._waiting[table]) >= _ROWS_PER_INSERT:
            self._insert(table)

    def flush(self) -> None:
        for table in self.tables:
            self._insert(table)

    def count(self, table: str) -> int:
        found = self._connection.execute(f"select count(*) from {table}").fetchone()
        return 0 if found is None else int(found[0])

    def _insert(self, table: str) -> None:
        rows = self._waiting[table]
        if not rows:
            return
        key = self._keys.get(table)
        if key is not None:
            rows = list({tuple(row[name] for name in key): row for row in rows}.values())
        columns = self._columns[table]
        # Made column by column: rows of one table differ in which keys they spell out.
        arrays = {
            name: pa.array([row.get(name) for row in rows], type=_ARROW[kind])
            for name, kind in columns.items()
        }
        self._connection.register("incoming", pa.table(arrays))
        verb = "insert" if key is None else "insert or replace"
        names = ", ".join(columns)
        self._connection.execute(f"{verb} into {table} ({names}) select {names} from incoming")
        self._connection.unregister("incoming")
        self._waiting[table].clear()


_ARROW = {
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "TIMESTAMP WITH TIME ZONE": pa.string(),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}


def _part_files(root: Path) -> list[Path]:
    paths = (root / "data").rglob("part-*.parquet")
    return sorted(paths, key=lambda path: (_folder_rank(path.relative_to(root)), path))


def _folder_rank(path: Path) -> int:
    ranks = enumerate(_FOLDER_ORDER)
    return next((rank for rank, folder in ranks if path.is_relative_to(folder)), len(_FOLDER_ORDER))


def _load_part(loader: _Loader, path: Path, *, folder: str) -> None:
    """Load a file by the record type that its metadata names; unknown types are left alone."""
    with open_part(path) as part:
        tags = part.schema_arrow.metadata or {}
        name = tags.get(RECORD_KEY, b"").decode()
    if name == IMAGE_SCHEMA.metadata[RECORD_KEY].decode():
        columns = [column for column in IMAGE_SCHEMA.names if column != "data"]
        for row in pq.read_table(path, columns=columns).to_pylist():
            loader.add("images", {**row, "folder": folder})
    elif name in RECORD_TYPES:
        for record in iter_part(path, RECORD_TYPES[name]):
            for table, row in flatten(record, folder=folder):
                loader.add(table, row)


def _timing_rows(root: Path) -> Iterator[tuple[str, Row]]:
    path = root / "metrics" / "timings.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for run, facts in runs.items():
        yield "runs", {"run": run, **{name: facts[name] for name in _RUN_COLUMNS}}
        for step, seconds in {**facts["steps"], "total": facts["wall_s"]}.items():
            yield "timings", {"run": run, "step": step, "seconds": seconds}
