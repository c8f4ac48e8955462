"""Pictures of a row, in every form in which benchmarks publish them; the bytes stay as they are."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from agentic_vlm.errors import ImageError, RecordError
from agentic_vlm.evaluation.suites.rows import MAX_INDEX_CHARS, Row, read_literal
from agentic_vlm.formats.jsonl import read_picture

# Base64 text holds no full stop.
_IS_FILE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)


def read_pictures(row: Row, *columns: str) -> tuple[bytes, ...]:
    """Return the encoded pictures of the first of these cells that is there; none for a text row.

    A cell holds encoded bytes, a `{bytes, path}` of a Parquet file, base64 text, the index of
    another row of the same TSV, a path below the folder of the file, or a list of these.

    Raises:
        RecordError: a cell is none of them.
        ImageError: a path leaves the folder or cannot be read.
    """
    for column in columns:
        if column in row.cells:
            return tuple(_iter_pictures(row, column, row.cells[column]))
    return ()


def _iter_pictures(row: Row, column: str, cell: Any) -> Iterator[bytes]:
    match cell:
        case bytes():
            yield cell
        case {"bytes": bytes() as encoded}:
            yield encoded
        case {"path": str() as name}:
            yield read_picture(row.file.parent, name)
        case list():
            for part in cell:
                yield from _iter_pictures(row, column, part)
        case str() if cell.startswith("["):
            yield from _iter_pictures(row, column, _literal(row, column, cell))
        case str():
            yield _read_text(row, column, cell)
        case _:
            raise row.fault(column, f"a {type(cell).__name__} is no picture")


def _literal(row: Row, column: str, cell: str) -> list[Any]:
    try:
        found = read_literal(cell)
    except ValueError as fault:
        raise row.fault(column, str(fault)) from fault
    if not isinstance(found, list):
        raise row.fault(column, "no list of pictures")
    return found


def _read_text(row: Row, column: str, cell: str) -> bytes:
    if "path" in column or "file" in column or _IS_FILE.search(cell[-8:]):
        return read_picture(row.file.parent, cell)
    if len(cell) <= MAX_INDEX_CHARS:
        shared = row.find_image(cell)
        if shared is not None:
            return _decode(row, column, shared)
        try:
            return read_picture(row.file.parent, cell)
        except ImageError as fault:
            what = f"{cell!r} is neither the index of a row with a picture nor a file beside it"
            raise row.fault(column, what) from fault
    return _decode(row, column, cell)


def _decode(row: Row, column: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition("base64,")[2], validate=True)
    except (binascii.Error, ValueError) as fault:
        error: RecordError = row.fault(column, f"no base64 text: {fault}")
        raise error from fault
