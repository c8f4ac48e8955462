"""Two processes train as one does: the same gradients, however pictures and turns are spread."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import TrainRlParams, TrainSftParams
from agentic_vlm.training import rl as rl_module
from agentic_vlm.training import sft as sft_module
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollouts import LoopThread
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
                self._kept[name] = parameter.grad.clone()


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


def _rl(processor: Any, renderer: Renderer, scratch: Path) -> Gradients:
    """Train a step on a group with pictures and one without; return the gradient."""
    model = build_model(processor.tokenizer, seed=0, hidden=32, layers=2)
    kept: Gradients = {}
    loop = LoopThread()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl_module, "StepReporter", lambda on_step: _Keep(model, kept))
        train_rl(
            model,
            processor,
            make_roller(renderer, loop, params=_RL),
            ["s1", "s2"],
            _RL,
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


@pytest.mark.slow
def test_reinforcement_learning_on_two_processes_has_the_gradient_of_one(
    processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    alone = _rl(processor, renderer, tmp_path / "one")
    shared = run_ranks(lambda rank: _rl(processor, renderer, tmp_path / "two"), tmp_path / "group")
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
