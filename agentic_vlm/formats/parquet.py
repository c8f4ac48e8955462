"""Hugging Face `datasets`: Parquet files with image structs, or a folder of `save_to_disk`."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agentic_vlm.errors import ArtifactMissing, RecordError
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.plain import to_row
from agentic_vlm.formats.row import Line

# A row may hold a picture of 10 MB; 16 of them stay far below the memory of a laptop.
_ROWS_PER_BATCH = 16


def iter_cells(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a Parquet file, or of all files below a folder, in order of their names.

    Raises:
        ArtifactMissing: there is nothing of the kind.
        RecordError: a file is damaged.
    """
    for file in _files(path):
        try:
            yield from _iter_parquet(file) if file.suffix == ".parquet" else _iter_arrow(file)
        except (pa.ArrowException, OSError) as fault:
            first = str(fault).splitlines()[0]
            raise RecordError(str(file), first, "the file is damaged; get it again") from fault


def iter_parquet_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of the files; lists, structs and texts keep the type that the file gives."""
    for number, cells in enumerate(iter_cells(path), start=1):
        yield Line(number, to_row(cells, columns))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [file for kind in ("*.parquet", "*.arrow") for file in path.rglob(kind)]
    # Files that `datasets` left behind when it mapped over a set are no part of it.
    found = [file for file in found if not file.name.startswith("cache-")]
    if not found:
        what = "neither a Parquet file nor a folder with *.parquet or *.arrow"
        raise ArtifactMissing(str(path), what, "correct `path` of the source")
    return sorted(found)


def _iter_parquet(file: Path) -> Iterator[Mapping[str, object]]:
    with pq.ParquetFile(file, memory_map=True) as part:
        for batch in part.iter_batches(batch_size=_ROWS_PER_BATCH, use_threads=False):
            yield from batch.to_pylist()


def _iter_arrow(file: Path) -> Iterator[Mapping[str, object]]:
    with pa.memory_map(str(file)) as stream:
        for batch in pa.ipc.open_stream(stream):
            for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
                yield from batch.slice(start, _ROWS_PER_BATCH).to_pylist()
