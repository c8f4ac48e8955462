"""A two-layer model, its processor and episodes with tool pictures."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.params import VisionParams
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.scenes import make_plates

VISION = VisionParams()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def processor() -> Any:
    return build_processor(min_pixels=VISION.min_pixels, max_pixels=VISION.max_pixels)


@pytest.fixture
def model(processor: Any) -> Any:
    return build_model(processor.tokenizer, seed=0, hidden=32, layers=2)


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


def alone_logprobs(model: Any, processor: Any, context: TokenContext) -> torch.Tensor:
    """Return the log-probability of each completion token from a forward pass of one row."""
    ids = torch.tensor([context.ids])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == processor.image_token_id).int(),
    }
    if context.images:
        inputs.update(processor.image_processor(images=context.images, return_tensors="pt"))
    with torch.no_grad():
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
