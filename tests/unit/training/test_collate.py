"""What is trained on is what the policy wrote, with the pictures that it saw."""

import dataclasses
from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.encoder import PictureEncoder
from agentic_vlm.errors import ExactnessError
from agentic_vlm.training.collate import IGNORED, ContextCollator
from tests.unit.training.conftest import alone_logprobs, make_context, mixed_contexts


def test_the_trained_tokens_of_an_episode_with_two_tool_images_are_what_the_policy_wrote(
    processor: Any, renderer: Renderer
) -> None:
    context = make_context(renderer, seed=7, num_crops=2)
    batch = ContextCollator([context], processor, encoder=None)([{"context": 0}])
    trained = batch["input_ids"][0][batch["labels"][0] != IGNORED]
    code = "<code>\n```python\nimage_1\n```\n</code>"
    assert processor.tokenizer.decode(trained) == (
        f"<think>Look 0.</think>{code}<think>Look 1.</think>{code}"
        "It is 7.</think><answer>7</answer><|im_end|>"
    )
    assert batch["image_grid_thw"].shape[0] == 3


def test_a_padded_batch_gives_the_logprobs_of_rows_alone(
    model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = mixed_contexts(renderer)
    batch = ContextCollator(contexts, processor, encoder=None)(
        [{"context": at} for at in range(len(contexts))]
    )
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits[:, :-1].float()
    scores = logits.log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    for at, context in enumerate(contexts):
        start = len(context.prompt_ids) - 1
        ours = scores[at, start : start + len(context.completion_ids)]
        theirs = alone_logprobs(model, processor, context)
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert (labels != IGNORED).sum() == sum(sum(context.loss_mask) for context in contexts)


def test_features_of_a_frozen_tower_give_the_same_logits_as_pixels(
    model: Any, processor: Any, renderer: Renderer
) -> None:
    contexts = mixed_contexts(renderer)
    rows = [{"context": at} for at in range(len(contexts))]
    encoder = PictureEncoder(model, processor.image_processor, max_pictures=10)
    by_pixels = ContextCollator(contexts, processor, encoder=None)(rows)
    by_features = ContextCollator(contexts, processor, encoder=encoder)(rows)
    with torch.no_grad():
        assert torch.allclose(model(**by_pixels).logits, model(**by_features).logits, atol=1e-4)


def test_two_swapped_pictures_of_one_size_are_refused(processor: Any, renderer: Renderer) -> None:
    context = make_context(renderer, seed=5, num_crops=2)
    first, second, third = context.placed
    context.placed[1:] = [
        dataclasses.replace(second, image=third.image),
        dataclasses.replace(third, image=second.image),
    ]
    with pytest.raises(ExactnessError, match="turn 1, image 2: the picture is not the one"):
        ContextCollator([context], processor, encoder=None)([{"context": 0}])
    assert first.turn == 0
