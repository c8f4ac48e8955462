"""An engine that writes a script as slowly as a card would, and tools that take a while."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from agentic_vlm.backends.base import FinishReason
from agentic_vlm.backends.generate import Continuation, Row
from agentic_vlm.backends.seal import Seal
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox, FakeSession

_CODE = "print(1)"
CALL = f"<code>\n```python\n{_CODE}\n```\n</code>"
"""A call in our protocol."""

Delay = Callable[[random.Random], float]
"""Draws the seconds of one tool call."""

DELAYS: dict[str, Delay] = {
    "0 s": lambda rng: 0.0,
    "0.05 s": lambda rng: 0.05,
    "0.2 s": lambda rng: 0.2,
    "heavy tail": lambda rng: min(0.05 * rng.paretovariate(1.2), 2.0),
}


@dataclass(slots=True)
class Engine:
    """Writes a script for batches of contexts, in the time that a card would take."""

    tokenizer: Any
    call: str
    num_calls: int
    base_s: float
    row_s: float
    busy_s: float = 0.0
    num_batches: int = 0
    _mark: int = field(init=False)

    def __post_init__(self) -> None:
        self._mark = self.tokenizer.convert_tokens_to_ids("<|im_start|>")

    def write(self, contexts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return the next turn of each context: calls first, then the answer."""
        seconds = self.base_s + self.row_s * len(contexts)
        self.busy_s += seconds
        self.num_batches += 1
        time.sleep(seconds)
        return [self._turn(ids) for ids in contexts]

    def _turn(self, ids: Sequence[int]) -> list[int]:
        # System, user and assistant open a context; each call adds an observation and a turn.
        turn = (list(ids).count(self._mark) - 3) // 2
        text = self.call if turn < self.num_calls else "<answer>1</answer>"
        lead = "So.</think>" if turn else "<think>So.</think>"
        ends = "" if turn < self.num_calls and self.call == CALL else "<|im_end|>"
        return list(self.tokenizer.encode(lead + text + ends, add_special_tokens=False))


class EngineSampler:
    """The engine in the place of the sampler of `InProcessPolicy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self, ids: Sequence[int], images: Sequence[Image.Image], seal: Seal | None) -> None:
        """Check ids as the sampler does."""
        if seal is not None:
            seal.check_ids(ids, hop="sampler")

    def continue_rows(self, rows: Sequence[Row]) -> list[Continuation]:
        """Return the script's next turns."""
        return [
            Continuation(ids, [0.0] * len(ids), FinishReason.STOP)
            for ids in self._engine.write([row.ids for row in rows])
        ]


class _SlowSession(FakeSession):
    """A session whose cells take a while, as those of a busy machine do."""

    def __init__(self, delay: Delay, *, seed: int) -> None:
        super().__init__({_CODE: CellResult(CellStatus.OK, stdout="1\n")}, (), seed=seed)
        self._delay, self._rng = delay, random.Random(seed)

    async def run_cell(self, code: str) -> CellResult:
        await asyncio.sleep(self._delay(self._rng))
        return await super().run_cell(code)


class SlowSandbox(FakeSandbox):
    """Gives such sessions."""

    def __init__(self, delay: Delay) -> None:
        super().__init__()
        self._delay = delay

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> FakeSession:
        """Open a session with the delay."""
        return _SlowSession(self._delay, seed=seed)
