"""Messages between a daemon and its clients: a length, a JSON header, then raw RGB pixels.

The same layout as between host and kernel, so that no picture is encoded and none decoded.
"""

import dataclasses
import json
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.sandbox.base import CellResult
from agentic_vlm.sandbox.channel import BadFrameError, parse_result, parse_seconds
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.wire import LENGTH

MAX_MESSAGE_BYTES = 256 << 20
"""Longest message; 85 million pixels."""
_MAX_HEADER_BYTES = 16 << 20


def pack(header: dict[str, object], images: Sequence[Image.Image] = ()) -> bytes:
    """Return a message; the sizes of the pictures are added to the header."""
    rgb = [image if image.mode == "RGB" else image.convert("RGB") for image in images]
    sizes = [list(image.size) for image in rgb]
    body = json.dumps({**header, "sizes": sizes}).encode("ascii")
    return b"".join([LENGTH.pack(len(body)), body, *(image.tobytes() for image in rgb)])


def unpack(message: bytes) -> tuple[dict[str, object], memoryview]:
    """Return header and pixels of a message.

    Raises:
        BadFrameError: it is malformed.
    """
    if len(message) < LENGTH.size:
        raise BadFrameError("a message without header")
    (num_bytes,) = LENGTH.unpack_from(message, 0)
    begin = LENGTH.size
    if num_bytes > min(_MAX_HEADER_BYTES, len(message) - begin):
        raise BadFrameError(f"header of {num_bytes} bytes")
    try:
        header = json.loads(message[begin : begin + num_bytes])
    except (ValueError, RecursionError) as error:
        raise BadFrameError(f"malformed header: {error}") from error
    if not isinstance(header, dict):
        raise BadFrameError("the header is no object")
    return header, memoryview(message)[begin + num_bytes :]


def unpack_images(sizes: Sequence[tuple[int, int]], pixels: memoryview) -> tuple[Image.Image, ...]:
    """Return the pictures whose pixels stand one after the other.

    Raises:
        BadFrameError: there are more or fewer pixels than the sizes say.
    """
    if 3 * sum(width * height for width, height in sizes) != len(pixels):
        raise BadFrameError(f"{len(pixels)} bytes of pixels for sizes {sizes}")
    images, begin = [], 0
    for width, height in sizes:
        end = begin + 3 * width * height
        images.append(Image.frombytes("RGB", (width, height), pixels[begin:end]))
        begin = end
    return tuple(images)


def pack_result(result: CellResult) -> bytes:
    """Return the message that holds a result."""
    names = [field.name for field in dataclasses.fields(CellResult) if field.name != "images"]
    return pack({name: getattr(result, name) for name in names}, result.images)


def unpack_result(message: bytes, limits: Limits) -> CellResult:
    """Return the result in a message, checked like that of a kernel.

    Raises:
        BadFrameError: it is malformed, or over a limit.
    """
    header, pixels = unpack(message)
    try:
        result, sizes = parse_result(header, limits)
        return dataclasses.replace(
            result,
            images=unpack_images(sizes, pixels),
            wall_s=parse_seconds(header["wall_s"]),
            queued_s=parse_seconds(header["queued_s"]),
            is_session_lost=header["is_session_lost"] is True,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BadFrameError(f"malformed result: {error}") from error
