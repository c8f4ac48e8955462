"""What the base model can do on pictures that it has never seen: reading and pointing.

Direct and tool questions are measured by the stage `evaluate` like those of every other model;
these two skills have no sample of their own, so they are measured here and written into the base
model's card.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from agentic_vlm.backends.generate import Row, Sampler
from agentic_vlm.world.drawing import CELL_PX, cell_box, derive_rng
from agentic_vlm.world.scenes import make_plates

_SPLIT = "skills"


@dataclass(frozen=True, slots=True)
class BaseSkills:
    """Greedy results on held-out pictures."""

    num_pictures: int
    """Pictures per skill."""
    label_accuracy: float
    """Labels read right in crops of one plate, all label sizes."""
    label_chance: float
    """The same for a random label."""
    place_accuracy: float
    """Plates whose named box has its centre less than one merged patch away."""
    place_chance: float
    """The same for a random cell."""


def ask(
    sampler: Sampler, processor: Any, questions: Sequence[tuple[Image.Image, str]]
) -> list[str]:
    """Return the greedy replies to one question per picture, as the lessons ask them."""
    tokenizer = processor.tokenizer
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    rows = []
    for image, question in questions:
        grid = processor.image_processor(images=[image], return_tensors="pt")["image_grid_thw"][0]
        pads = "<|image_pad|>" * (int(grid.prod()) // 4)
        text = (
            f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{question}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        rows.append(
            Row(
                ids=tokenizer.encode(text, add_special_tokens=False),
                images=[image],
                temperature=0.0,
                max_tokens=32,
                seed=0,
                stop_ids=frozenset({end}),
                stop_texts=(),
            )
        )
    replies: list[str] = []
    for at in range(0, len(rows), 64):
        for out in sampler.continue_rows(rows[at : at + 64]):
            kept = out.ids[:-1] if out.ids[-1:] == [end] else out.ids
            replies.append(tokenizer.decode(kept))
    return replies


def measure_base_skills(model: Any, processor: Any, *, seed: int, num_pictures: int) -> BaseSkills:
    """Measure reading and pointing on pictures of a split that no lesson uses."""
    sampler = Sampler(model, processor, banned_ids=[processor.image_token_id])
    crops, places, labels, boxes = [], [], [], []
    for index in range(num_pictures):
        rng = derive_rng(seed, _SPLIT, index)
        scene = make_plates(rng, difficulty=index % 4)
        picture = scene.render(rng)
        plate = rng.choice(scene.plates)
        box = cell_box(plate.cell)
        crops.append((picture.crop(box), "What is the label on the plate?"))
        labels.append(plate.label)
        places.append((picture, f"Where is the {plate.colour} plate?"))
        boxes.append(box)
    read = [
        reply.strip() == label
        for reply, label in zip(ask(sampler, processor, crops), labels, strict=True)
    ]
    pointed = [
        _is_near(reply, box)
        for reply, box in zip(ask(sampler, processor, places), boxes, strict=True)
    ]
    return BaseSkills(
        num_pictures=num_pictures,
        label_accuracy=sum(read) / num_pictures,
        label_chance=1 / (18 * 90),
        place_accuracy=sum(pointed) / num_pictures,
        place_chance=1 / 64,
    )


def _is_near(reply: str, box: tuple[int, int, int, int]) -> bool:
    """Tell whether the named box has its centre less than one merged patch (one cell) away."""
    parts = reply.strip().split(",")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return False
    left, top, right, bottom = map(int, parts)
    distance = math.hypot(
        (left + right - box[0] - box[2]) / 2, (top + bottom - box[1] - box[3]) / 2
    )
    return distance < CELL_PX
