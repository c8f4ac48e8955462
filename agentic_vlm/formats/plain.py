"""JSON Lines or CSV with pictures beside them; Hugging Face's image folders are of this form."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.formats.cells import Columns, row_of_cells
from agentic_vlm.formats.row import Line, PublishedRow, RowFault

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line that is read: several large pictures in base64."""


def iter_json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, object] | RowFault]]:
    """Yield every line that is not empty as an object, with its number counted from 1.

    Raises:
        ArtifactMissing: there is no such file.
    """
    require_file(path)
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while rest := file.readline(MAX_LINE_BYTES):
                    if rest.endswith(b"\n"):
                        break
                yield number, RowFault("", f"the line exceeds {MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                yield number, _parse_line(line)


def _parse_line(line: bytes) -> Mapping[str, object] | RowFault:
    try:
        # A byte order mark at the start of a file is no part of the first object.
        content = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        return RowFault("", f"no JSON: {fault}")
    if not isinstance(content, dict):
        return RowFault("", f"a {type(content).__name__}, not an object")
    return content


def iter_table_lines(path: Path, *, delimiter: str) -> Iterator[dict[str, object] | RowFault]:
    """Yield the rows of a CSV or TSV file; every cell is text, and only an empty one is absent.

    Raises:
        ArtifactMissing: there is no such file.
    """
    require_file(path)
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader((line.replace("\0", "") for line in file), delimiter=delimiter)
        header = next(reader, [])
        try:
            for cells in reader:
                if cells:
                    yield _named_cells(header, cells)
        except csv.Error as fault:
            yield RowFault("", f"no table from line {reader.line_num} on: {fault}")


def _named_cells(header: list[str], cells: list[str]) -> dict[str, object] | RowFault:
    if len(cells) > len(header):
        return RowFault("", f"{len(cells)} cells under {len(header)} columns")
    padded = [cell if cell else None for cell in cells]
    padded += [None] * (len(header) - len(cells))
    return dict(zip(header, padded, strict=True))


def iter_jsonl_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of a JSON Lines file."""
    for number, content in iter_json_lines(path):
        yield Line(number, to_row(content, columns))


def iter_csv_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of a CSV file with a header; `.tsv` files are separated by tabs."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    for number, cells in enumerate(iter_table_lines(path, delimiter=delimiter), start=1):
        yield Line(number, to_row(cells, columns))


def to_row(cells: Mapping[str, object] | RowFault, columns: Columns) -> PublishedRow | RowFault:
    """Return the row, or what is wrong with it."""
    if isinstance(cells, RowFault):
        return cells
    try:
        return row_of_cells(cells, columns)
    except RowFault as fault:
        return fault


def require_file(path: Path) -> None:
    """Demand that a file exists.

    Raises:
        ArtifactMissing: it does not.
    """
    if not path.is_file():
        raise ArtifactMissing(str(path), "no such file", "correct `path` of the source")
