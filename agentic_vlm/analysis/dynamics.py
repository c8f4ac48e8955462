"""How training went: averages per RL step, and what the base could do before."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_vlm.analysis.calls import CallKind, classify_call
from agentic_vlm.schema import Probe, Rollout, StopReason, ToolCall, Verdict


class StepFigures(NamedTuple):
    """Averages over the rollouts of one step; a figure is absent where no rollout has it."""

    step: int
    num_rollouts: int
    reward: float | None
    accuracy: float | None
    """Accuracy part of the reward, before weighting."""
    format: float | None
    """Format part of the reward, before weighting."""
    calls: float | None
    failed_calls: float | None
    tokens: float | None
    """Tokens that the policy sampled, per rollout."""
    surprisal: float | None
    """Mean of -log p of the sampled tokens, nats: at temperature 1 an unbiased sample of the
    policy's entropy."""
    left_out: float
    """Share without a reward: infrastructure failures and ungraded answers."""
    flat_groups: float | None
    """Share of groups whose rewards are all equal: nothing is learnt from them."""
    kinds: Mapping[CallKind, float]
    """Calls per rollout by what they are for; kinds that do not occur are absent."""


@dataclass(slots=True)
class _Sums:
    """Sum and count of each figure of a step, so that rollouts need not stay in memory."""

    totals: dict[str, list[float]] = field(default_factory=dict)
    kinds: Counter[CallKind] = field(default_factory=Counter)
    groups: dict[str, set[float]] = field(default_factory=dict)
    """Rewards that occur, by group."""
    num_rollouts: int = 0
    num_left_out: int = 0

    def add(self, rollout: Rollout) -> None:
        self.num_rollouts += 1
        self.num_left_out += rollout.reward is None
        episode = rollout.trajectory
        if episode.stop_reason is StopReason.INFRASTRUCTURE:
            return
        logprobs = [
            logprob
            for logprob, is_ours in zip(rollout.sampler_logprobs, rollout.loss_mask, strict=True)
            if is_ours and math.isfinite(logprob)
        ]
        if rollout.reward is not None:
            self.groups.setdefault(rollout.group_id, set()).add(rollout.reward)
        self._note("reward", rollout.reward)
        self._note("accuracy", rollout.reward_accuracy)
        self._note("format", rollout.reward_format)
        self._note("calls", episode.num_calls)
        self._note("failed_calls", episode.num_failed_calls)
        self._note("tokens", sum(rollout.loss_mask))
        self._note("surprisal", -sum(logprobs), count=len(logprobs))
        self.kinds.update(
            classify_call(turn.action, turn.observation)
            for turn in episode.turns
            if isinstance(turn.action, ToolCall)
        )

    @property
    def num_finished(self) -> int:
        """Rollouts that no outage ended."""
        return int(self.totals.get("calls", (0.0, 0))[1])

    @property
    def flat_groups(self) -> float | None:
        """Share of groups with rewards that are all equal."""
        flat = [len(rewards) == 1 for rewards in self.groups.values()]
        return sum(flat) / len(flat) if flat else None

    def mean(self, name: str) -> float | None:
        total, count = self.totals.get(name, (0.0, 0))
        return total / count if count else None

    def _note(self, name: str, value: float | None, *, count: int = 1) -> None:
        if value is not None:
            pair = self.totals.setdefault(name, [0.0, 0])
            pair[0] += value
            pair[1] += count


def rl_curves(rollouts: Iterable[Rollout]) -> list[StepFigures]:
    """Return the averages of each step, in order; rollouts are read once."""
    steps: dict[int, _Sums] = {}
    for rollout in rollouts:
        steps.setdefault(rollout.step, _Sums()).add(rollout)
    return [_figures(step, sums) for step, sums in sorted(steps.items())]


def _figures(step: int, sums: _Sums) -> StepFigures:
    return StepFigures(
        step=step,
        num_rollouts=sums.num_rollouts,
        reward=sums.mean("reward"),
        accuracy=sums.mean("accuracy"),
        format=sums.mean("format"),
        calls=sums.mean("calls"),
        failed_calls=sums.mean("failed_calls"),
        tokens=sums.mean("tokens"),
        surprisal=sums.mean("surprisal"),
        left_out=sums.num_left_out / sums.num_rollouts,
        flat_groups=sums.flat_groups,
        kinds={kind: sums.kinds[kind] / sums.num_finished for kind in sorted(sums.kinds)},
    )


class PassCounts(NamedTuple):
    """How many samples the base solved how often; early stopping leaves ranges."""

    num_attempts: int
    """k: attempts per sample, needed or not."""
    at_least: tuple[int, ...]
    """[k + 1] samples by the smallest number of right attempts that they can have."""
    at_most: tuple[int, ...]
    """[k + 1] samples by the largest number."""
    num_open: int
    """Samples whose two numbers differ."""


def pass_counts(probes: Iterable[Probe]) -> dict[str, PassCounts]:
    """Return the pass counts by mode. Attempts that were not needed or not graded stay open."""
    attempts: dict[tuple[str, str], list[Verdict | None]] = {}
    for probe in probes:
        verdicts = attempts.setdefault((probe.mode.value, probe.sample_id), [])
        verdicts.append(probe.verdict if probe.is_needed else None)
    counts = {}
    for mode in sorted({mode for mode, _ in attempts}):
        groups = [verdicts for (at, _), verdicts in attempts.items() if at == mode]
        counts[mode] = _count_passes(groups)
    return counts


def _count_passes(groups: list[list[Verdict | None]]) -> PassCounts:
    size = max(len(verdicts) for verdicts in groups)
    lows = [verdicts.count(Verdict.CORRECT) for verdicts in groups]
    highs = [len(verdicts) - verdicts.count(Verdict.INCORRECT) for verdicts in groups]
    return PassCounts(
        num_attempts=size,
        at_least=tuple(lows.count(count) for count in range(size + 1)),
        at_most=tuple(highs.count(count) for count in range(size + 1)),
        num_open=sum(low != high for low, high in zip(lows, highs, strict=True)),
    )
