"""Alarms of reinforcement learning: what went wrong in published runs, looked for at every step.

Source: pilots of DeepEyesV2 (arXiv 2511.05271, figure 4). Trained without cold start the policy
stops calling tools within twenty steps; with a bonus for calls it writes code blocks that hold
comments only. Runaway and mismatch are the usual ends of a wrong reward or a wrong engine.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_vlm.errors import AgenticError
from agentic_vlm.schema import Rollout, StopReason, ToolCall

WINDOW = 5
"""Steps at either end of the run whose means are compared."""
_COLLAPSED_SHARE = 0.2
"""Calls have collapsed below this share of their first level."""
_MIN_CALLS = 0.3
"""Calls per rollout at first below which there is nothing to collapse."""
_HACKED_SHARE = 0.3
"""Share of empty code blocks from which they are a habit."""
_MIN_BLOCKS = 20
_LONGER = 2.0
_CUT_SHARE = 0.3
_DRIFT = 0.05
MAX_MISMATCH = 0.02
"""Mean gap of log-probabilities between sampler and trainer, nats per token. Rounding gives 1e-5 in
float32 and below 0.01 in bfloat16."""


class TrainingAlarm(AgenticError):
    """The run goes where published runs went wrong; raised where params say stop."""


class Alarm(NamedTuple):
    """One alarm."""

    name: str
    step: int
    what: str
    """What was seen, with figures."""
    look_at: str
    """What to look at first."""

    def error(self) -> TrainingAlarm:
        """Return the alarm as an error."""
        return TrainingAlarm(f"train_rl, step {self.step}, {self.name}", self.what, self.look_at)


@dataclass(slots=True)
class _Step:
    calls: float
    tokens: float
    cut: float
    reward: float
    accuracy: float
    blocks: int
    empty_blocks: int


@dataclass(slots=True)
class Watch:
    """Looks at every step; each alarm is given once."""

    _steps: list[_Step] = field(default_factory=list)
    _given: set[str] = field(default_factory=set)

    def observe(self, step: int, rows: Sequence[Rollout], *, mismatch: float | None) -> list[Alarm]:
        """Return the alarms that this step sets off.

        Args:
            step: its number.
            rows: its rollouts; none changes nothing.
            mismatch: mean absolute gap of log-probabilities between sampler and trainer; absent
                where it was not measured.
        """
        found = [] if mismatch is None else _mismatch(step, mismatch)
        if rows:
            self._steps.append(_summary(rows))
            found += _hacking(step, self._steps[-WINDOW:])
        if len(self._steps) >= 2 * WINDOW:
            first, last = self._steps[:WINDOW], self._steps[-WINDOW:]
            found += _collapse(step, first, last) + _runaway(step, first, last)
        fresh = [alarm for alarm in found if alarm.name not in self._given]
        self._given.update(alarm.name for alarm in fresh)
        return fresh


def is_placeholder(code: str) -> bool:
    r"""Tell whether a code block does nothing: comments, constants, pass or plain prints.

    >>> is_placeholder("# look at the picture\npass"), is_placeholder("print('done')")
    (True, True)
    >>> is_placeholder("image_1.crop((0, 0, 9, 9))"), is_placeholder("print(3 * 4)")
    (False, False)
    """
    try:
        body = ast.parse(_unfenced(code)).body
    except (SyntaxError, ValueError):
        return False
    return all(_does_nothing(statement) for statement in body)


def _unfenced(code: str) -> str:
    lines = [line for line in code.strip().splitlines() if not line.startswith("```")]
    return "\n".join(lines)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    is_print = isinstance(value, ast.Call) and ast.unparse(value.func) == "print"
    shown = value.args if is_print and isinstance(value, ast.Call) else [value]
    return all(isinstance(one, ast.Constant) for one in shown)


def _summary(rows: Sequence[Rollout]) -> _Step:
    turns = [turn for row in rows for turn in row.trajectory.turns]
    calls = [turn.action for turn in turns if isinstance(turn.action, ToolCall)]
    codes = [call.code for call in calls if call.tool == "python"]
    return _Step(
        calls=_mean([float(row.trajectory.num_calls) for row in rows]),
        tokens=_mean([float(row.trajectory.num_tokens) for row in rows]),
        cut=_mean([float(row.trajectory.stop_reason is StopReason.LENGTH) for row in rows]),
        reward=_mean([row.reward for row in rows if row.reward is not None]),
        accuracy=_mean([row.reward_accuracy for row in rows if row.reward_accuracy is not None]),
        blocks=len(codes),
        empty_blocks=sum(is_placeholder(code) for code in codes),
    )


def _collapse(step: int, first: Sequence[_Step], last: Sequence[_Step]) -> list[Alarm]:
    before, after = _mean([one.calls for one in first]), _mean([one.calls for one in last])
    if before < _MIN_CALLS or after >= _COLLAPSED_SHARE * before:
        return []
    what = f"calls per rollout fell from {before:.2f} to {after:.2f}"
    fix = "look at rollouts with calls: do calls fail, or are easy samples all that is left? Begin "
    return [Alarm("interaction collapse", step, what, fix + "from a stronger cold start")]


def _hacking(step: int, last: Sequence[_Step]) -> list[Alarm]:
    blocks, empty = sum(one.blocks for one in last), sum(one.empty_blocks for one in last)
    if blocks < _MIN_BLOCKS or empty < _HACKED_SHARE * blocks:
        return []
    what = f"{empty} of {blocks} code blocks do nothing"
    fix = "look at the reward: does something pay for calls as such (train_rl.tool_bonus)?"
    return [Alarm("placeholder hacking", step, what, fix)]


def _runaway(step: int, first: Sequence[_Step], last: Sequence[_Step]) -> list[Alarm]:
    found = []
    tokens = _mean([one.tokens for one in first]), _mean([one.tokens for one in last])
    cut = _mean([one.cut for one in last])
    if tokens[1] > _LONGER * tokens[0] and cut > _CUT_SHARE:
        what = f"rollouts grew from {tokens[0]:.0f} to {tokens[1]:.0f} tokens; {cut:.0%} are cut"
        fix = "look at the longest rollouts; set train_rl.soft_limit_tokens"
        found.append(Alarm("length runaway", step, what, fix))
    reward = _mean([one.reward for one in last]) - _mean([one.reward for one in first])
    accuracy = _mean([one.accuracy for one in last]) - _mean([one.accuracy for one in first])
    if reward > _DRIFT and accuracy < -_DRIFT:
        what = f"the reward rose by {reward:.2f} while accuracy fell by {-accuracy:.2f}"
        fix = "look at which part of the reward grows; its weight is what the policy learns"
        found.append(Alarm("reward runaway", step, what, fix))
    return found


def _mismatch(step: int, mismatch: float) -> list[Alarm]:
    if mismatch <= MAX_MISMATCH:
        return []
    what = f"sampler and trainer differ by {mismatch:.4f} nats per token, above {MAX_MISMATCH}"
    fix = "compare weights, temperature, banned ids and pixel limits of the two engines"
    return [Alarm("mismatch", step, what, fix)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
