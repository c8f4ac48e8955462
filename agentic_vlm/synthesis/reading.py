"""What an observation really says. The teacher answers from this, never from the reference.

So a fault of a tool shows in the trajectory, and selection removes it.
"""

import re

import numpy as np
from PIL import Image, ImageChops

from agentic_vlm.backends.base import ChatMessage, Request
from agentic_vlm.schema import SolutionStep, StepKind

_PRINTED = re.compile(r"stdout:\s*(?:```\s*)?(-?\d+)")
_FIRST_TITLE = re.compile(r"^1\. (?:<image>\s*\[)?(.+?) emblem", re.MULTILINE)
_HIT_START = re.compile(r"\n(?=\d+\. )")
_FOUNDED = re.compile(r"founded in (\d{4})")
_MEMBERS = re.compile(r"has (\d+) members")
# JPEG noise and anti-aliasing stay below; any plate on any ground is above.
_MIN_SPREAD = 24


def read_step(step: SolutionStep, request: Request) -> str | None:
    """Return what the last observation says about a step; None where it does not say it.

    Args:
        step: as it was carried out.
        request: the conversation that ends with the observation.
    """
    observation = request.messages[-1]
    match step.kind:
        case StepKind.CROP:
            return step.reads if _shows_crop(step, request) else None
        case StepKind.COMPUTE:
            return _first_group(_PRINTED, observation.text)
        case StepKind.IMAGE_SEARCH:
            return _first_group(_FIRST_TITLE, observation.text)
        case StepKind.TEXT_SEARCH:
            return _read_fact(step.text, observation.text)


def shows_something(message: ChatMessage) -> bool:
    """Return whether the last picture of a message shows more than an empty ground."""
    pictures = [part for part in message.parts if isinstance(part, Image.Image)]
    return bool(pictures) and has_content(pictures[-1])


def has_content(picture: Image.Image) -> bool:
    """Return whether a picture is more than one tint."""
    return bool(np.ptp(np.asarray(picture.convert("RGB")), axis=(0, 1)).max() >= _MIN_SPREAD)


def _shows_crop(step: SolutionStep, request: Request) -> bool:
    """Whether the observation's picture is the part that the step names, pixel by pixel."""
    pictures = [part for part in request.messages[-1].parts if isinstance(part, Image.Image)]
    if not pictures or step.box is None:
        return False
    wanted = request.images[0].convert("RGB").crop(step.box)
    seen = pictures[-1].convert("RGB")
    return seen.size == wanted.size and ImageChops.difference(seen, wanted).getbbox() is None


def _read_fact(query: str, text: str) -> str | None:
    """Return the fact that the hit about the query's subject holds."""
    subject = query.rsplit(" ", 1)[0]
    pattern = _FOUNDED
    if query.startswith("code "):
        subject = f"Code {query.removeprefix('code ')}"
    elif query.endswith(" members"):
        pattern = _MEMBERS
    word = re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)")
    for hit in _HIT_START.split(text):
        if word.search(hit) and (fact := _first_group(pattern, hit)):
            return fact
    return None


def _first_group(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[1] if match else None
