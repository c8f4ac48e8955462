"""Figures of reinforcement learning: per step for the curves, per family and tool besides."""

from collections.abc import Sequence

from agentic_vlm.schema import Rollout, StopReason, ToolCall


def step_metrics(rows: Sequence[Rollout]) -> list[dict[str, float]]:
    """Return one mapping of means per step, for the curves."""
    steps: dict[int, list[Rollout]] = {}
    for row in rows:
        steps.setdefault(row.step, []).append(row)
    return [{"step": float(step), **_step_means(steps[step])} for step in sorted(steps)]


def _step_means(rows: Sequence[Rollout]) -> dict[str, float]:
    rewarded = [row for row in rows if row.reward is not None]
    groups: dict[str, set[float]] = {}
    for row in rewarded:
        groups.setdefault(row.group_id, set()).add(row.reward or 0.0)
    return {
        "reward": _mean([row.reward or 0.0 for row in rewarded]),
        "accuracy": _mean([row.reward_accuracy or 0.0 for row in rewarded]),
        "format": _mean([row.reward_format for row in rewarded]),
        "calls": _mean([float(row.trajectory.num_calls) for row in rows]),
        "failed_calls": _mean([float(row.trajectory.num_failed_calls) for row in rows]),
        "tokens": _mean([float(row.trajectory.num_tokens) for row in rows]),
        "flat_groups": _mean([float(len(values) == 1) for values in groups.values()]),
        "left_out": 1.0 - len(rewarded) / len(rows),
        "cut": _mean([float(row.trajectory.stop_reason is StopReason.LENGTH) for row in rows]),
        "no_advantage": _mean([float(not row.advantage) for row in rewarded]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def tool_metrics(rows: Sequence[Rollout]) -> dict[str, dict[str, float]]:
    """Return by tool: calls per rollout, and the shares that failed and that stood in right ones.

    Unknown names that the policy made up are counted together, as `unknown`.
    """
    found: dict[str, list[tuple[bool, bool]]] = {}
    for row in rows:
        for turn in row.trajectory.turns:
            if isinstance(turn.action, ToolCall):
                known = turn.action.tool in ("python", "search", "image_search", "visit")
                name = turn.action.tool if known else "unknown"
                has_failed = turn.observation is not None and turn.observation.status.value != "ok"
                found.setdefault(name, []).append((has_failed, bool(row.reward_accuracy)))
    return {
        name: {
            "calls": len(calls) / len(rows),
            "failed": _mean([float(failed) for failed, _ in calls]),
            "in_right_rollouts": _mean([float(right) for _, right in calls]),
        }
        for name, calls in sorted(found.items())
    }
