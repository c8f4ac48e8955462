"""Resumable work: finished rows of a long stage survive a crash.

A stage appends what it has finished under `.scratch/<stage>/<fingerprint>/` and compacts it into
its output at the end. Same inputs resume; changed inputs have another fingerprint.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from agentic_vlm.schema import Record
from agentic_vlm.store.datasets import iter_part, write_part

R = TypeVar("R", bound=Record)


def fingerprint(*inputs: str | BaseModel | Path) -> str:
    """Return 16 hex digits that change when an input does.

    Args:
        inputs: texts, params sections, and files or folders, whose content counts and whose
            place does not. Compiled Python files do not count.

    >>> fingerprint("probe", "8") == fingerprint("probe", "8")
    True
    """
    digest = hashlib.sha256()
    for given in inputs:
        if isinstance(given, Path):
            _digest_tree(given, digest)
        else:
            text = given if isinstance(given, str) else given.model_dump_json()
            digest.update(f"{len(text.encode())}:{text}".encode())
    return digest.hexdigest()[:16]


def _digest_tree(path: Path, digest: "hashlib._Hash") -> None:
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*"))
    for file in files:
        if not file.is_file() or "__pycache__" in file.parts:
            continue
        name = file.relative_to(path).as_posix()
        digest.update(f"{name}:{file.stat().st_size}:".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())


class Parts(Generic[R]):
    """Append-only rows in a folder. One process writes."""

    def __init__(self, folder: Path, record_type: type[R], *, row_id: Callable[[R], str]) -> None:
        """Open or create the folder; a part that a crash cut short is forgotten.

        Args:
            folder: usually `context.scratch / "parts"`.
            record_type: type of the rows.
            row_id: what tells rows apart when work resumes.
        """
        self.folder = folder
        self._record_type = record_type
        self._row_id = row_id
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.tmp"):
            torn.unlink()
        self._next = len(list(folder.glob("part-*.parquet")))

    def append(self, rows: Iterable[R]) -> None:
        """Add rows as one part; once this returns they survive a crash."""
        chunk = list(rows)
        if not chunk:
            return
        path = self.folder / f"part-{self._next:06d}.parquet"
        draft = path.with_suffix(".tmp")
        write_part(draft, chunk, self._record_type)
        os.replace(draft, path)
        self._next += 1

    def __iter__(self) -> Iterator[R]:
        """Yield all rows in the order in which they were appended."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            yield from iter_part(path, self._record_type)

    def finished_ids(self) -> set[str]:
        """Return the ids of all rows."""
        return {self._row_id(row) for row in self}
