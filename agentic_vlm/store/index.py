"""Builds data/trajectories.duckdb from every Parquet folder under data/.

The file is an index for people: nothing depends on it, and it is rebuilt, never migrated.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pyarrow as pa

from agentic_vlm.errors import RecordError
from agentic_vlm.schema import SCHEMA_VERSION
from agentic_vlm.store.sources import register_sources

# Files of this version open in DuckDB 1.5 and 2.0; the default of 2.0 opens in 2.0 only.
_STORAGE_VERSION = "v1.5.0"
_HERE = Path(__file__).parent
VOLATILE_TABLES = ("runs", "timings", "call_timings")
"""Tables whose rows depend on clock and machine, never on params and inputs alone."""


def build_index(root: Path, out: Path) -> dict[str, int]:
    """Build the index of a project and return the number of rows per table.

    Folders that do not exist leave their tables empty. The file appears in one step at the end.

    Raises:
        RecordError: a part is damaged, of another schema version, or holds a key twice.
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


def open_live(root: Path) -> duckdb.DuckDBPyConnection:
    """Open the tables over what lies on disk now, parts of running stages included.

    They are views in memory: each question reads the files anew, and none can be changed.

    Raises:
        RecordError: a part is damaged or of another schema version.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(duckdb.connect(":memory:"))
        _add_sources(connection, root, is_live=True)
        for table in _tables():
            connection.execute(f"create view {table} as {_select(table)}")
        for statement in _statements():
            if statement.startswith("comment"):
                connection.execute(statement.replace("comment on table", "comment on view"))
        stack.pop_all()
    return connection


def _fill(draft: Path, root: Path) -> dict[str, int]:
    with duckdb.connect(":memory:") as connection:
        _add_sources(connection, root, is_live=False)
        name = str(draft).replace("'", "''")
        connection.execute(f"attach '{name}' as built (storage_version '{_STORAGE_VERSION}')")
        connection.execute("use built")
        for statement in _statements():
            connection.execute(statement)
        counts = {table: _insert(connection, table) for table in _tables()}
        connection.execute("use memory")
        connection.execute("detach built")
    return counts


def _add_sources(connection: duckdb.DuckDBPyConnection, root: Path, *, is_live: bool) -> None:
    connection.execute("set timezone = 'UTC'")
    register_sources(connection, root, is_live=is_live)
    connection.register(
        "source_version", pa.table({"version": pa.array([SCHEMA_VERSION], "int32")})
    )
    connection.execute((_HERE / "episodes.sql").read_text(encoding="utf-8"))


def _insert(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    try:
        found = connection.execute(f"insert into {table} by name {_select(table)}").fetchone()
    except duckdb.ConstraintException as fault:
        where = f"table {table}"
        fix = "two rows of the same key, or a field that is absent: rerun the stage that wrote them"
        raise RecordError(where, str(fault).splitlines()[0], fix) from fault
    return 0 if found is None else int(found[0])


def _tables() -> list[str]:
    """Return the names of the tables, in the order of tables.sql."""
    words = (statement.split() for statement in _statements())
    return [name for create, kind, name, *_ in words if (create, kind) == ("create", "table")]


def _select(table: str) -> str:
    return (_HERE / "rows" / f"{table}.sql").read_text(encoding="utf-8")


def _statements() -> Iterator[str]:
    text = (_HERE / "tables.sql").read_text(encoding="utf-8")
    for statement in duckdb.extract_statements(text):
        lines = (line for line in statement.query.strip().splitlines() if not line.startswith("--"))
        yield "\n".join(lines).strip()
