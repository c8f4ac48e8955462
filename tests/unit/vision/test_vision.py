"""Image limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.vision import (
    encode_png,
    grid_thw,
    num_vision_tokens,
    safe_image,
    smart_resize,
    to_rgb,
)

POCKET = {"min_pixels": 12_544, "max_pixels": 50_176}


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 4000), width=st.integers(1, 4000))
def test_sizes_are_those_of_transformers(height, width):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs

    if max(height, width) / min(height, width) > 200:
        with pytest.raises(ValueError, match="at most 200"):
            smart_resize(height, width, **POCKET)
    else:
        assert smart_resize(height, width, **POCKET) == theirs(height, width, 28, *POCKET.values())


@pytest.mark.parametrize(
    ("height", "width", "grid", "tokens"),
    [(448, 448, (1, 16, 16), 64), (112, 112, (1, 8, 8), 16), (28, 5000, (1, 2, 212), 106)],
)
def test_known_grids_do_not_move(height, width, grid, tokens):
    assert grid_thw(height, width, **POCKET) == grid
    assert num_vision_tokens(grid) == tokens


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 900), width=st.integers(1, 900))
def test_every_tool_picture_becomes_acceptable(height, width):
    safe = safe_image(Image.new("L", (width, height)), max_side_px=300, max_ratio=5.0)
    assert safe.mode == "RGB"
    assert 28 <= min(safe.size) <= max(safe.size) <= 300
    assert max(safe.size) <= 5.0 * min(safe.size)


def test_a_picture_within_the_limits_stays_as_it_is(make_image):
    picture = make_image("blue", size=(40, 60))
    assert safe_image(picture) is picture


def test_transparent_parts_become_white():
    assert to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_greys_are_scaled_and_not_cut():
    assert to_rgb(Image.new("I;16", (1, 1), 32768)).getpixel((0, 0)) == (128, 128, 128)


def test_a_picture_without_pixels_is_an_error():
    with pytest.raises(ImageError, match="0 x 5 px"):
        safe_image(Image.new("RGB", (0, 5)))


def test_equal_pixels_give_equal_bytes(make_image):
    noted = make_image()
    noted.info["comment"] = "x"
    assert encode_png(noted) == encode_png(make_image())
