"""What every sandbox offers: stateful Python sessions that answer cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from PIL import Image


class CellStatus(StrEnum):
    """What became of a cell. Every member is of the model's making.

    A failure of ours is the exception `SandboxUnavailable`, never a status.
    """

    OK = "ok"
    ERROR = "error"
    """The code raised, or is no Python. Variables are kept."""
    TIMEOUT = "timeout"
    """The cell used up its time. Variables are kept unless `is_session_lost`."""
    CRASHED = "crashed"
    """The process died; the next cell runs in a fresh kernel."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a cell gave back. Everything but `status` and the times is the model's claim."""

    status: CellStatus
    stdout: str = ""
    """Standard output, cut in the middle with a visible mark where it was too long."""
    stderr: str = ""
    """Standard error, then the traceback with the model's own line numbers."""
    value: str = ""
    """`repr` of the last expression; empty where there is none, or where it is a picture."""
    error_class: str = ""
    """Class of the exception, such as ZeroDivisionError; empty where there is none."""
    images: tuple[Image.Image, ...] = ()
    """RGB pictures in the order in which they were shown."""
    num_dropped_chars: int = 0
    """Characters cut from stdout, stderr and value together."""
    num_dropped_images: int = 0
    """Pictures that were shown but not handed back."""
    wall_s: float = 0.0
    """Seconds between the run slot and the answer."""
    queued_s: float = 0.0
    """Seconds that the cell waited for a run slot."""
    cpu_s: float = 0.0
    """CPU seconds of the cell, as reported by the session; 0 where it died."""
    is_session_lost: bool = False
    """Whether the variables are gone."""


class Session(Protocol):
    """The Python of one episode. One cell at a time."""

    async def run_cell(self, code: str) -> CellResult:
        """Run code verbatim and return what it gave.

        Raises:
            SandboxUnavailable: the sandbox failed, not the code. Another try may succeed.
        """
        ...

    async def close(self) -> None:
        """End the session; afterwards none of its processes exists. Closing twice is fine."""
        ...


class Sandbox(Protocol):
    """Opens sessions that share nothing."""

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> Session:
        """Open a session with `image_1` to `image_n` preloaded at original resolution.

        Args:
            images: the episode's pictures; converted to RGB.
            seed: seeds `random` and numpy's global generator.

        Raises:
            SandboxUnavailable: no session could be opened.
        """
        ...

    async def close(self) -> None:
        """End all sessions."""
        ...
