"""Questions and answers of the lessons of the base model."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer, with the pictures that come before the question."""

    prompt: str
    answer: str
    pictures: tuple[Image.Image, ...] = ()
    system: str = ""
    """System message before the question; first exchange only."""
    prefill: str = ""
    """What is written for the model at the start of the answer; untrained."""


Lesson = tuple[Exchange, ...]


def with_picture(picture: Image.Image, exchanges: Sequence[Exchange]) -> Lesson:
    """Return a lesson whose first exchange has the picture in front."""
    first, *others = exchanges
    return (Exchange(first.prompt, first.answer, (picture,)), *others)
