"""VerdictCache: verdicts by content, in Parquet, for any number of processes."""

import os
from pathlib import Path

from agentic_vlm.schema import Judgement, content_id
from agentic_vlm.store.datasets import iter_part, write_part

_ROWS_PER_PART = 64


class VerdictCache:
    """Known verdicts; new ones are written in parts, which are named by their content.

    So several processes may share the folder: none overwrites what another wrote, and a part that
    a crash cut short never has its final name.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read what is known; None keeps verdicts in memory only.

        Raises:
            RecordError: a part is damaged.
        """
        self._folder = folder
        self._known: dict[str, Judgement] = {}
        self._new: list[Judgement] = []
        if folder is not None:
            for path in sorted(folder.glob("part-*.parquet")):
                self._known.update((row.key, row) for row in iter_part(path, Judgement))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Judgement | None:
        """Return the verdict on a question, if it is known."""
        return self._known.get(key)

    def add(self, row: Judgement) -> None:
        """Remember a verdict; it is on disk after `flush`, or with the next full part."""
        self._known[row.key] = row
        self._new.append(row)
        if len(self._new) >= _ROWS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Write what is new."""
        if self._folder is None or not self._new:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = sorted(self._new, key=lambda row: row.key)
        name = content_id(*(row.model_dump_json() for row in rows))
        path = self._folder / f"part-{name}.parquet"
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        write_part(draft, rows, Judgement)
        os.replace(draft, path)
        self._new = []
