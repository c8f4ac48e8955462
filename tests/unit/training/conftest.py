"""A two-layer model, its processor and episodes with tool pictures."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import TrainRlParams, VisionParams
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

VISION = VisionParams()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """Give a thread that runs the episodes of a test."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def processor() -> Any:
    return build_processor(min_pixels=VISION.min_pixels, max_pixels=VISION.max_pixels)


@pytest.fixture
def model(processor: Any) -> Any:
    return build_model(processor.tokenizer, seed=0, hidden=32, layers=2)


def lively_params(*, num_steps: int, **more: Any) -> TrainRlParams:
    """Return params of a run that learns something, saved at its end.

    An untrained policy is always wrong: what tells its rollouts apart is their length.
    """
    return TrainRlParams(
        num_steps=num_steps,
        prompts_per_step=2,
        group_size=4,
        learning_rate=3e-3,
        save_every=num_steps,
        soft_limit_tokens=1,
        hard_limit_tokens=60,
        **more,
    )


def build_lively(processor: Any, *, seed: int = 0) -> Any:
    """Return an untrained model that ends its turns now and then."""
    model = build_model(processor.tokenizer, seed=seed, hidden=32, layers=2)
    model.config.tie_word_embeddings = False
    weight = model.lm_head.weight.detach().clone()
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    # Now likely, now unlikely, as the hidden state will have it.
    weight[end] *= 12.0
    model.lm_head.weight = torch.nn.Parameter(weight)
    return model


FAMILIES = ("qwen3_vl", "qwen2_5_vl")


def build_family(processor: Any, family: str, *, seed: int = 0) -> Any:
    """Return an untrained model of two narrow layers of either family."""
    if family == "qwen3_vl":
        return build_model(processor.tokenizer, seed=seed, hidden=32, layers=2)
    torch.manual_seed(seed)
    ids = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
            "initializer_range": 0.1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 56,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.1,
        },
        image_token_id=processor.image_token_id,
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


@pytest.fixture(params=FAMILIES)
def family_model(request: pytest.FixtureRequest, processor: Any) -> Any:
    return build_family(processor, request.param)


@pytest.fixture(scope="session")
def renderer(processor: Any) -> Renderer:
    return Renderer(processor.tokenizer, vision=VISION)


def picture(seed: int) -> Image.Image:
    rng = derive_rng(seed)
    return make_plates(rng, difficulty=0).render(rng)


def make_context(
    renderer: Renderer, *, seed: int, num_crops: int, has_picture: bool = True
) -> TokenContext:
    """Return an episode with `num_crops` tool pictures between its turns."""
    images = [picture(seed)] if has_picture else []
    context = renderer.render_prompt(
        "Be brief.", "<image>" * len(images) + f"What is {seed}?", images, episode_id=f"e{seed}"
    )
    for number in range(num_crops):
        text = f"<think>Look {number}.</think><code>\n```python\nimage_1\n```\n</code>"
        context.append_policy(renderer.encode_policy(text, ends_turn=False), None)
        crop = picture(100 * seed + number).resize((56, 56))
        renderer.append_observation(context, "<image>", [crop])
    text = f"It is {seed}.</think><answer>{seed}</answer>"
    context.append_policy(renderer.encode_policy(text, ends_turn=True), None)
    return context


def alone_logprobs(
    model: Any, processor: Any, context: TokenContext, *, has_gradient: bool = False
) -> torch.Tensor:
    """Return the log-probability of each completion token from a forward pass of one row."""
    ids = torch.tensor([context.ids])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == processor.image_token_id).int(),
    }
    if context.images:
        inputs.update(processor.image_processor(images=context.images, return_tensors="pt"))
    with torch.set_grad_enabled(has_gradient):
        logits = model(**inputs).logits[0, :-1].float()
    scores = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return scores[len(context.prompt_ids) - 1 :]


def mixed_contexts(renderer: Renderer) -> Sequence[TokenContext]:
    """Return episodes with 0 to 3 pictures, one of them without any."""
    return [
        make_context(renderer, seed=1, num_crops=0),
        make_context(renderer, seed=2, num_crops=2),
        make_context(renderer, seed=3, num_crops=1),
        make_context(renderer, seed=4, num_crops=0, has_picture=False),
    ]


def wide_contexts(renderer: Renderer) -> list[TokenContext]:
    """Return episodes with 0 to 4 pictures and 0 to 5 turns, without any text-only, some cut."""
    plan = [
        # pictures in the prompt, from tools, turns, and whether the last turn is cut
        (0, 0, 0, False),
        (0, 0, 1, False),
        (0, 0, 5, True),
        (0, 3, 4, False),
        (1, 0, 0, False),
        (1, 0, 2, True),
        (1, 1, 3, False),
        (1, 3, 5, False),
        (2, 2, 3, True),
        (4, 0, 1, False),
    ]
    return [_wide_context(renderer, number, *row) for number, row in enumerate(plan)]


def _wide_context(
    renderer: Renderer, seed: int, num_shown: int, num_crops: int, num_turns: int, is_cut: bool
) -> TokenContext:
    images = [picture(10 * seed + number).resize((112, 112)) for number in range(num_shown)]
    question = "<image>" * num_shown + f"What is {seed}?"
    context = renderer.render_prompt("Be brief.", question, images, episode_id=f"e{seed}")
    for turn in range(num_turns):
        is_last = turn == num_turns - 1
        act = "<answer>7</answer>" if is_last else "<code>\n1\n</code>"
        ids = renderer.encode_policy(f"Step {turn} of {seed}.</think>{act}", ends_turn=is_last)
        context.append_policy(ids[: len(ids) // 2] if is_last and is_cut else ids, None)
        if not is_last:
            crops = [picture(700 + 10 * seed + turn).resize((56, 84))] * (turn < num_crops)
            renderer.append_observation(context, "<image>" * len(crops) + "Seen.", crops)
    return context
