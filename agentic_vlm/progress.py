"""Progress of a long stage: a bar with time left on a terminal, plain lines elsewhere."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

# The flow turns each line into an update of its user interface, which stores all of them.
_SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """Counts finished steps out of `total` and shows them.

    On a terminal: a bar with elapsed and remaining time. Elsewhere, with AGENTIC_PROGRESS=lines:
    lines `PROGRESS 0.42` on standard output, at most one in two seconds and always the last.
    """

    def __init__(self, title: str, *, total: int) -> None:
        """Name what is counted; `total` steps are expected, 0 if there is nothing to do."""
        self.title = title
        self.total = total
        self.num_done = 0
        self._last_line_s = float("-inf")
        self._lines = not sys.stderr.isatty() and os.environ.get("AGENTIC_PROGRESS") == "lines"
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.add_task(self.title, total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """Count `steps` as finished."""
        self.num_done += steps
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], steps)
        if self._lines:
            self._write_line()

    def advance_to(self, step: int) -> None:
        """Count up to this step; for work that resumes in the middle."""
        self.advance(max(0, step - self.num_done))

    def track(self, things: Iterable[T]) -> Iterator[T]:
        """Yield each thing and count it once the caller asks for the next."""
        for thing in things:
            yield thing
            self.advance()

    def _write_line(self) -> None:
        now = time.monotonic()
        is_last = self.num_done >= self.total
        if is_last or now - self._last_line_s >= _SECONDS_BETWEEN_LINES:
            share = self.num_done / self.total if self.total else 1.0
            sys.stdout.write(f"PROGRESS {min(share, 1.0):.2f}\n")
            sys.stdout.flush()
            self._last_line_s = now
