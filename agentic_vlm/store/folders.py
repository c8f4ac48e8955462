"""Folders that appear complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentic_vlm.errors import ArtifactMissing


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it takes the place of `folder`."""
    draft = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    retired = folder.with_name(f"{folder.name}.old-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if folder.exists():
            folder.rename(retired)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def list_parts(folder: Path) -> list[Path]:
    """Return the part files of a folder in order.

    Raises:
        ArtifactMissing: there is no such folder, or no part in it.
    """
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise ArtifactMissing(
            str(folder),
            "no part-*.parquet here",
            "run the stage that writes it; `python -m stages` says which one",
        )
    return parts
