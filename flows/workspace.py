"""One flow at a time in a workspace: stages of two flows would write the same folders."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_LOCK = ".scratch/flow.lock"


@contextmanager
def claim_workspace(root: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the workspace for the block; wait for whoever holds it, and say so.

    The kernel gives it free when the holder dies, however that happens.

    Args:
        root: root of the project.
        say: takes the sentence that says who is waited for.
    """
    path = root / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8").strip() or "one that has just started"
            say(f"another flow is at work in {root} ({holder}); waiting until it ends")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
