"""A fixed vision tower looks at each picture once; nothing else of a training changes by it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.backends.local import InProcessPolicy
from agentic_vlm.errors import ExactnessError
from agentic_vlm.params import AgentParams, TrainRlParams
from agentic_vlm.training import agent_grpo
from agentic_vlm.training.features import shared_encoder
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.resume import model_digest
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollouts import RewardedEpisode
from agentic_vlm.training.sft import freeze_vision
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import build_lively, lively_params, make_context
from tests.unit.training.test_rl import make_roller

_AGENT = AgentParams(max_turns=2, max_turn_tokens=12, max_infrastructure_retries=0)
_PARAMS = lively_params(num_steps=3, freeze_vision=True)


class Run(NamedTuple):
    digest: str
    log: list[dict[str, float]]
    tokens: list[list[int]]
    logprobs: list[list[float]]
    num_encoded: int
    """By the encoder of the sampler."""


def _train(
    parts: tuple[Any, Renderer, LoopThread],
    scratch: Path,
    *,
    forgets: bool = False,
    params: TrainRlParams = _PARAMS,
) -> Run:
    processor, renderer, loop = parts
    model = build_lively(processor)
    if params.kl:
        # Where TRL looks for the reference.
        model.save_pretrained(scratch / "start")
        model.config._name_or_path = str(scratch / "start")
    policy = InProcessPolicy(model, processor, policy_id="m")
    roller = make_roller(renderer, loop, params=params)
    roller.policy = policy
    roller.kit = replace(roller.kit, agent=_AGENT)
    run = Run("", [], [], [], 0)

    def keep(step: int, rollouts: Sequence[RewardedEpisode], advantages: Any) -> None:
        contexts = [rollout.episode.context for rollout in rollouts]
        run.tokens.extend(context.ids for context in contexts if context is not None)
        run.logprobs.extend(context.logprobs for context in contexts if context is not None)

    log = train_rl(
        model,
        processor,
        roller,
        ["s1", "s2"],
        params,
        seed=0,
        scratch=scratch,
        on_weights=policy.sampler.encoder.clear if forgets else policy.sampler.forget,
        on_rollouts=keep,
        on_step=lambda step: None,
    )
    loop.run(policy.close())
    volatile = ("runtime", "per_second", "step_time")
    rows = [{k: v for k, v in row.items() if not k.endswith(volatile)} for row in log]
    return run._replace(
        digest=model_digest(model), log=rows, num_encoded=policy.sampler.encoder.num_encoded
    )


@pytest.mark.parametrize("kl", [0.0, 0.02])
def test_a_run_that_keeps_features_is_the_run_that_encodes_anew(
    processor: Any,
    renderer: Renderer,
    loop: LoopThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kl: float,
) -> None:
    parts = processor, renderer, loop
    params = _PARAMS.model_copy(update={"kl": kl})
    kept = _train(parts, tmp_path / "kept", params=params)
    monkeypatch.setattr(agent_grpo, "shared_encoder", lambda *_: None)
    anew = _train(parts, tmp_path / "anew", params=params, forgets=True)
    assert kept[:-1] == anew[:-1]
    # After an update the policy is no longer the reference.
    assert (kept.log[1].get("kl", 0.0) > 0.0) is (kl > 0.0)
    # One picture is asked about; an untrained policy calls no tool that draws another one.
    assert kept.num_encoded == 1
    assert anew.num_encoded == _PARAMS.num_steps


def test_a_tower_that_is_trained_looks_anew_after_every_step(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    params = _PARAMS.model_copy(update={"freeze_vision": False})
    run = _train((processor, renderer, loop), tmp_path, params=params)
    assert run.num_encoded == params.num_steps


def test_low_rank_updates_of_the_language_model_leave_the_tower_alone(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    params = _PARAMS.model_copy(update={"freeze_vision": False, "lora_rank": 2})
    run = _train((processor, renderer, loop), tmp_path, params=params)
    assert run.num_encoded == 1


def test_a_reference_with_another_tower_sees_pixels(processor: Any) -> None:
    model, twin, other = (
        build_model(processor.tokenizer, seed=seed, hidden=32, layers=2) for seed in (0, 0, 1)
    )
    policy = InProcessPolicy(model, processor, policy_id="m")
    assert shared_encoder(model, None, processor, policy) is policy.sampler.encoder
    assert shared_encoder(model, twin, processor, policy) is policy.sampler.encoder
    assert shared_encoder(model, other, processor, policy) is None


def test_one_trained_parameter_of_the_tower_is_enough_to_give_the_model_pixels(
    model: Any, processor: Any, renderer: Renderer
) -> None:
    encoder = PictureEncoder(model, processor.image_processor, max_pictures=10)
    packer = Packer(model, processor, encoder=encoder, share_prompts=False)
    contexts = [make_context(renderer, seed=1, num_crops=1)]
    freeze_vision(model)
    assert "pixel_values" not in packer.pack(contexts).inputs
    (*_, last) = model.model.visual.parameters()
    last.requires_grad_(True)
    row = packer.pack(contexts).inputs
    add_policy_head(model)
    model(**row, fused_lm_head=True).loss.backward()
    assert last.grad.abs().sum() > 0


@pytest.mark.parametrize("spoil", ["pooled", "deep", "order", "grid"])
def test_features_spoiled_in_the_row_are_refused_by_the_model(
    model: Any, processor: Any, renderer: Renderer, spoil: str
) -> None:
    freeze_vision(model)
    encoder = PictureEncoder(model, processor.image_processor, max_pictures=10)
    packer = Packer(model, processor, encoder=encoder, share_prompts=False)
    row = packer.pack([make_context(renderer, seed=1, num_crops=2)]).inputs
    add_policy_head(model)
    model(**row, fused_lm_head=True)
    features = row["mm_encoder_outputs"]["image"]
    if spoil == "pooled":
        features.pooler_output = features.pooler_output[:-2] + features.pooler_output[:-3:-1]
    elif spoil == "deep":
        features["deepstack_features"][0][-1].mul_(2)
    elif spoil == "order":
        row["picture_index"] = row["picture_index"].flip(0)
    else:
        row["image_grid_thw"] = row["image_grid_thw"][:, [0, 2, 1]] + torch.tensor([0, 0, 2])
    with pytest.raises(ExactnessError, match="packed row"):
        model(**row, fused_lm_head=True)
