"""A sandbox that answers from a table: for tests and dry runs. It runs nothing."""

from collections.abc import Mapping, Sequence

from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult, CellStatus


class FakeSession:
    """Answers each cell from the table, and remembers what it was asked."""

    def __init__(
        self, answers: Mapping[str, CellResult], images: Sequence[Image.Image], *, seed: int
    ) -> None:
        self.images = tuple(images)
        self.seed = seed
        self.codes: list[str] = []
        self.is_closed = False
        self._answers = answers

    async def run_cell(self, code: str) -> CellResult:
        """Return the table's answer, or a NameError result for code that it does not hold."""
        if self.is_closed:
            raise _closed()
        self.codes.append(code)
        unknown = CellResult(
            CellStatus.ERROR,
            stderr="NameError: the table of this fake sandbox does not hold this code",
            error_class="NameError",
        )
        return self._answers.get(code, unknown)

    async def close(self) -> None:
        """Refuse further cells."""
        self.is_closed = True


class FakeSandbox:
    """Opens sessions over one table from code to result."""

    def __init__(self, answers: Mapping[str, CellResult] | None = None) -> None:
        self.sessions: list[FakeSession] = []
        self._answers = {} if answers is None else dict(answers)
        self._is_closed = False

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> FakeSession:
        """Open a session; it can be inspected later in `sessions`."""
        if self._is_closed:
            raise _closed()
        session = FakeSession(self._answers, images, seed=seed)
        self.sessions.append(session)
        return session

    async def close(self) -> None:
        """Close every session."""
        self._is_closed = True
        for session in self.sessions:
            await session.close()


def _closed() -> SandboxUnavailable:
    return SandboxUnavailable("fake sandbox", "it is closed", "open it before use")
