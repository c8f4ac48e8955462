"""Rows of published files, one at a time: TSV as VLMEvalKit writes it, Parquet, JSON, JSON Lines.

No cell is ever guessed at: a TSV cell is text, and only an empty one is absent, so that the options
`None`, `NA` and `10` stay what they are.
"""

import ast
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.errors import ArtifactMissing, RecordError

SUFFIXES = (".tsv", ".parquet", ".jsonl", ".json")
"""Containers, in the order in which a folder is searched for them."""
_FIX = "compare the file with the published form of the benchmark: docs/evaluation.md names it"
_MAX_CELL_CHARS = 2**31 - 1
_ROWS_PER_BATCH = 8
# Longest text of a cell `image` that is the index of another row, as in VLMEvalKit.
MAX_INDEX_CHARS = 64


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands."""

    file: Path
    """The file it comes from."""
    number: int
    """Counted from 1; a header is no row."""
    cells: Mapping[str, Any]
    """Cells by column; absent and empty ones are left out."""
    find_image: Callable[[str], str | None] = field(default=lambda index: None)
    """TSV: gives the cell `image` of the row with that index."""

    def fault(self, column: str, what: str) -> RecordError:
        """Return the error that names this row and a column."""
        return RecordError(f"{self.file.name}, row {self.number}, field {column!r}", what, _FIX)

    def find(self, *columns: str) -> object | None:
        """Return the first of these cells that is there."""
        return next((self.cells[name] for name in columns if name in self.cells), None)

    def text(self, *columns: str) -> str:
        """Return a cell as text; further columns are other names for it.

        Raises:
            RecordError: the row has none of them.
        """
        found = self.maybe(*columns)
        if found is None:
            raise self.fault(columns[0], "missing or empty")
        return found

    def maybe(self, *columns: str) -> str | None:
        """Return a cell as text, or None where it is absent."""
        found = self.find(*columns)
        return None if found is None else str(found)

    def integer(self, column: str) -> int:
        """Return a cell as a whole number.

        Raises:
            RecordError: it is none.
        """
        try:
            return int(self.text(column))
        except ValueError as error:
            raise self.fault(column, f"{self.text(column)!r} is no whole number") from error

    def items(self, *columns: str) -> tuple[str, ...]:
        """Return a cell that holds a list, or the text of one; absent gives none.

        Raises:
            RecordError: the cell holds something else.
        """
        return tuple(str(item) for item in self._literal(columns, list) or ())

    def lists(self, *columns: str) -> list[Any]:
        """Return a cell that holds a list of anything, or the text of one; absent gives none.

        Raises:
            RecordError: the cell holds something else.
        """
        return list(self._literal(columns, list) or [])

    def fields(self, *columns: str) -> Mapping[str, Any]:
        """Return a cell that holds an object, or the text of one; absent gives an empty one.

        Raises:
            RecordError: the cell holds something else.
        """
        return dict(self._literal(columns, dict) or {})

    def _literal(self, columns: tuple[str, ...], kind: type) -> Any:
        found = self.find(*columns)
        if isinstance(found, str):
            try:
                found = read_literal(found)
            except ValueError as error:
                raise self.fault(columns[0], f"no {kind.__name__}: {error}") from error
        if isinstance(found, tuple) and kind is list:
            found = list(found)
        if found is not None and not isinstance(found, kind):
            raise self.fault(columns[0], f"a {type(found).__name__}, not a {kind.__name__}")
        return found


def read_literal(text: str) -> object:
    r"""Return the value of a Python or JSON literal; nothing is ever run.

    >>> read_literal("['it\\'s', 'None']"), read_literal('{"a": null}')
    (["it's", 'None'], {'a': None})

    Raises:
        ValueError: the text is neither.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as fault:
        raise ValueError(f"{text[:60]!r} is no literal ({type(fault).__name__})") from fault


def list_files(path: Path) -> list[Path]:
    """Return the files of a published form: the file itself, or those of one kind in a folder.

    Raises:
        ArtifactMissing: there is none.
    """
    if path.is_file():
        return [path]
    for suffix in SUFFIXES:
        if files := sorted(path.rglob(f"*{suffix}")):
            return files
    what = "holds no TSV, Parquet or JSON file" if path.is_dir() else "no such file or folder"
    raise ArtifactMissing(str(path), what, "download the benchmark and give its file or folder")


def iter_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, or of the files of a folder in the order of their names.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: a file is not what its name says.
    """
    for file in list_files(path):
        match file.suffix:
            case ".tsv":
                yield from _iter_tsv(file)
            case ".parquet":
                yield from _iter_parquet(file)
            case ".jsonl":
                yield from _iter_json_lines(file)
            case ".json":
                yield from _iter_json(file)
            case other:
                what = f"files that end in {other or 'nothing'} are not known here"
                raise RecordError(str(file), what, f"give one of {', '.join(SUFFIXES)}")


def _iter_tsv(file: Path) -> Iterator[Row]:
    images: dict[str, str] = {}

    def find_image(index: str) -> str | None:
        # Most files refer to no other row: only the first reference costs a second reading.
        if not images:
            images.update(_shared_images(file))
        return images.get(index)

    for number, cells in _iter_tsv_cells(file):
        yield Row(file, number, cells, find_image)


def _shared_images(file: Path) -> dict[str, str]:
    wanted = {
        cells["image"]
        for _, cells in _iter_tsv_cells(file)
        if len(cells.get("image", "")) <= MAX_INDEX_CHARS and cells.get("image")
    }
    return {
        cells["index"]: cells["image"]
        for _, cells in _iter_tsv_cells(file)
        if cells.get("index") in wanted and len(cells.get("image", "")) > MAX_INDEX_CHARS
    }


def _iter_tsv_cells(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    # One picture of 8,000 pixels is a cell of several million characters.
    csv.field_size_limit(_MAX_CELL_CHARS)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t")
        header = next(reader, None)
        if header is None:
            raise RecordError(str(file), "empty", _FIX)
        try:
            for number, cells in enumerate(reader, start=1):
                if len(cells) > len(header):
                    what = f"{len(cells)} cells under {len(header)} columns"
                    raise RecordError(f"{file.name}, row {number}", what, _FIX)
                pairs = zip(header, cells, strict=False)
                yield number, {name: cell for name, cell in pairs if cell != ""}
        except (csv.Error, UnicodeDecodeError) as fault:
            raise RecordError(f"{file.name}, line {reader.line_num}", str(fault), _FIX) from fault


def _iter_parquet(file: Path) -> Iterator[Row]:
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            # Few rows at a time: one of HRBench-8K holds a picture of several MB.
            for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(file, number, _present(cells))
    except pa.ArrowInvalid as fault:
        raise RecordError(str(file), f"no Parquet file: {fault}", _FIX) from fault


def _iter_json_lines(file: Path) -> Iterator[Row]:
    with file.open("rb") as stream:
        number = 0
        for line in stream:
            if line.strip():
                number += 1
                yield Row(file, number, _object(file, number, _load(file, number, line)))


def _iter_json(file: Path) -> Iterator[Row]:
    content = _load(file, 0, file.read_bytes())
    if isinstance(content, dict):
        # MathVista's own file is an object of rows by id.
        content = [row for row in content.values() if isinstance(row, dict)] or [content]
    if not isinstance(content, list):
        raise RecordError(str(file), "neither a list nor an object of rows", _FIX)
    for number, row in enumerate(content, start=1):
        yield Row(file, number, _object(file, number, row))


def _load(file: Path, number: int, text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        where = f"{file.name}, row {number}" if number else str(file)
        raise RecordError(where, f"no JSON: {fault}", _FIX) from fault


def _object(file: Path, number: int, row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise RecordError(f"{file.name}, row {number}", f"a {type(row).__name__}, no object", _FIX)
    return _present(row)


def _present(cells: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in cells.items() if cell is not None and cell != ""}
