"""A tool that no training data has: it enlarges a part of a picture. Does a model pick it up?"""

import json
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.schema import ToolCall
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.vision import safe_image

NAME = "zoom"
OFFER = (
    f"`{NAME}` shows a part of a picture enlarged; the box is left, top, right, bottom in pixels:\n"
    f'<tool_call>{{"name": "{NAME}", "arguments": {{"image": 1, "box": [0, 0, 100, 100]}}}}'
    "</tool_call>"
)
"""What is added to the system prompt."""
_SIDE_PX = 448
_MAX_RATIO = 20.0


def zoom(call: ToolCall, images: Sequence[Image.Image]) -> ToolResult:
    """Return the part of a picture that a call asks for, its longer side 448 px.

    Args:
        call: its arguments are `image`, from 1, and `box`.
        images: the pictures of the episode so far.
    """
    try:
        return ToolResult(IMAGE_MARK, (_enlarge(*_part(call.arguments_json, images)),))
    except (ValueError, ImageError) as fault:
        return refusal(f"Invalid arguments of {NAME}: {fault}", error_class="InvalidArguments")


def _part(body: str, images: Sequence[Image.Image]) -> tuple[Image.Image, tuple[int, ...]]:
    try:
        arguments = json.loads(body or "null")
    except RecursionError as fault:
        raise ValueError("nested too deeply") from fault
    if not isinstance(arguments, dict):
        raise ValueError("it takes 'image' and 'box'")
    number, box = arguments.get("image", 1), arguments.get("box")
    if type(number) is not int or not 1 <= number <= len(images):
        raise ValueError(f"'image' must be 1 to {len(images)}")
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) is int for side in box):
        raise ValueError("'box' must be four whole numbers")
    left, top, right, bottom = box
    image = images[number - 1]
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"'box' must lie within 0, 0, {image.width}, {image.height}")
    return image, (left, top, right, bottom)


def _enlarge(image: Image.Image, box: tuple[int, ...]) -> Image.Image:
    left, top, right, bottom = box
    part = image.convert("RGB").crop((left, top, right, bottom))
    scale = _SIDE_PX / max(part.size)
    width, height = (max(1, round(side * scale)) for side in part.size)
    return safe_image(
        part.resize((width, height), Image.Resampling.BICUBIC),
        min_side_px=28,
        max_side_px=_SIDE_PX,
        max_ratio=_MAX_RATIO,
    )
