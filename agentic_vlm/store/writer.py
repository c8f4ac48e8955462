"""Records on their way into a sorted folder: more of them than memory holds."""

import heapq
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Generic, Self, TypeVar

import pyarrow as pa

from agentic_vlm.schema import Record
from agentic_vlm.store.columns import arrow_schema, columns_of, decode_row, to_table
from agentic_vlm.store.datasets import ROWS_PER_PART, write_part
from agentic_vlm.store.folders import replacing_folder

R = TypeVar("R", bound=Record)

_ROWS_PER_RUN = 20_000
# All runs are open while they are merged, with so many rows of each in memory. Parquet would take a
# megabyte per run, hence more for more rows; a stream has no index and little to read ahead.
_ROWS_PER_BATCH = 64


class RecordWriter(Generic[R]):
    """Takes records in any order and, when closed, writes what `write_records` would write.

    Every 20,000 rows a sorted run goes to a temporary folder; closing merges the runs. Used as a
    context manager, it writes only if the block ends well.
    """

    def __init__(
        self,
        folder: Path,
        record_type: type[R],
        *,
        key: Callable[[R], tuple[object, ...]],
        rows_per_run: int = _ROWS_PER_RUN,
    ) -> None:
        """Name the folder to write; nothing is written yet.

        Args:
            folder: the folder of the records; replaced in one step when closed.
            record_type: type of the rows.
            key: what the rows are sorted by. Rows with equal keys are sorted by their content.
            rows_per_run: rows that are held in memory.
        """
        self.num_rows = 0
        self._folder = folder
        self._type = record_type
        self._key = key
        self._rows_per_run = rows_per_run
        self._rows: list[R] = []
        self._runs: list[Path] = []
        self._spill: Path | None = None

    def add(self, row: R) -> None:
        """Take a row."""
        self._rows.append(row)
        self.num_rows += 1
        if len(self._rows) == self._rows_per_run:
            self._write_run()

    def close(self) -> int:
        """Write the folder and return the number of rows.

        Raises:
            RecordError: a value does not fit its column.
        """
        try:
            with replacing_folder(self._folder) as draft:
                self._write(draft)
        finally:
            self.discard()
        return self.num_rows

    def discard(self) -> None:
        """Forget all rows."""
        if self._spill is not None:
            shutil.rmtree(self._spill, ignore_errors=True)
            self._spill = None
        self._rows, self._runs = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _write_run(self) -> None:
        if self._spill is None:
            self._spill = Path(mkdtemp(prefix="agentic-runs-"))
        path = self._spill / f"run-{len(self._runs):06d}.arrow"
        self._rows.sort(key=self._key)
        _write_stream(path, self._rows, self._type)
        self._runs.append(path)
        self._rows = []

    def _write(self, draft: Path) -> None:
        rows = self._iter_sorted()
        head = list(itertools.islice(rows, 1))
        for part in itertools.count():
            chunk = itertools.islice(itertools.chain(head, rows), ROWS_PER_PART)
            write_part(draft / f"part-{part:05d}.parquet", chunk, self._type)
            head = list(itertools.islice(rows, 1))
            if not head:
                return

    def _iter_sorted(self) -> Iterator[R]:
        self._rows.sort(key=self._key)
        runs: list[Iterable[R]] = [_iter_stream(path, self._type) for path in self._runs]
        merged = heapq.merge(*runs, self._rows, key=self._key)
        for _, same in itertools.groupby(merged, key=self._key):
            group = list(same)
            if len(group) > 1:
                group.sort(key=lambda row: row.model_dump_json())
            yield from group


def _write_stream(path: Path, rows: Sequence[R], record_type: type[R]) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(path), arrow_schema(record_type), options=options) as stream:
        for start in range(0, len(rows), _ROWS_PER_BATCH):
            chunk = rows[start : start + _ROWS_PER_BATCH]
            stream.write_table(to_table(chunk, record_type, where=str(path)))


def _iter_stream(path: Path, record_type: type[R]) -> Iterator[R]:
    columns = columns_of(record_type)
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            for row in batch.to_pylist():
                yield record_type.model_validate(decode_row(row, columns))
