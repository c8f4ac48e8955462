"""Messages of a conversation, in the form in which chat models take them."""

from enum import StrEnum
from typing import Literal

from agentic_vlm.schema.image import ImageRef
from agentic_vlm.schema.record import Record


class Role(StrEnum):
    """Who speaks. Tool observations are `user` messages (DeepEyesV2, section 1.8)."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class TextPart(Record):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str
    """The text; data, never markup."""


class ImagePart(Record):
    """A picture by reference."""

    type: Literal["image"] = "image"
    image: ImageRef
    """The picture; its bytes are in the image store."""


class Message(Record):
    """One message."""

    role: Role
    parts: tuple[TextPart | ImagePart, ...]
    """Text and pictures in reading order."""
