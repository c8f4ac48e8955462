"""RL whose rollouts a server samples: weights go there, its log-probabilities are corrected for."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import TrainerCallback

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.colocated import ColocatedPolicy
from agentic_vlm.backends.fake_vllm import FakeVLLM
from agentic_vlm.backends.vllm_policy import VLLMPolicy
from agentic_vlm.backends.vllm_server import VLLMServer
from agentic_vlm.errors import BackendUnavailable, InfrastructureError, ParamsError
from agentic_vlm.params import AgentParams, Params, TrainRlParams
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.lora import lora_layers
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollout_policy import open_rollout_policy
from agentic_vlm.training.rollouts import RewardedEpisode
from agentic_vlm.training.weights import WeightPush, whole_state
from tests.unit.training.conftest import alone_logprobs, build_lively, lively_params, make_context
from tests.unit.training.test_rl import make_roller

_AGENT = AgentParams(max_turns=2, max_turn_tokens=16, max_infrastructure_retries=0)
_PARAMS = lively_params(num_steps=2)


class Served(NamedTuple):
    fake: FakeVLLM
    policy: VLLMPolicy


@contextmanager
def _serving(model: Any, processor: Any, loop: LoopThread) -> Iterator[Served]:
    """Serve a copy of the model: nothing but a push changes it."""
    fake = FakeVLLM(copy.deepcopy(model), processor)
    server = VLLMServer(loop.run(fake.start()), patience_s=0.2, first_pause_s=0.05)
    policy = VLLMPolicy(server, processor, policy_id="m")
    yield Served(fake, policy)
    loop.run(policy.close())
    loop.run(fake.stop())


class Run(NamedTuple):
    log: list[dict[str, float]]
    rollouts: list[RewardedEpisode]
    advantages: list[float | None]
    gradients: dict[str, torch.Tensor]
    """Of the first update."""


def train_with(
    model: Any,
    policy: VLLMPolicy | ColocatedPolicy,
    parts: tuple[Any, Renderer, LoopThread],
    scratch: Path,
    *,
    on_weights: Callable[[], None],
    on_sampled: Callable[[], None] = lambda: None,
    params: TrainRlParams = _PARAMS,
    held_out: Sequence[str] = (),
) -> Run:
    processor, renderer, loop = parts
    roller = make_roller(renderer, loop, params=params)
    roller.policy = policy
    roller.on_sampled = on_sampled
    roller.kit = replace(roller.kit, agent=_AGENT)
    run = Run([], [], [], {})

    def keep(
        step: int, rollouts: Sequence[RewardedEpisode], advantages: Sequence[float | None]
    ) -> None:
        if step == 0:
            run.rollouts.extend(rollouts)
            run.advantages.extend(advantages)

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, **options: Any) -> None:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    run.gradients.setdefault(name, parameter.grad.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl_module, "StepReporter", lambda on_step: Keep())
        log = train_rl(
            model,
            processor,
            roller,
            ["s1", "s2"],
            params,
            seed=0,
            scratch=scratch,
            on_weights=on_weights,
            on_rollouts=keep,
            on_step=lambda step: None,
            held_out=held_out,
        )
    run.log.extend(row for row in log if "mismatch" in row)
    return run


def test_each_step_is_sampled_from_the_weights_of_the_step(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    model = build_lively(processor)
    with _serving(model, processor, loop) as (_, policy):
        push = WeightPush(
            model, tmp_path / "weights", lambda path: loop.run(policy.load_weights(path))
        )
        run = train_with(
            model, policy, (processor, renderer, loop), tmp_path / "run", on_weights=push
        )
    assert [row["mismatch"] < 1e-4 for row in run.log] == [True, True]
    assert {"mismatch_turn_1", "mismatch_cut"} <= set(run.log[0])
    assert any(run.advantages)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["000002"]


def test_a_server_that_gets_no_weights_is_seen_in_the_mismatch(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    model = build_lively(processor)
    with _serving(model, processor, loop) as (_, policy):
        run = train_with(
            model, policy, (processor, renderer, loop), tmp_path / "run", on_weights=lambda: None
        )
    assert run.log[0]["mismatch"] < 1e-4
    assert run.log[1]["mismatch"] > 1e-2


def test_the_update_weighs_tokens_by_the_ratio_of_trainer_and_sampler_up_to_the_cap(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    """Sampled by a model with other weights: the gradient is that of the weighed policy loss."""
    params = _PARAMS.model_copy(update={"num_steps": 1, "max_sampler_ratio": 1.1})
    model, twin, other = build_lively(processor), build_lively(processor), build_lively(processor)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    with _serving(other, processor, loop) as (_, policy):
        run = train_with(
            model,
            policy,
            (processor, renderer, loop),
            tmp_path,
            on_weights=lambda: None,
            params=params,
        )
    loss, num_tokens, ratios = torch.zeros(()), 0, []
    for rollout, advantage in zip(run.rollouts, run.advantages, strict=True):
        context = rollout.episode.context
        assert context is not None
        if advantage:
            trained = torch.tensor(context.loss_mask)
            scores = alone_logprobs(twin, processor, context, has_gradient=True)[trained]
            ratio = (scores.detach() - torch.tensor(context.logprobs)[trained]).exp()
            loss = loss - advantage * (ratio.clamp(max=1.1) * scores).sum()
            num_tokens += len(scores)
            ratios.append(ratio)
    (loss / num_tokens).backward()
    found = torch.cat(ratios)
    assert (found > 1.1).any()
    assert (found < 0.95).any()
    norm = torch.stack([p.grad.norm() for p in twin.parameters()]).norm()
    clip = min(1.0, 1.0 / float(norm))
    for name, parameter in twin.named_parameters():
        expected = clip * parameter.grad
        scale = float(expected.abs().max())
        assert torch.allclose(run.gradients[name], expected, atol=1e-3 * scale + 1e-9), name


def test_a_server_that_dies_leaves_its_rollouts_out_and_stops_the_next_step(
    processor: Any, renderer: Renderer, loop: LoopThread, tmp_path: Path
) -> None:
    model = build_lively(processor)
    with _serving(model, processor, loop) as (fake, policy):
        push = WeightPush(
            model, tmp_path / "weights", lambda path: loop.run(policy.load_weights(path))
        )
        seen: list[RewardedEpisode] = []

        def die() -> None:
            push()
            if not seen:
                loop.run(fake.stop())

        run = _train_until_lost(
            model, policy, (processor, renderer, loop), tmp_path / "run", on_weights=die, seen=seen
        )
    assert isinstance(run, BackendUnavailable)
    assert len(seen) == 8
    assert all(rollout.reward is None for rollout in seen)


def _train_until_lost(
    model: Any,
    policy: VLLMPolicy,
    parts: tuple[Any, Renderer, LoopThread],
    scratch: Path,
    *,
    on_weights: Callable[[], None],
    seen: list[RewardedEpisode],
) -> BackendUnavailable | None:
    processor, renderer, loop = parts
    roller = make_roller(renderer, loop, params=_PARAMS)
    roller.policy = policy
    roller.kit = replace(roller.kit, agent=_AGENT)
    try:
        train_rl(
            model,
            processor,
            roller,
            ["s1", "s2"],
            _PARAMS,
            seed=0,
            scratch=scratch,
            on_weights=on_weights,
            on_rollouts=lambda step, rollouts, advantages: seen.extend(rollouts),
            on_step=lambda step: None,
        )
    except BackendUnavailable as fault:
        return fault
    return None


def test_merged_weights_of_lora_layers_are_pushed(processor: Any, renderer: Renderer) -> None:
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    model = build_lively(processor)
    context = make_context(renderer, seed=1, num_crops=1)
    with lora_layers(model, rank=2) as trained:
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        expected = alone_logprobs(trained, processor, context)
        plain = build_lively(processor)
        plain.load_state_dict(whole_state(trained))
    assert torch.allclose(alone_logprobs(plain, processor, context), expected, atol=1e-5)


def test_there_is_one_server_per_process(
    processor: Any, loop: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = Params.model_validate({"model": {"policy": "vllm"}})

    def build() -> object:
        options: dict[str, Any] = {"policy_id": "m", "scratch": tmp_path, "loop": loop}
        options["checkpoint"] = tmp_path
        return open_rollout_policy(params, None, processor, **options)[0]

    monkeypatch.delenv("AGENTIC_ROLLOUT_URLS", raising=False)
    with pytest.raises(InfrastructureError, match="without an address"):
        build()
    monkeypatch.setenv("AGENTIC_ROLLOUT_URLS", "http://a:1, http://b:1")
    with pytest.raises(ParamsError, match="2 servers for 1 processes"):
        build()
    monkeypatch.setenv("AGENTIC_ROLLOUT_URLS", "http://a:1")
    policy = build()
    assert isinstance(policy, VLLMPolicy)
    loop.run(policy.close())
