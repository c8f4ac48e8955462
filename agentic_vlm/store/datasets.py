"""Typed Parquet folders: read with row-precise errors, written atomically and in fixed order."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from agentic_vlm.errors import RecordError
from agentic_vlm.schema import SCHEMA_VERSION, Record
from agentic_vlm.store.columns import (
    RECORD_KEY,
    VERSION_KEY,
    arrow_schema,
    columns_of,
    decode_row,
    to_table,
)
from agentic_vlm.store.folders import list_parts, replacing_folder

R = TypeVar("R", bound=Record)

ROWS_PER_PART = 50_000
"""Rows of one file of a folder."""
_ROWS_PER_GROUP = 1_000
_ROWS_PER_BATCH = 256


def write_records(
    folder: Path,
    records: Iterable[R],
    record_type: type[R],
    *,
    key: Callable[[R], tuple[object, ...]],
) -> int:
    """Write records as sorted `part-*.parquet` files and return how many there are.

    The same records give the same bytes, whatever their order. The folder, with all that was in
    it, is replaced in one step at the end.

    Args:
        folder: the folder of the records; usually named `records`, `rejections` or the like.
        records: the rows; an iterator is read once.
        record_type: their type.
        key: what the rows are sorted by. Rows with equal keys are sorted by their content.

    Raises:
        RecordError: a value does not fit its column.
    """
    rows = sorted(records, key=key)
    if any(key(left) == key(right) for left, right in itertools.pairwise(rows)):
        rows.sort(key=lambda row: (key(row), row.model_dump_json()))
    with replacing_folder(folder) as draft:
        for part, start in enumerate(range(0, max(len(rows), 1), ROWS_PER_PART)):
            chunk = rows[start : start + ROWS_PER_PART]
            write_part(draft / f"part-{part:05d}.parquet", chunk, record_type)
    return len(rows)


def write_part(path: Path, rows: Iterable[R], record_type: type[R]) -> None:
    """Write one Parquet file, row group by row group."""
    left = iter(rows)
    with pq.ParquetWriter(path, arrow_schema(record_type), compression="zstd") as writer:
        while chunk := list(itertools.islice(left, _ROWS_PER_GROUP)):
            writer.write_table(to_table(chunk, record_type, where=str(path)))


def read_records(folder: Path, record_type: type[R]) -> list[R]:
    """Read all records of a folder, in the order in which they are stored.

    Raises:
        ArtifactMissing: the folder is missing or empty.
        RecordError: a row is no valid record; names file, row (from 0) and field.
    """
    return list(iter_records(folder, record_type))


def iter_records(folder: Path, record_type: type[R]) -> Iterator[R]:
    """Yield the records of a folder one by one; errors as in `read_records`."""
    for path in list_parts(folder):
        yield from iter_part(path, record_type)


def iter_part(path: Path, record_type: type[R]) -> Iterator[R]:
    """Yield the records of one Parquet file; errors as in `read_records`."""
    columns = columns_of(record_type)
    row_number = 0
    with open_part(path) as part:
        check_tags(path, part.schema_arrow.metadata or {}, record_type)
        for batch in part.iter_batches(batch_size=_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                try:
                    yield record_type.model_validate(decode_row(row, columns))
                except (ValidationError, json.JSONDecodeError) as fault:
                    raise _row_error(path, row_number, fault, record_type) from fault
                row_number += 1


def open_part(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        RecordError: it is no Parquet file.
    """
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as fault:
        first = str(fault).splitlines()[0]
        fix = f"the file is damaged; rerun the stage that wrote {path.parent}"
        raise RecordError(str(path), first, fix) from fault


def check_tags(path: Path, tags: dict[bytes, bytes], record_type: type[Record]) -> None:
    """Demand that a file holds records of a type, in the present schema version.

    Raises:
        RecordError: it does not.
    """
    found = tags.get(RECORD_KEY, b"?").decode()
    version = tags.get(VERSION_KEY, b"?").decode()
    rerun = f"rerun the stage that wrote {path.parent}"
    if found != record_type.__name__:
        raise RecordError(str(path), f"holds {found}, not {record_type.__name__}", rerun)
    if version != str(SCHEMA_VERSION):
        raise RecordError(str(path), f"schema version {version}, not {SCHEMA_VERSION}", rerun)


def _row_error(
    path: Path,
    row_number: int,
    fault: ValidationError | json.JSONDecodeError,
    record_type: type[Record],
) -> RecordError:
    where = f"{path}, row {row_number}"
    what = str(fault)
    if isinstance(fault, ValidationError):
        first = fault.errors(include_url=False)[0]
        where += f", field {'.'.join(str(key) for key in first['loc'])!r}"
        what = first["msg"][:1].lower() + first["msg"][1:]
    fix = f"the row is no {record_type.__name__}; rerun the stage that wrote {path.parent}"
    return RecordError(where, what, fix)
