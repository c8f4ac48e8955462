"""Image limits: decoding, normalising, image size -> grid_thw -> number of vision tokens."""

import io
import math
import struct
import zlib

import numpy as np
from PIL import Image

from agentic_vlm.errors import ImageError

PATCH_PX = 14
"""Side of a patch, px. Qwen2-VL."""
MERGE = 2
"""Patches per side that are merged into one vision token. Qwen2-VL."""
MAX_DECODED_PIXELS = 64_000_000
"""Pictures with more pixels are refused before their pixels are unpacked (192 MB as RGB)."""
_FACTOR = PATCH_PX * MERGE
_MAX_RATIO = 200.0
# What Pillow raises for files that are no picture, are cut short, or are built to do harm.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_WHITE = (255, 255, 255)


def smart_resize(
    height_px: int,
    width_px: int,
    *,
    min_pixels: int,
    max_pixels: int,
    factor: int = _FACTOR,
) -> tuple[int, int]:
    """Return the (height, width) to which the processor resizes a picture.

    Source: `smart_resize` of Qwen2-VL in transformers, which a test compares with this one.

    Raises:
        ValueError: the ratio of the sides exceeds 200.

    >>> smart_resize(448, 448, min_pixels=12544, max_pixels=50176)
    (224, 224)
    """
    ratio = max(height_px, width_px) / min(height_px, width_px)
    if ratio > _MAX_RATIO:
        raise ValueError(f"ratio of the sides must be at most 200, got {ratio:.1f}")
    height = round(height_px / factor) * factor
    width = round(width_px / factor) * factor
    if height * width > max_pixels:
        beta = math.sqrt(height_px * width_px / max_pixels)
        height = max(factor, math.floor(height_px / beta / factor) * factor)
        width = max(factor, math.floor(width_px / beta / factor) * factor)
    elif height * width < min_pixels:
        beta = math.sqrt(min_pixels / (height_px * width_px))
        height = math.ceil(height_px * beta / factor) * factor
        width = math.ceil(width_px * beta / factor) * factor
    return height, width


def grid_thw(
    height_px: int, width_px: int, *, min_pixels: int, max_pixels: int
) -> tuple[int, int, int]:
    """Return (t, h, w) in unmerged patches of a picture, as the vision tower gets it.

    >>> grid_thw(448, 448, min_pixels=12544, max_pixels=50176)
    (1, 16, 16)
    """
    height, width = smart_resize(height_px, width_px, min_pixels=min_pixels, max_pixels=max_pixels)
    return 1, height // PATCH_PX, width // PATCH_PX


def num_vision_tokens(grid: tuple[int, int, int]) -> int:
    """Return how many tokens the language model sees for a grid.

    >>> num_vision_tokens((1, 16, 16))
    64
    """
    t, h, w = grid
    return t * h * w // MERGE**2


def decode_image(
    encoded: bytes, *, where: str, max_pixels: int = MAX_DECODED_PIXELS
) -> Image.Image:
    """Decode a picture completely; `where` names it in errors.

    Raises:
        ImageError: the bytes are no picture, are cut short, or unpack to more than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        is_too_large = image.width * image.height > max_pixels
        if not is_too_large:
            image.load()
    except _BROKEN as fault:
        raise ImageError(where, f"broken picture: {fault}", "replace the file") from fault
    if is_too_large:
        raise ImageError(
            where,
            f"{image.width} x {image.height} px exceed {max_pixels} px",
            "shrink the picture or raise the limit",
        )
    return image


def encode_png(image: Image.Image) -> bytes:
    """Encode as PNG, without metadata: equal pixels give equal bytes."""
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "P":
        clean.putpalette(image.getpalette() or [])
    buffer = io.BytesIO()
    clean.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any picture to RGB: transparent parts become white, 16-bit greys are scaled."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        scaled = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", image.size, _WHITE)
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return image.convert("RGB")


def safe_image(
    image: Image.Image,
    *,
    min_side_px: int = _FACTOR,
    max_side_px: int = 8192,
    max_ratio: float = _MAX_RATIO,
) -> Image.Image:
    """Normalise a picture that a tool hands back, so that every processor takes it.

    RGB; shrunk to `max_side_px`; a short side below `min_side_px` is enlarged with its picture;
    what is still too thin is padded with white at the right or bottom.

    Raises:
        ImageError: the picture has no pixels.
    """
    if image.width == 0 or image.height == 0:
        raise ImageError(
            "tool picture", f"{image.width} x {image.height} px", "return a picture with pixels"
        )
    image = to_rgb(image)
    short, long = min(image.size), max(image.size)
    scale = max(1.0, min_side_px / short)
    scale = min(scale, max_side_px / long)
    if scale != 1.0:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    floor = max(min_side_px, math.ceil(max(image.size) / max_ratio))
    if min(image.size) >= floor:
        return image
    padded = Image.new("RGB", (max(image.width, floor), max(image.height, floor)), _WHITE)
    padded.paste(image)
    return padded
