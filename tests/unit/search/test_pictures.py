"""Signatures of pictures."""

import io
import random
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw

from agentic_vlm.search.pictures import Gallery, picture_signature


def make_picture(seed: int, *, size_px: int = 128) -> Image.Image:
    rng = random.Random(seed)
    image = Image.new("RGB", (size_px, size_px), tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    unit = size_px / 8
    for row in range(8):
        for column in range(8):
            colour = tuple(rng.randrange(256) for _ in range(3))
            left, top = column * unit, row * unit
            draw.rectangle((left, top, left + unit, top + unit), colour)
    return image


def as_jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream)


GALLERY = Gallery([picture_signature(make_picture(seed)) for seed in range(40)])


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((300, 300)),
        lambda image: image.resize((48, 48)),
        as_jpeg,
        lambda image: image.point(lambda value: round(value * 0.92)),
        lambda image: image.convert("RGBA"),
        lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE),
    ],
    ids=["larger", "smaller", "jpeg", "darker", "rgba", "palette"],
)
def test_a_changed_picture_is_found_first(change: Callable[[Image.Image], Image.Image]) -> None:
    found = GALLERY.nearest(picture_signature(change(make_picture(7))), max_distance=14, num=3)
    assert found[0].row == 7


def test_another_picture_is_not_found() -> None:
    assert GALLERY.nearest(picture_signature(make_picture(99)), max_distance=14, num=3) == []


def test_the_threshold_decides_what_is_similar() -> None:
    asked = picture_signature(make_picture(99))
    assert len(GALLERY.nearest(asked, max_distance=128, num=40)) == 40


def test_equal_pictures_keep_the_order_of_the_gallery() -> None:
    signature = picture_signature(make_picture(1))
    found = Gallery([signature] * 5).nearest(signature, max_distance=0, num=3)
    assert [near.row for near in found] == [0, 1, 2]


def test_the_same_pattern_in_another_colour_is_not_similar() -> None:
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    gallery = Gallery([picture_signature(blue), picture_signature(red)])
    found = gallery.nearest(picture_signature(red), max_distance=14, num=2)
    assert [near.row for near in found] == [1]


def test_the_same_pattern_in_a_near_colour_comes_second() -> None:
    red, pink = (Image.new("RGB", (32, 32), colour) for colour in ((255, 0, 0), (255, 20, 20)))
    gallery = Gallery([picture_signature(pink), picture_signature(red)])
    found = gallery.nearest(picture_signature(red), max_distance=14, num=2)
    assert [near.row for near in found] == [1, 0]


def test_an_empty_gallery_finds_nothing() -> None:
    assert Gallery([]).nearest(picture_signature(make_picture(1)), max_distance=64, num=3) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3000, 2)])
def test_any_shape_has_a_signature(size: tuple[int, int]) -> None:
    assert len(picture_signature(Image.new("L", size))) == 192


def test_what_is_no_signature_is_refused() -> None:
    with pytest.raises(ValueError, match="192 hex digits"):
        Gallery(["00"])
