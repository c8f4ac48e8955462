"""VLMEvalKit's TSV: base64 pictures, pictures of other rows, one column per option.

Cells are text as they stand: `None`, `NA` and `10` are answers like any other, and only an empty
cell is absent. Source: VLMEvalKit, `vlmeval/dataset/image_base.py`.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.plain import iter_table_lines, to_row
from agentic_vlm.formats.row import FaultKind, Line, RowFault

MAX_REFERENCE_CHARS = 64
"""A picture cell of at most this length is the index of the row whose picture is meant."""
_LIST_COLUMNS = ("image", "image_path", "answer", "choices", "options", "multi-choice options")
_OPTION_MARK = re.compile(r"^\s*\(?([A-Z])[).:]\s+")


def iter_vlmevalkit_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of a TSV file; the file is read again where rows share pictures.

    Raises:
        ArtifactMissing: there is no such file.
    """
    wanted = {
        cells["image"]
        for cells in iter_table_lines(path, delimiter="\t")
        if not isinstance(cells, RowFault) and _is_reference(cells.get("image"))
    }
    with TemporaryFile() as spool:
        shared = _spool_pictures(path, wanted, spool) if wanted else {}
        for number, cells in enumerate(iter_table_lines(path, delimiter="\t"), start=1):
            if isinstance(cells, RowFault):
                yield Line(number, cells)
                continue
            try:
                filled = _fill(cells, shared, spool)
            except RowFault as fault:
                yield Line(number, fault)
                continue
            yield Line(number, to_row(filled, columns))


def _is_reference(cell: object) -> bool:
    return isinstance(cell, str) and len(cell) <= MAX_REFERENCE_CHARS


def _spool_pictures(
    path: Path, wanted: set[object], spool: IO[bytes]
) -> dict[str, tuple[int, int]]:
    """Put the pictures that several rows share into a file, and return where they lie."""
    places: dict[str, tuple[int, int]] = {}
    for cells in iter_table_lines(path, delimiter="\t"):
        if isinstance(cells, RowFault):
            continue
        index, picture = cells.get("index"), cells.get("image")
        if index in wanted and isinstance(picture, str) and not _is_reference(picture):
            encoded = picture.encode()
            places[str(index)] = (spool.tell(), len(encoded))
            spool.write(encoded)
    return places


def _fill(
    cells: Mapping[str, object], shared: Mapping[str, tuple[int, int]], spool: IO[bytes]
) -> Mapping[str, object]:
    """Return the cells with lists parsed and the picture of another row in its place."""
    filled = {
        name: _parse_list(cell) if name in _LIST_COLUMNS else cell for name, cell in cells.items()
    }
    for column in ("choices", "options", "multi-choice options"):
        if isinstance(filled.get(column), list):
            filled[column] = _without_marks(filled[column])
    image = filled.get("image")
    if _is_reference(image):
        if image not in shared:
            what = f"names row {image!r}, which holds no picture"
            raise RowFault("image", what, FaultKind.PICTURE)
        offset, length = shared[str(image)]
        spool.seek(offset)
        filled["image"] = spool.read(length).decode()
    elif image is None and filled.get("image_path") is not None:
        filled["image"] = filled["image_path"]
    elif image is None and "image" in filled:
        raise RowFault("image", "empty", FaultKind.PICTURE)
    return filled


def _parse_list(cell: object) -> object:
    """Return the list of texts that a cell spells as a Python literal, else the cell itself."""
    if not isinstance(cell, str) or not (cell.startswith("[") and cell.endswith("]")):
        return cell
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
    is_texts = isinstance(found, list) and all(isinstance(entry, str) for entry in found)
    return found if is_texts else cell


def _without_marks(options: object) -> object:
    """Return options without `(A) ` in front, where all of them have their letter."""
    if not isinstance(options, list):
        return options
    marks = [_OPTION_MARK.match(option) for option in options]
    letters = [mark[1] if mark else "" for mark in marks]
    if letters != [chr(ord("A") + at) for at in range(len(options))]:
        return options
    return [option[mark.end() :] for option, mark in zip(options, marks, strict=True) if mark]
