"""What servers bill, in tokens and money; it outlives a restart."""

import json
import math
import os
from pathlib import Path
from typing import NamedTuple, Self

from agentic_vlm.errors import InfrastructureError, ParamsError

MAX_USD = "AGENTIC_TEACHER_MAX_USD"
"""Variable that limits the money of a run, US dollars; unset for no limit."""
MAX_TOKENS = "AGENTIC_TEACHER_MAX_TOKENS"
"""Variable that limits the tokens of a run, sent and written; unset for no limit."""


class Usage(NamedTuple):
    """Tokens and money."""

    num_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


class Budget:
    """Adds up every answer that a server sent, tries that were repeated included.

    >>> budget = Budget(None, max_tokens=10)
    >>> budget.add("gpt", input_tokens=4, output_tokens=5)
    >>> budget.is_spent
    False
    """

    def __init__(
        self, path: Path | None, *, max_usd: float = math.inf, max_tokens: float = math.inf
    ) -> None:
        """Go on with the bill at `path`, if there is one; without a path it is kept in memory."""
        self._path = path
        self._max_usd = max_usd
        self._max_tokens = max_tokens
        self._prices: dict[str, tuple[float, float]] = {}
        self._counts: dict[str, tuple[int, int, int]] = {}
        for model, sent, written in _read(path):
            self._count(model, sent, written)

    @classmethod
    def from_environment(cls, path: Path) -> Self:
        """Return the budget with the limits of the environment.

        Raises:
            ParamsError: a limit is no positive number.
        """
        return cls(path, max_usd=_limit(MAX_USD), max_tokens=_limit(MAX_TOKENS))

    def set_price(
        self, model: str, *, usd_per_million_input: float, usd_per_million_output: float
    ) -> None:
        """Set what a million tokens of a model cost."""
        self._prices[model] = (usd_per_million_input, usd_per_million_output)

    def add(self, model: str, *, input_tokens: int, output_tokens: int) -> None:
        """Count one answer."""
        self._count(model, input_tokens, output_tokens)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([model, input_tokens, output_tokens]) + "\n")

    def usage(self) -> dict[str, Usage]:
        """Return tokens and money by model."""
        found = {}
        for model, (num_requests, sent, written) in sorted(self._counts.items()):
            per_input, per_output = self._prices.get(model, (0.0, 0.0))
            usd = (sent * per_input + written * per_output) / 1e6
            found[model] = Usage(num_requests, sent, written, usd)
        return found

    def _count(self, model: str, sent: int, written: int) -> None:
        old = self._counts.get(model, (0, 0, 0))
        self._counts[model] = (old[0] + 1, old[1] + sent, old[2] + written)

    @property
    def is_spent(self) -> bool:
        """Whether a limit is reached."""
        totals = self.usage().values()
        num_tokens = sum(one.input_tokens + one.output_tokens for one in totals)
        return sum(one.usd for one in totals) >= self._max_usd or num_tokens >= self._max_tokens

    def check(self) -> None:
        """Stop where a limit is reached.

        Raises:
            InfrastructureError: it is.
        """
        if self.is_spent:
            totals = self.usage().values()
            usd = sum(one.usd for one in totals)
            num_tokens = sum(one.input_tokens + one.output_tokens for one in totals)
            raise InfrastructureError(
                "synthesize",
                f"the budget is spent: {usd:.2f} USD, {num_tokens:,} tokens",
                f"raise {MAX_USD} or {MAX_TOKENS} and run the stage again: finished attempts stay",
            )


def _read(path: Path | None) -> list[tuple[str, int, int]]:
    if path is None or not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            model, sent, written = json.loads(line)
        except ValueError:
            # The last line of a run that was killed while it wrote.
            continue
        rows.append((str(model), int(sent), int(written)))
    return rows


def _limit(name: str) -> float:
    text = os.environ.get(name, "")
    if not text:
        return math.inf
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise ParamsError(name, f"{text!r} is no positive number", f"export {name}=20")
    return limit
