"""Whose rollouts the controls imitate: those of the cold start, or those of each step's policy."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.fake_vllm import FakeVLLM
from agentic_vlm.params import AgentParams, Params, TrainRlParams
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollout_policy import open_rollout_policy
from agentic_vlm.training.rollouts import RewardedEpisode
from tests.unit.training.conftest import alone_logprobs, build_lively
from tests.unit.training.test_rl import make_roller

_AGENT = AgentParams(max_turns=2, max_turn_tokens=12, max_infrastructure_retries=0)
_STEPS = 2


def _rollouts(
    method: str,
    engine: str,
    place: tuple[Any, Renderer, LoopThread, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Any, Any, list[list[RewardedEpisode]]]:
    """Train for two steps, with weights that move on in between.

    Returns:
        the model as it was and as it sampled last, and the rollouts of both steps.
    """
    processor, renderer, loop, scratch = place
    model = build_lively(processor)
    start = copy.deepcopy(model)
    seen: list[list[RewardedEpisode]] = []
    raw = {"model": {"policy": engine}, "train_rl": {"method": method}}
    params = Params.model_validate(raw)
    fake = FakeVLLM(copy.deepcopy(model), processor)
    if engine == "vllm":
        monkeypatch.setenv("AGENTIC_ROLLOUT_URLS", loop.run(fake.start()))
    policy, on_weights, on_sampled = open_rollout_policy(
        params,
        model,
        processor,
        policy_id="m",
        checkpoint=scratch / "none",
        scratch=scratch,
        loop=loop,
    )

    def move() -> None:
        # An untrained policy is never right, so that no update would move it.
        if seen:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.05)
        on_weights()

    rl = TrainRlParams.model_validate(
        {"num_steps": _STEPS, "prompts_per_step": 2, "group_size": 2, "method": method}
    )
    roller = make_roller(renderer, loop, params=rl)
    roller.policy, roller.kit = policy, replace(roller.kit, agent=_AGENT)
    roller.on_sampled = on_sampled
    train_rl(
        model,
        processor,
        roller,
        ["s1", "s2"],
        rl,
        seed=0,
        scratch=scratch / "run",
        on_weights=move,
        on_rollouts=lambda step, rollouts, advantages: seen.append(list(rollouts)),
        on_step=lambda step: None,
    )
    loop.run(policy.close())
    if engine == "vllm":
        loop.run(fake.stop())
    return start, model, seen


def _are_written_by(model: Any, processor: Any, rollouts: list[RewardedEpisode]) -> bool:
    """Tell whether the log-probabilities of all that was sampled are those of a model."""
    close = []
    for rollout in rollouts:
        context = rollout.episode.context
        assert context is not None
        sampled = torch.tensor(context.logprobs)
        mask = torch.tensor(context.loss_mask)
        alone = alone_logprobs(model, processor, context)
        close.append(torch.allclose(alone[mask], sampled[mask], atol=1e-4))
    return all(close)


@pytest.mark.parametrize("engine", ["in_process", "vllm"])
@pytest.mark.parametrize("method", ["rejection", "online_rejection"])
def test_whose_rollouts_are_imitated(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    engine: str,
) -> None:
    place = (processor, renderer, loop, tmp_path)
    start, last, steps = _rollouts(method, engine, place, monkeypatch)
    is_fixed = method == "rejection"
    assert len(steps) == _STEPS
    assert _are_written_by(start, processor, steps[0])
    assert _are_written_by(start, processor, steps[1]) is is_fixed
    assert _are_written_by(last, processor, steps[1]) is not is_fixed
    assert {one.policy_version for one in steps[1]} == {0 if is_fixed else 1}
