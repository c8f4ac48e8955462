"""A packed row is the padded batch: same scores, same loss, every gradient, in both families."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.backends.segments import Segment, flash_bounds
from agentic_vlm.errors import ExactnessError
from agentic_vlm.params import VisionParams
from agentic_vlm.training.collate import IGNORED, ContextCollator
from agentic_vlm.training.lora import lora_layers
from agentic_vlm.training.packing import PackedRow, Packer
from agentic_vlm.training.policy_head import add_policy_head
from agentic_vlm.training.row_seal import seal_row
from agentic_vlm.training.sft import freeze_vision
from tests.unit.training.conftest import (
    alone_logprobs,
    build_family,
    make_context,
    mixed_contexts,
    picture,
    wide_contexts,
)


def group_contexts(renderer: Renderer) -> Sequence[TokenContext]:
    """Return two groups of rollouts, their members with 0 to 2 tool pictures, and a text one."""
    found = [
        make_context(renderer, seed=seed, num_crops=num_crops)
        for seed, num_crops in ((1, 2), (1, 0), (2, 1), (1, 1))
    ]
    silent = renderer.render_prompt("Be brief.", "<image>What is 2?", [picture(2)])
    return [*found, make_context(renderer, seed=4, num_crops=0, has_picture=False), silent]


def pack(
    model: Any, processor: Any, contexts: Sequence[TokenContext], *, shares: bool = False
) -> PackedRow:
    return Packer(model, processor, encoder=None, share_prompts=shares).pack(contexts)


@pytest.mark.parametrize("shares", [False, True])
def test_a_packed_row_gives_the_logprobs_of_trajectories_alone(
    family_model: Any, processor: Any, renderer: Renderer, shares: bool
) -> None:
    contexts = group_contexts(renderer)
    theirs = [alone_logprobs(family_model, processor, one) for one in contexts]
    row = pack(family_model, processor, contexts, shares=shares)
    add_policy_head(family_model)
    with torch.no_grad():
        out = family_model(**row.inputs, fused_lm_head=True)
    assert row.owners.tolist() == [
        owner for owner, one in enumerate(contexts) for trained in one.loss_mask if trained
    ]
    expected = torch.stack(
        [theirs[owner][place] for owner, place in zip(row.owners, row.places, strict=True)]
    )
    assert torch.allclose(out.log_probs[0], expected, atol=1e-5)


@pytest.mark.parametrize("rank", [None, 2], ids=["whole", "lora"])
def test_0_to_4_pictures_and_0_to_5_turns_score_as_single_passes_do(
    family_model: Any, processor: Any, renderer: Renderer, rank: int | None
) -> None:
    """Text-only and cut episodes among them, in one row, with shared prompts and each alone."""
    if rank is not None:
        pytest.importorskip("peft", reason="the extra `lora` is not installed")
    contexts = wide_contexts(renderer)
    assert {len(one.images) for one in contexts} == {0, 1, 2, 3, 4}
    assert {len(one.turn_spans) for one in contexts} == {0, 1, 2, 3, 4, 5}
    with lora_layers(family_model, rank=rank) as trained:
        with torch.no_grad():
            for name, parameter in trained.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        theirs = [alone_logprobs(trained, processor, one) for one in contexts]
        add_policy_head(trained)
        for rows in ([contexts], [[one] for one in contexts if one.turn_spans]):
            for some in rows:
                row = pack(family_model, processor, some, shares=len(rows) == 1)
                with torch.no_grad():
                    out = trained(**row.inputs, fused_lm_head=True)
                pairs = zip(row.owners.tolist(), row.places.tolist(), strict=True)
                scored = [(contexts.index(some[owner]), place) for owner, place in pairs]
                assert len(scored) == sum(sum(one.loss_mask) for one in some)
                expected = torch.stack([theirs[number][place] for number, place in scored])
                assert torch.allclose(out.log_probs[0], expected, atol=1e-4)


@pytest.mark.parametrize("shares", [False, True])
def test_loss_and_every_gradient_are_those_of_the_padded_batch(
    family_model: Any, processor: Any, renderer: Renderer, shares: bool
) -> None:
    contexts = [one for one in group_contexts(renderer) if any(one.loss_mask)]
    batch = ContextCollator(contexts, processor, encoder=None)(
        [{"context": at} for at in range(len(contexts))]
    )
    labels = batch.pop("labels")
    logits = family_model(**batch).logits[:, :-1]
    expected = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in family_model.named_parameters()}
    family_model.zero_grad()

    row = pack(family_model, processor, contexts, shares=shares)
    add_policy_head(family_model)
    loss = -family_model(**row.inputs, fused_lm_head=True).log_probs.mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in family_model.named_parameters():
        scale = gradients[name].abs().max()
        assert scale > 0, name
        assert torch.allclose(parameter.grad, gradients[name], atol=2e-4 * float(scale)), name


def test_features_of_a_frozen_tower_give_the_same_scores_as_pixels(
    family_model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = mixed_contexts(renderer)
    freeze_vision(family_model)
    encoder = PictureEncoder(family_model, processor.image_processor, max_pictures=10)
    by_features = Packer(family_model, processor, encoder=encoder, share_prompts=False)
    rows = [pack(family_model, processor, contexts), by_features.pack(contexts)]
    add_policy_head(family_model)
    with torch.no_grad():
        first, second = (family_model(**row.inputs, fused_lm_head=True) for row in rows)
    assert "pixel_values" not in rows[1].inputs
    assert torch.allclose(first.log_probs, second.log_probs, atol=1e-5)


def test_no_trajectory_sees_another_one(model: Any, processor: Any, renderer: Renderer) -> None:
    contexts = mixed_contexts(renderer)
    row = pack(model, processor, contexts)
    add_policy_head(model)
    ids = row.inputs["input_ids"]
    first = row.inputs["segments"][0]
    other = ids.clone()
    other[0, int(first[0]) : int(first[1]) - 40] = 9
    changed = {**row.inputs, "input_ids": torch.where(ids == processor.image_token_id, ids, other)}
    changed["row_seal"] = seal_row(changed)
    with torch.no_grad():
        before = model(**row.inputs, fused_lm_head=True).log_probs[0]
        after = model(**changed, fused_lm_head=True).log_probs[0]
    assert not torch.equal(before[row.owners == 0], after[row.owners == 0])
    assert torch.equal(before[row.owners != 0], after[row.owners != 0])


def test_a_group_computes_its_prompt_once_and_encodes_equal_pictures_once(
    model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = [make_context(renderer, seed=1, num_crops=1) for _ in range(4)]
    row = pack(model, processor, contexts, shares=True)
    prompt, own = len(contexts[0].prompt_ids), len(contexts[0].completion_ids)
    assert row.inputs["input_ids"].shape[1] == prompt + 4 * own
    assert len(row.inputs["image_grid_thw"]) == 2
    assert row.inputs["picture_index"].tolist() == [0, 1, 1, 1, 1]


def test_a_padded_batch_is_refused_by_the_policy_head(model: Any) -> None:
    add_policy_head(model)
    ids = torch.tensor([[1, 2]])
    with pytest.raises(TypeError, match="only packed rows are scored"):
        model(input_ids=ids, labels=ids, fused_lm_head=True)


def test_a_model_with_a_policy_head_still_gives_logits(
    model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = mixed_contexts(renderer)
    batch = ContextCollator(contexts, processor, encoder=None)(
        [{"context": at} for at in range(len(contexts))]
    )
    batch.pop("labels")
    with torch.no_grad():
        before = model(**batch).logits
        add_policy_head(model)
        after = model(**batch).logits
    assert torch.equal(before, after)


def test_long_rows_are_scored_in_chunks_alike(
    processor: Any, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(rows_per_chunk: int) -> list[torch.Tensor]:
        monkeypatch.setattr("agentic_vlm.training.policy_head._ROWS_PER_CHUNK", rows_per_chunk)
        model = build_family(processor, "qwen3_vl")
        row = pack(model, processor, mixed_contexts(renderer))
        add_policy_head(model, temperature=0.7)
        model(**row.inputs, fused_lm_head=True).log_probs.sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    pairs = zip(gradients(7), gradients(4096), strict=True)
    assert all(torch.allclose(one, two, rtol=1e-3, atol=1e-4) for one, two in pairs)


def test_checkpointed_layers_give_the_same_gradients(processor: Any, renderer: Renderer) -> None:
    def gradients(*, is_checkpointed: bool) -> list[torch.Tensor]:
        model = build_family(processor, "qwen2_5_vl")
        model.train()
        if is_checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        row = pack(model, processor, group_contexts(renderer), shares=True)
        add_policy_head(model)
        model(**row.inputs, fused_lm_head=True).log_probs.sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    pairs = zip(gradients(is_checkpointed=True), gradients(is_checkpointed=False), strict=True)
    assert all(torch.allclose(one, two, rtol=1e-4, atol=1e-5) for one, two in pairs)


def test_a_picture_that_the_processor_cuts_otherwise_is_refused(model: Any, processor: Any) -> None:
    """Rendered with other pixel limits than those of the model's processor."""
    small = VisionParams().model_copy(update={"max_pixels": 16_000})
    context = make_context(Renderer(processor.tokenizer, vision=small), seed=1, num_crops=0)
    with pytest.raises(ExactnessError, match="the processor makes the grid"):
        pack(model, processor, [context])


def test_flash_attention_takes_the_bounds_of_segments_and_no_shared_prompts() -> None:
    bounds = flash_bounds([Segment(0, 5, 0, 0), Segment(5, 7, 0, 0)], device=torch.device("cpu"))
    assert bounds["cu_seq_lens_q"].tolist() == [0, 5, 7]
    assert bounds["max_length_k"] == 5
    with pytest.raises(ValueError, match="share_prompts=False"):
        flash_bounds([Segment(0, 5, 0, 0), Segment(5, 7, 0, 5)], device=torch.device("cpu"))
