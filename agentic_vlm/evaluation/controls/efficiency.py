"""What an answer costs: turns, calls, tokens, and which calls were of use, with intervals."""

from collections.abc import Iterable, Sequence
from math import inf, isnan
from typing import NamedTuple

import numpy as np

from agentic_vlm.evaluation.figures import bootstrap, ratio
from agentic_vlm.schema import ObservationStatus, StopReason, ToolCall, Trajectory, Turn, Verdict

FATES = ("failed", "repeated", "empty", "used")
"""What becomes of a call: it failed by the model's making; it repeats an earlier one of the episode
letter by letter; it worked and gave nothing to read or to see; it worked, was new, gave something.
"""


class Measure(NamedTuple):
    """A mean or a share over episodes."""

    mean: float | None
    """Absent where nothing was there to divide by, as are the ends."""
    low: float | None
    """Lower end of the 95 % interval, from a bootstrap of whole episodes."""
    high: float | None
    """Upper end of it; infinite where a draw of the episodes may hold nothing to divide by."""
    n: int
    """Episodes, calls or right answers: what the total is divided by."""


def measure_efficiency(trajectories: Iterable[Trajectory]) -> dict[str, Measure]:
    """Return what graded episodes cost, by the name of the measure; outages are left out."""
    rows = [row for row in trajectories if row.stop_reason is not StopReason.INFRASTRUCTURE]
    fates = [_fates(row.turns) for row in rows]
    ones = [1.0] * len(rows)
    turns = [float(len(row.turns)) for row in rows]
    calls = [float(len(own)) for own in fates]
    tokens = [float(row.num_tokens) for row in rows]
    rights = [float(row.verdict is Verdict.CORRECT) for row in rows]
    shares = {
        f"{fate} calls, share": _over([float(own.count(fate)) for own in fates], calls)
        for fate in FATES
    }
    return {
        "turns per answer": _over(turns, ones),
        "calls per answer": _over(calls, ones),
        "tokens per answer": _over(tokens, ones),
        **shares,
        "calls per right answer": _over(calls, rights),
        "tokens per right answer": _over(tokens, rights),
    }


def _over(parts: Sequence[float], wholes: Sequence[float]) -> Measure:
    """Return the sum of the parts over that of the wholes; episodes are drawn together."""
    totals = np.array([parts, wholes]).T
    n = int(totals[:, 1].sum()) if len(totals) else 0
    if not n:
        return Measure(None, None, None, 0)
    with np.errstate(invalid="ignore"):
        ends = bootstrap(totals, ratio)
    # Where some draws hold nothing to divide by, the quantile of infinite values is not a number.
    low, high = (inf if end is None or isnan(end) else end for end in ends)
    return Measure(float(totals[:, 0].sum() / n), low, high, n)


def _fates(turns: Sequence[Turn]) -> list[str]:
    """Return what became of each call."""
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
