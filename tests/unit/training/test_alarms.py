"""Alarms are given for what went wrong in published runs, once, and not for a healthy run."""

import pytest

from agentic_vlm.schema import (
    FinalAnswer,
    Observation,
    ObservationStatus,
    Rollout,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
)
from agentic_vlm.training.alarms import WINDOW, TrainingAlarm, Watch
from agentic_vlm.training.metrics import step_metrics, tool_metrics

_HEALTHY = "image_1.crop((0, 0, 9, 9))"


def rollout(
    step: int,
    *,
    codes: tuple[str, ...] = (_HEALTHY,),
    tokens: int = 50,
    stop: StopReason = StopReason.ANSWER,
    reward: float | None = 0.5,
    accuracy: float | None = 0.5,
) -> Rollout:
    seen = Observation(text="", images=(), status=ObservationStatus.OK)
    turns = [
        Turn(text="", action=ToolCall(tool="python", code=code), observation=seen, num_tokens=0)
        for code in codes
    ]
    turns.append(Turn(text="", action=FinalAnswer(text="1"), num_tokens=tokens))
    trajectory = Trajectory(
        trajectory_id=f"t{step}",
        sample_id="s",
        stage="train_rl",
        policy="p",
        mode="agent",
        protocol="deepeyesv2",
        attempt=0,
        seed=0,
        system="",
        prompt="?",
        images=(),
        turns=tuple(turns),
        stop_reason=stop,
        failure="",
        answer="1",
    )
    return Rollout(
        trajectory=trajectory,
        step=step,
        policy_version=step,
        group_id="g",
        prompt_ids=(1,),
        completion_ids=(2,),
        loss_mask=(True,),
        sampler_logprobs=(0.0,),
        reward_accuracy=accuracy,
        reward_format=1.0,
        reward=reward,
        advantage=None if reward is None else 0.0,
    )


def alarms_of(before: list[Rollout], after: list[Rollout]) -> list[str]:
    watch = Watch()
    steps = [before] * WINDOW + [after] * (2 * WINDOW)
    return [
        alarm.name
        for step, rows in enumerate(steps)
        for alarm in watch.observe(step, rows, mismatch=1e-6)
    ]


def test_a_healthy_run_gives_no_alarm() -> None:
    assert (
        alarms_of([rollout(0)] * 10, [rollout(1, tokens=60, reward=0.9, accuracy=0.9)] * 10) == []
    )


def test_calls_that_die_out_are_a_collapse_and_are_told_once() -> None:
    assert alarms_of([rollout(0)] * 10, [rollout(1, codes=())] * 10) == ["interaction collapse"]


def test_a_run_that_never_called_cannot_collapse() -> None:
    assert alarms_of([rollout(0, codes=())] * 10, [rollout(1, codes=())] * 10) == []


def test_code_of_comments_is_placeholder_hacking() -> None:
    empty = "```python\n# look closely at the picture\n```"
    assert alarms_of([rollout(0)] * 10, [rollout(1, codes=(empty,))] * 10) == [
        "placeholder hacking"
    ]


def test_rollouts_that_grow_until_they_are_cut_run_away() -> None:
    cut = rollout(1, tokens=150, stop=StopReason.LENGTH)
    assert alarms_of([rollout(0)] * 10, [cut] * 10) == ["length runaway"]


def test_a_reward_that_rises_while_accuracy_falls_runs_away() -> None:
    hacked = rollout(1, reward=0.8, accuracy=0.2)
    assert alarms_of([rollout(0)] * 10, [hacked] * 10) == ["reward runaway"]


def test_a_gap_between_sampler_and_trainer_is_an_alarm_at_once() -> None:
    (alarm,) = Watch().observe(3, [], mismatch=0.5)
    with pytest.raises(TrainingAlarm, match="step 3, mismatch: sampler and trainer differ by 0"):
        raise alarm.error()


def test_left_out_rollouts_count_as_left_out() -> None:
    (figures,) = step_metrics([rollout(0), rollout(0, reward=None, accuracy=None)])
    assert figures["left_out"] == 0.5
    assert figures["no_advantage"] == 1.0
    assert figures["reward"] == 0.5


def test_figures_of_tools() -> None:
    rows = [rollout(0, codes=(_HEALTHY, _HEALTHY)), rollout(0, codes=(), accuracy=0.0)]
    assert tool_metrics(rows) == {"python": {"calls": 1.0, "failed": 0.0, "in_right_rollouts": 1.0}}
