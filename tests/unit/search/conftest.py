"""A corpus of a few pages."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from agentic_vlm.search import build_index


@dataclass(frozen=True, slots=True)
class Page:
    article_id: str
    title: str
    text: str
    date: str
    link: str


@dataclass(frozen=True, slots=True)
class Picture:
    link: str
    title: str
    png: bytes


def draw(number: int, *, size_px: int = 64) -> Image.Image:
    image = Image.new("RGB", (size_px, size_px), ("red", "blue", "green")[number % 3])
    pen = ImageDraw.Draw(image)
    for row in range(4):
        if (number >> row) & 1:
            top = size_px * row // 4
            pen.rectangle((size_px // 4, top, size_px // 2, top + size_px // 4 - 1), "white")
    return image


def encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


PAGES = [
    Page("a2", "Velmora", "Velmora is a mill founded in 1731.", "2020-01-02", "https://x/velmora"),
    Page("a1", "Dorn", "Dorn is a village near Velmora.", "2021-03-04", "https://x/dorn"),
    *(
        Page(f"t{number}", "Twin", "The same text.", "", f"https://x/{number}")
        for number in range(60)
    ),
]
PICTURES = [
    Picture(f"https://x/{number}", f"emblem {number}", encode(draw(number))) for number in (5, 10)
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    build_index(PAGES, PICTURES, folder)
    return folder
