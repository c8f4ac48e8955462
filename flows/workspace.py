"""Who may write: one flow at a time in a workspace, one record at a time in a repository."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_FLOW_LOCK = ".scratch/flow.lock"
_RECORD_LOCK = ".scratch/record.lock"


@contextmanager
def claim_workspace(root: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the workspace for the block, as stages of two flows would write the same folders.

    Args:
        root: root of the project.
        say: takes the sentence that says who is waited for, where another flow holds it.
    """
    with _claim(root / _FLOW_LOCK, f"another flow is at work in {root}", say):
        yield


@contextmanager
def claim_records(root: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the right to record an experiment for the block.

    `dvc exp save` keeps what it is about in git references that all worktrees of a repository
    share, and does not lock them: of two at once, one fails or records the other's baseline.

    Args:
        root: root of the project, whose worktrees the experiments are.
        say: takes the sentence that says who is waited for.
    """
    with _claim(root / _RECORD_LOCK, f"another experiment of {root} is being recorded", say):
        yield


@contextmanager
def _claim(path: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock for the block, which the kernel gives free when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8").strip() or "one that has just started"
            say(f"{what} ({holder}); waiting until it ends")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
