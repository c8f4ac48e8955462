"""What an answer costs: turns, calls, tokens, and which calls were of use."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentic_vlm.schema import ObservationStatus, StopReason, ToolCall, Trajectory, Turn, Verdict


class Efficiency(NamedTuple):
    """Means per episode; absent where there are none. Outages of ours are left out."""

    n: int
    """Episodes."""
    turns: float | None
    calls: float | None
    tokens: float | None
    """Tokens that the policy wrote."""
    failed_share: float | None
    """Share of calls that failed by the model's making."""
    repeated_share: float | None
    """Share of calls that repeat an earlier one of the episode letter by letter."""
    empty_share: float | None
    """Share of calls that worked and gave nothing to read or to see."""
    used_share: float | None
    """Share of calls that worked, were new and gave something."""
    calls_per_right: float | None
    """Calls per right answer."""
    tokens_per_right: float | None
    """Tokens per right answer."""


def measure_efficiency(trajectories: Iterable[Trajectory]) -> Efficiency:
    """Return what graded episodes cost."""
    rows = [row for row in trajectories if row.stop_reason is not StopReason.INFRASTRUCTURE]
    if not rows:
        return Efficiency(0, *[None] * 9)
    fates = [fate for row in rows for fate in _fates(row.turns)]
    num_right = sum(row.verdict is Verdict.CORRECT for row in rows)
    num_tokens = sum(row.num_tokens for row in rows)

    def share(fate: str) -> float | None:
        return fates.count(fate) / len(fates) if fates else None

    return Efficiency(
        n=len(rows),
        turns=sum(len(row.turns) for row in rows) / len(rows),
        calls=len(fates) / len(rows),
        tokens=num_tokens / len(rows),
        failed_share=share("failed"),
        repeated_share=share("repeated"),
        empty_share=share("empty"),
        used_share=share("used"),
        calls_per_right=len(fates) / num_right if num_right else None,
        tokens_per_right=num_tokens / num_right if num_right else None,
    )


def _fates(turns: Sequence[Turn]) -> list[str]:
    """Return what became of each call: failed, repeated, empty or used."""
    seen: set[tuple[str, str, str]] = set()
    fates = []
    for turn in turns:
        call, found = turn.action, turn.observation
        if not isinstance(call, ToolCall):
            continue
        key = (call.tool, call.code.strip(), call.arguments_json.strip())
        if found is not None and found.status is not ObservationStatus.OK:
            fates.append("failed")
        elif key in seen:
            fates.append("repeated")
        elif found is None or not (found.images or found.text.strip(" \n().")):
            fates.append("empty")
        else:
            fates.append("used")
        seen.add(key)
    return fates
