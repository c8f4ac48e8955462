"""Two processes train as one does: the same gradients, however pictures and turns are spread."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, DistributedType
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import TrainRlParams, TrainSftParams
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training import sft as sft_module
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.sft import train_sft
from agentic_vlm.world.base_model import build_model
from tests.unit.training.conftest import make_context
from tests.unit.training.processes import run_ranks
from tests.unit.training.test_rl import make_roller

Gradients = dict[str, torch.Tensor]

_RL = TrainRlParams(num_steps=1, prompts_per_step=2, group_size=4, learning_rate=1e-3, save_every=1)


class _Keep(TrainerCallback):
    """Keeps the gradient that the optimiser gets, after it was averaged and clipped."""

    def __init__(self, model: Any, kept: Gradients) -> None:
        self._model, self._kept = model, kept

    def on_pre_optimizer_step(self, *args: Any, **options: Any) -> None:
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                self._kept[name] = _whole(parameter.grad)


def _whole(value: torch.Tensor) -> torch.Tensor:
    """Return a copy of a tensor; of all of it, where processes have shards."""
    full = getattr(value, "full_tensor", None)
    return value.clone() if full is None else full().clone()


def _equal(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    assert len(found) > 10
    for name, value in expected.items():
        scale = float(value.abs().max())
        assert torch.allclose(found[name], value, atol=1e-4 * scale + 1e-8, rtol=0.0), name


def _sft(processor: Any, renderer: Renderer, scratch: Path, *, freezes: bool) -> Gradients:
    """Train a step on three episodes with pictures and one without; return the gradient."""
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    contexts = [
        make_context(renderer, seed=1, num_crops=1),
        make_context(renderer, seed=4, num_crops=0, has_picture=False),
    ]
    params = TrainSftParams(
        learning_rate=1e-3, batch_size=2, num_steps=1, max_tokens=2000, freeze_vision=freezes
    )
    kept: Gradients = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft_module, "StepReporter", lambda on_step: _Keep(model, kept))
        train_sft(
            model,
            processor,
            contexts,
            params,
            seed=0,
            scratch=scratch,
            on_step=lambda step: None,
        )
    return kept


def _rl(
    processor: Any, renderer: Renderer, scratch: Path, *, params: TrainRlParams = _RL
) -> Gradients:
    """Train on a group with pictures and one without; return the gradient of the last step."""
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    kept: Gradients = {}
    loop = LoopThread()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl_module, "StepReporter", lambda on_step: _Keep(model, kept))
        train_rl(
            model,
            processor,
            make_roller(renderer, loop, params=params),
            ["s1", "s2"],
            params,
            seed=0,
            scratch=scratch,
            on_weights=lambda: None,
            on_rollouts=lambda step, rows, advantages: None,
            on_step=lambda step: None,
        )
    loop.close()
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("freezes", [True, False], ids=["frozen", "whole"])
def test_a_cold_start_on_two_processes_has_the_gradient_of_one(
    processor: Any, renderer: Renderer, tmp_path: Path, freezes: bool
) -> None:
    """One process has the pictures, the other has none and takes part with a blank one."""
    alone = _sft(processor, renderer, tmp_path / "one", freezes=freezes)
    shared = run_ranks(
        lambda rank: _sft(processor, renderer, tmp_path / "two", freezes=freezes),
        tmp_path / "group",
    )
    for gradients in shared:
        _equal(gradients, alone)


_FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen3VLTextDecoderLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
"""What `accelerate launch` makes of flows/launch/fsdp2.yaml, for Qwen3-VL."""


class _SharesOutOnCPU:
    """Lets accelerate choose FSDP2 without cards: it does on cards only, torch does on both."""

    def __init__(self) -> None:
        self._original = AcceleratorState.__init__

    def __call__(self, state: AcceleratorState, *args: Any, **options: Any) -> None:
        self._original(state, *args, **options)
        # Later states are made without the plugin and take the kind of processes over again.
        plugin = options.get("fsdp_plugin") or state.__dict__.get("fsdp_plugin")
        if plugin is not None and state.distributed_type is DistributedType.MULTI_CPU:
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, plugin


def _sharded_sft(
    processor: Any, renderer: Renderer, scratch: Path, *, freezes: bool
) -> tuple[Gradients, int]:
    """Train with shards; return the whole gradient and how many parameters were shared out."""
    shares_out = _SharesOutOnCPU()
    sharded: list[str] = []

    class Look(_Keep):
        def on_pre_optimizer_step(self, *args: Any, **options: Any) -> None:
            super().on_pre_optimizer_step(*args, **options)
            names = self._model.named_parameters()
            sharded.extend(name for name, one in names if isinstance(one, DTensor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AcceleratorState, "__init__", lambda *a, **o: shares_out(*a, **o))
        patch.setattr(sys.modules[__name__], "_Keep", Look)
        gradients = _sft(processor, renderer, scratch, freezes=freezes)
    return gradients, len(sharded)


@pytest.mark.slow
@pytest.mark.parametrize("freezes", [True, False], ids=["frozen", "whole"])
def test_a_cold_start_with_weights_shared_out_has_the_gradient_of_one_process(
    processor: Any, renderer: Renderer, tmp_path: Path, freezes: bool
) -> None:
    """FSDP2 over gloo; the tower takes part on both processes, pictures stand on one."""
    alone = _sft(processor, renderer, tmp_path / "one", freezes=freezes)
    shared = run_ranks(
        lambda rank: _sharded_sft(processor, renderer, tmp_path / "two", freezes=freezes),
        tmp_path / "group",
        environment=_FSDP2,
    )
    for gradients, num_sharded in shared:
        assert num_sharded > 10
        _equal(gradients, alone)


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [0, 1])
def test_reinforcement_learning_on_two_processes_has_the_gradient_of_one(
    processor: Any, renderer: Renderer, tmp_path: Path, staleness: int
) -> None:
    params = _RL.model_copy(update={"staleness": staleness, "num_steps": 1 + staleness})
    alone = _rl(processor, renderer, tmp_path / "one", params=params)
    shared = run_ranks(
        lambda rank: _rl(processor, renderer, tmp_path / "two", params=params), tmp_path / "group"
    )
    for gradients in shared:
        _equal(gradients, alone)


def test_a_blank_picture_gives_the_tower_a_gradient_of_zero_and_changes_no_score(
    family_model: Any, processor: Any, renderer: Renderer
) -> None:
    context = make_context(renderer, seed=4, num_crops=0, has_picture=False)
    add_policy_head(family_model)
    scores = []
    for needs_picture in (False, True):
        packer = Packer(
            family_model,
            processor,
            encoder=None,
            share_prompts=False,
            needs_picture=needs_picture,
        )
        out = family_model(**packer.pack([context]).inputs, fused_lm_head=True)
        scores.append(out.log_probs.detach())
    out.loss.backward()
    assert torch.equal(*scores)
    tower = [parameter.grad for parameter in family_model.model.visual.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in tower)
