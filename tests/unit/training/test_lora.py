"""LoRA trains the language model only, scores exactly and leaves a plain model behind."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.generate import Row, Sampler
from agentic_vlm.params import TrainSftParams
from agentic_vlm.training.lora import lora_layers
from agentic_vlm.training.packing import Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.sft import train_sft
from tests.unit.training.conftest import alone_logprobs, mixed_contexts

pytest.importorskip("peft", reason="the extra `lora` is not installed")


def test_a_policy_head_on_lora_layers_scores_as_single_passes_do(
    family_model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = mixed_contexts(renderer)
    names = set(family_model.state_dict())
    with lora_layers(family_model, rank=2) as trained:
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        theirs = [alone_logprobs(family_model, processor, one) for one in contexts]
        row = Packer(trained, processor, encoder=None, share_prompts=True).pack(contexts)
        add_policy_head(trained)
        out = trained(**row.inputs, fused_lm_head=True)
        sampler = Sampler(trained, processor, banned_ids=[processor.image_token_id])
        wanted = Row(contexts[0].ids, contexts[0].images, 1.0, 3, 0, frozenset(), ())
        before = sampler.continue_rows([wanted])
        assert not any(
            p.requires_grad for name, p in trained.named_parameters() if "visual" in name
        )
    expected = torch.stack(
        [theirs[owner][place] for owner, place in zip(row.owners, row.places, strict=True)]
    )
    assert torch.allclose(out.log_probs[0], expected, atol=1e-5)
    assert set(family_model.state_dict()) == names
    merged = Sampler(family_model, processor, banned_ids=[processor.image_token_id])
    assert [one.ids for one in merged.continue_rows([wanted])] == [one.ids for one in before]


def test_a_cold_start_with_lora_changes_the_merged_language_model_only(
    model: Any, processor: Any, renderer: Renderer, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    params = TrainSftParams(
        learning_rate=1e-2, batch_size=2, num_steps=3, lora_rank=2, max_tokens=2000, save_every=2
    )
    contexts = mixed_contexts(renderer)
    train_sft(
        model, processor, contexts, params, seed=0, scratch=tmp_path, on_step=lambda step: None
    )
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("language_model" in name and "_proj" in name for name in moved)
    assert set(after) == set(before)
