"""How much the episodes of each stage took: turns, tokens and calls.

These are functions of the rows; seconds and money belong to a machine and stand in the ledger.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from agentic_vlm.analysis.tables import table
from agentic_vlm.schema import Rollout, ScoredAnswer, ToolCall, Trajectory
from agentic_vlm.store import iter_records

_CODE = "python"
_FOLDERS = {"probe": "probes/trajectories", "synthesize": "trajectories/records"}


@dataclass(slots=True)
class Work:
    """Sums over the episodes of one run of a stage."""

    run: str
    """Stage, with the member of its matrix: evaluate-base."""
    num_episodes: int = 0
    num_turns: int = 0
    num_tokens: int = 0
    """Tokens that the policy wrote."""
    num_calls: int = 0
    num_searches: int = 0
    """Calls of any tool but code."""
    num_failed_calls: int = 0
    num_judged: int = 0
    """Episodes on whose answer a judge decided, its known verdicts included."""

    def add(self, episode: Trajectory, *, is_judged: bool = False) -> None:
        """Add an episode."""
        tools = [turn.action.tool for turn in episode.turns if isinstance(turn.action, ToolCall)]
        self.num_episodes += 1
        self.num_turns += len(episode.turns)
        self.num_tokens += episode.num_tokens
        self.num_calls += len(tools)
        self.num_searches += sum(tool != _CODE for tool in tools)
        self.num_failed_calls += episode.num_failed_calls
        self.num_judged += is_judged


def count_work(data: Path) -> list[Work]:
    """Return what the stages that were run did, in the order of the flow.

    Args:
        data: the folder `data` of a project.
    """
    found = []
    for run, place in _FOLDERS.items():
        if (data / place).exists():
            found.append(_sum(run, iter_records(data / place, Trajectory), frozenset()))
    if (data / "rollouts/records").exists():
        rollouts = iter_records(data / "rollouts/records", Rollout)
        found.append(_sum("train_rl", (row.trajectory for row in rollouts), frozenset()))
    for folder in sorted((data / "scores").glob("*/trajectories")):
        scores = iter_records(folder.parent / "scores", ScoredAnswer)
        judged = frozenset(row.trajectory_id for row in scores if row.rule == "judge")
        run = f"evaluate-{folder.parent.name}"
        found.append(_sum(run, iter_records(folder, Trajectory), judged))
    return found


def work_table(rows: Sequence[Work]) -> str:
    """Return the sums and the means per episode, as Markdown."""
    names = [field.name for field in fields(Work)]
    head = [name.removeprefix("num_").replace("_", " ") for name in names]
    cells = [[_cell(getattr(row, name)) for name in names] + list(_means(row)) for row in rows]
    means = ["turns each", "tokens each", "calls each"]
    return table([*head, *means], cells) if rows else "No stage with episodes was run."


def _means(row: Work) -> Iterator[str]:
    for total in (row.num_turns, row.num_tokens, row.num_calls):
        yield f"{total / row.num_episodes:.2f}" if row.num_episodes else "-"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sum(run: str, episodes: Iterable[Trajectory], judged: frozenset[str]) -> Work:
    total = Work(run)
    for episode in episodes:
        total.add(episode, is_judged=episode.trajectory_id in judged)
    return total
