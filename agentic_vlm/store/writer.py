"""Records on their way into a sorted folder: more of them than memory holds."""

import heapq
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Generic, Self, TypeVar

from agentic_vlm.schema import Record
from agentic_vlm.store.datasets import ROWS_PER_PART, iter_part, write_part
from agentic_vlm.store.folders import replacing_folder

R = TypeVar("R", bound=Record)

_ROWS_PER_RUN = 20_000


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
        path = self._spill / f"run-{len(self._runs):06d}.parquet"
        self._rows.sort(key=self._key)
        write_part(path, self._rows, self._type)
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
        runs: list[Iterable[R]] = [iter_part(path, self._type) for path in self._runs]
        merged = heapq.merge(*runs, self._rows, key=self._key)
        for _, same in itertools.groupby(merged, key=self._key):
            group = list(same)
            if len(group) > 1:
                group.sort(key=lambda row: row.model_dump_json())
            yield from group
