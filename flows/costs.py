"""What the experiments of a grid cost on this machine, and how much they may."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agentic_vlm.analysis.ledger import Cost, read_costs
from agentic_vlm.errors import ParamsError, RecordError
from agentic_vlm.runlog import write_json

MAX_SECONDS = "AGENTIC_FINDINGS_MAX_SECONDS"
"""Variable that limits the seconds of a call."""
MAX_USD = "AGENTIC_FINDINGS_MAX_USD"
"""Variable that limits the money of a call, US dollars."""
_FOLDER = ".scratch/findings/costs"
_BOOKED = TypeAdapter(dict[str, Cost])


@dataclass(slots=True)
class Budget:
    """Seconds and money of one call of the command; what is recorded already costs nothing.

    >>> budget = Budget(max_s=10.0)
    >>> budget.add(seconds=12.0, usd=0.5)
    >>> budget.excess()
    '12 of 10 seconds are spent'
    """

    max_s: float | None = None
    """Seconds on the clock; absent for no limit."""
    max_usd: float | None = None
    """What search, judge and teachers may charge; absent for no limit."""
    spent_s: float = 0.0
    spent_usd: float = 0.0
    num_left_out: int = 0
    """Experiments that were not begun for want of it."""

    def add(self, *, seconds: float, usd: float) -> None:
        """Book an experiment that has ended."""
        self.spent_s += seconds
        self.spent_usd += usd

    def excess(self) -> str:
        """Say which limit is reached; empty where none is."""
        if self.max_s is not None and self.spent_s >= self.max_s:
            return f"{self.spent_s:.0f} of {self.max_s:.0f} seconds are spent"
        if self.max_usd is not None and self.spent_usd >= self.max_usd:
            return f"{self.spent_usd:.4g} of {self.max_usd:.4g} US dollars are spent"
        return ""


def read_budget(*, max_seconds: str | None, max_usd: str | None) -> Budget:
    """Return the limits that the options name, or else the environment.

    Raises:
        ParamsError: a limit is no positive number.
    """
    return Budget(
        max_s=_limit("--max-seconds", max_seconds, MAX_SECONDS),
        max_usd=_limit("--max-usd", max_usd, MAX_USD),
    )


def _limit(option: str, value: str | None, variable: str) -> float | None:
    text = os.environ.get(variable, "") if value is None else value
    if not text and value is None:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        where = variable if value is None else option
        raise ParamsError(where, f"{text!r} is no positive number", "write a number such as 3600")
    return limit


class CostLog:
    """Books every run of a stage in the worktree to the experiment during which it ended.

    A stage that ran before a kill is booked when the experiment has been resumed and ends: a run
    that no experiment holds yet belongs to the one that has just ended.
    """

    def __init__(self, root: Path, worktree: Path, *, revision: str) -> None:
        """Open the log of a commit.

        Args:
            root: root of the project, whose scratch folder keeps the log.
            worktree: where the experiments run.
            revision: commit that they run.
        """
        self._log = root / _FOLDER
        self._folder = self._log / revision[:12]
        self._worktree = worktree

    def book(self, name: str) -> Cost:
        """Book what has run since the last call to an experiment; return what that cost.

        Raises:
            AgenticError: parts or logs of the worktree are damaged.
        """
        known = {run_id for path in self._log.glob("*/*.json") for run_id in _read(path)}
        new = {
            run: run_id
            for run, run_id in _read_run_ids(self._worktree / "metrics" / "timings.json").items()
            if run_id not in known
        }
        if not new:
            return Cost(name)
        costs = [cost for cost in read_costs(self._worktree) if cost.run in new]
        path = self._folder / f"{name}.json"
        booked = _read(path) | {new[cost.run]: cost for cost in costs}
        write_json(path, {run_id: asdict(cost) for run_id, cost in booked.items()})
        return Cost.total(name, costs)

    def read(self, name: str) -> list[Cost]:
        """Return the runs that are booked to an experiment, by name; none where DVC had all."""
        booked = _read(self._folder / f"{name}.json").values()
        return sorted(booked, key=lambda cost: cost.run)


def _read(path: Path) -> dict[str, Cost]:
    """Return the costs that are booked in a file, by the id of the run."""
    if not path.exists():
        return {}
    try:
        return _BOOKED.validate_json(path.read_bytes())
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        fix = "delete it: it holds seconds and costs, and no result"
        raise RecordError(str(path), first["msg"], fix) from fault


def _read_run_ids(path: Path) -> dict[str, str]:
    """Return the id of the latest run of each stage."""
    if not path.exists():
        return {}
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
        return {str(run): str(facts["run_id"]) for run, facts in runs.items()}
    except (ValueError, KeyError, TypeError) as fault:
        fix = "delete it; the next stage that runs writes it again"
        raise RecordError(str(path), f"not what a stage writes: {fault}", fix) from fault
