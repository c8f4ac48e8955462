"""Opening the index for questions: read-only, and shut off from everything else.

Questions are free text, so what they may do is bounded by the engine and not by a reading of the
text: the file is opened read-only, DuckDB has no access to files, extensions or the variables of
this process, and a question cannot change these settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from agentic_vlm.errors import ArtifactMissing, QueryError
from agentic_vlm.schema import SCHEMA_VERSION
from agentic_vlm.store.index import open_live

_REBUILD = "run `python -m stages.index`"


@contextmanager
def open_index(index: Path, *, allow_files: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an index for reading; any number of processes may.

    Args:
        index: the DuckDB file.
        allow_files: let questions read and write other files and load extensions.

    Raises:
        ArtifactMissing: there is no index.
        QueryError: it is no index of ours, of another schema version, or locked by a writer.
    """
    if not index.is_file():
        raise ArtifactMissing(str(index), "no index here", _REBUILD)
    connection = _connect(index)
    try:
        _check_version(connection, index)
        _confine(connection, allow_files=allow_files)
        yield connection
    finally:
        connection.close()


@contextmanager
def open_parts(root: Path, *, allow_files: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the tables over what lies under a root now, running stages included.

    Raises:
        ArtifactMissing: there is no project.
        RecordError: a part is damaged or of another schema version.
    """
    if not (root / "data").is_dir() and not (root / ".scratch").is_dir():
        what = "neither data/ nor .scratch/ is here"
        raise ArtifactMissing(str(root), what, "give the root of a project: --root FOLDER")
    connection = open_live(root)
    try:
        _confine(connection, allow_files=allow_files)
        yield connection
    finally:
        connection.close()


def _connect(index: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(index), read_only=True)
    except duckdb.Error as fault:
        text = str(fault)
        if "lock" in text.lower() or "different configuration" in text:
            holder = text.partition("held in ")[2].partition(". ")[0]
            what = f"a program has it open for writing{f': {holder}' if holder else ''}"
            fix = "close that program; the index is for reading: open it with read_only"
            raise QueryError(str(index), what, fix) from fault
        what = f"no index that can be read: {text.splitlines()[0]}"
        raise QueryError(str(index), what, f"{_REBUILD}; it writes the file anew") from fault


def _check_version(connection: duckdb.DuckDBPyConnection, index: Path) -> None:
    try:
        found = connection.execute("select version from schema_version").fetchone()
    except duckdb.Error as fault:
        what = "a DuckDB file, but no index of this project: it has no schema_version"
        raise QueryError(str(index), what, f"give another --index, or {_REBUILD}") from fault
    version = None if found is None else found[0]
    if version != SCHEMA_VERSION:
        what = f"schema version {version}, but this code reads {SCHEMA_VERSION}"
        raise QueryError(str(index), what, f"{_REBUILD}; it writes the file anew")


def _confine(connection: duckdb.DuckDBPyConnection, *, allow_files: bool) -> None:
    connection.execute("set python_enable_replacements = false")
    if not allow_files:
        connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
