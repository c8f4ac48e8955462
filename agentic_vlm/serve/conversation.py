"""The messages of a request to the one question and the pictures that an episode begins with."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.params import VisionParams
from agentic_vlm.serve.faults import RequestRefused, TooLarge
from agentic_vlm.serve.limits import Limits
from agentic_vlm.serve.wire import Part, WireMessage
from agentic_vlm.vision import decode_image, to_rgb

_SPEAKERS = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True, slots=True)
class Question:
    """What an episode is asked."""

    text: str
    """The last user message, after what was said before it."""
    images: tuple[Image.Image, ...]
    """Pictures of all messages, in order: image_1, image_2 and so on."""


def read_question(
    messages: Sequence[WireMessage], *, limits: Limits, vision: VisionParams
) -> Question:
    """Return the question of a conversation.

    An episode begins with one question, so earlier messages go in front of the last one as text.

    Raises:
        RequestRefused: the last message is not the user's, or a picture cannot be used.
        TooLarge: there is too much of something.
    """
    if messages[-1].role != "user":
        raise RequestRefused("messages", "the last one is not the user's", "end with a question")
    uris = _uris(messages)
    if len(uris) > limits.max_images:
        what = f"{len(uris)} pictures are more than {limits.max_images}"
        raise TooLarge("messages", what, "send fewer")
    images = tuple(_decode(where, uri, limits, vision) for where, uri in uris)
    text = _text(messages, are_many=len(uris) > 1)
    if len(text) > limits.max_chars:
        what = f"{len(text)} characters are more than {limits.max_chars}"
        raise TooLarge("messages", what, "shorten the conversation")
    if not text.strip():
        raise RequestRefused("messages", "no text in the last message", "ask a question")
    return Question(text, images)


def _uris(messages: Sequence[WireMessage]) -> list[tuple[str, str]]:
    found = []
    for number, message in enumerate(messages):
        for place, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
            where = f"messages.{number}.content.{place}"
            if part.type == "image_url":
                if part.image_url is None or message.role != "user":
                    fix = "send {type: image_url, image_url: {url: data:...}} as the user"
                    raise RequestRefused(where, "no usable picture", fix)
                found.append((f"{where}.image_url", part.image_url.url))
    return found


def _text(messages: Sequence[WireMessage], *, are_many: bool) -> str:
    """Return the conversation as text; with several pictures, it says where each one stood."""
    number = 0
    texts = []
    for message in messages:
        pieces = []
        content = message.content or ()
        parts = (Part(type="text", text=content),) if isinstance(content, str) else content
        for part in parts:
            if part.type == "text":
                pieces.append(part.text or "")
            else:
                number += 1
                pieces.append(f"[image_{number}]" if are_many else "")
        texts.append("\n".join(piece for piece in pieces if piece))
    *earlier, (_, last) = zip((message.role for message in messages), texts, strict=True)
    if not last.strip():
        return ""
    rules = [text for role, text in earlier if role in ("system", "developer") and text]
    talk = [f"{_SPEAKERS[role]}: {text}" for role, text in earlier if role in _SPEAKERS]
    before = ["Earlier in this conversation:\n" + "\n".join(talk)] if talk else []
    return "\n\n".join([*rules, *before, last])


def _decode(where: str, uri: str, limits: Limits, vision: VisionParams) -> Image.Image:
    head, comma, body = uri.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or not comma:
        fix = "send the picture itself, as data:image/png;base64,...; nothing is fetched"
        raise RequestRefused(where, "no data address of a picture", fix)
    if len(body) * 3 // 4 > limits.max_image_bytes:
        what = f"a picture of more than {limits.max_image_bytes} bytes"
        raise TooLarge(where, what, "shrink it")
    try:
        encoded = base64.b64decode(body, validate=True)
        image = decode_image(encoded, where=where, max_pixels=limits.max_image_pixels)
    except (binascii.Error, ValueError) as fault:
        if isinstance(fault, ImageError) and "exceed" in fault.what:
            raise TooLarge(where, fault.what, "shrink it") from fault
        what = fault.what if isinstance(fault, ImageError) else f"no base64 text: {fault}"
        raise RequestRefused(where, what, "send a whole picture file") from fault
    return _checked(where, to_rgb(image), vision)


def _checked(where: str, image: Image.Image, vision: VisionParams) -> Image.Image:
    short, long = min(image.size), max(image.size)
    is_outside = short < vision.min_side_px or long > vision.max_side_px
    if is_outside or long > vision.max_ratio * short:
        what = f"{image.width} x {image.height} px are outside the limits"
        fix = f"sides from {vision.min_side_px} to {vision.max_side_px} px, ratio up to "
        raise RequestRefused(where, what, f"{fix}{vision.max_ratio:.0f}")
    return image
