"""The host's end of a session's socket: every byte that comes from it is checked, none trusted."""

import asyncio
import dataclasses
import json
import re
import socket
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.output import cut_middle
from agentic_vlm.sandbox.wire import LENGTH

_MARK_CHARS = 64
_MAX_SECONDS = 1e6
_READ_AHEAD_BYTES = 65_536
_MAX_ESCAPED_CHAR = 12
# Of one request. Each costs the host as much as an answer.
_MAX_LATE_ANSWERS = 16
_NOT_TEXT = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]"
)


class BadFrameError(ValueError):
    """A session sent something that a kernel never sends, or hung up."""


def clean_text(text: str) -> str:
    r"""Return the text without terminal escapes, control characters and lone surrogates.

    >>> clean_text("\x1b[31mred\x1b[0m\x00 done\r\n")
    'red done\n'
    """
    return _NOT_TEXT.sub("", text).encode("utf-8", "replace").decode("utf-8")


class HungUpError(BadFrameError):
    """A session closed its connection, as a dying process does."""


async def receive_exactly(
    channel: socket.socket, num_bytes: int, *, ahead: bytes = b""
) -> bytearray:
    """Read so many bytes, of which the first may have been read already.

    Raises:
        HungUpError: the session is gone.
    """
    loop = asyncio.get_running_loop()
    buffer = bytearray(num_bytes)
    buffer[: len(ahead)] = ahead
    view = memoryview(buffer)[len(ahead) :]
    while view:
        try:
            num_read = await loop.sock_recv_into(channel, view)
        except OSError as error:
            raise HungUpError(str(error)) from error
        if num_read == 0:
            raise HungUpError("connection ended")
        view = view[num_read:]
    return buffer


class Answers:
    """What a session sends, cell by cell. It reads ahead, so that most answers cost one call."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ahead = b""

    async def receive(self, limits: Limits, *, number: int) -> CellResult:
        """Read the answer to request `number`.

        A cell can write an answer of its own to the socket; the true one comes after it, and is
        left out when the next answer is read. So the session stays in step, whatever arrives when.

        Raises:
            BadFrameError: it is malformed or over a limit, or the session is gone.
        """
        try:
            for _ in range(_MAX_LATE_ANSWERS + 1):
                header = await self._receive_header(limits)
                claimed = _count(header["id"])
                if claimed > number:
                    raise BadFrameError("answer to another request")
                result = await self._receive_result(header, limits)
                if claimed == number:
                    return result
        except HungUpError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadFrameError(f"malformed answer: {error}") from error
        raise BadFrameError("too many answers to earlier requests")

    async def _receive_header(self, limits: Limits) -> dict[str, object]:
        max_chars = 2 * limits.max_output_chars + limits.max_value_chars
        (num_bytes,) = LENGTH.unpack(await self._take(LENGTH.size))
        if num_bytes > 65_536 + _MAX_ESCAPED_CHAR * max_chars:
            raise BadFrameError(f"header of {num_bytes} bytes")
        header: dict[str, object] = json.loads(await self._take(num_bytes))
        return header

    async def _receive_result(self, header: dict[str, object], limits: Limits) -> CellResult:
        result, sizes = parse_result(header, limits)
        if result.status is CellStatus.CRASHED:
            raise BadFrameError("a kernel that answers has not crashed")
        images = [
            Image.frombytes("RGB", size, await self._take(3 * size[0] * size[1])) for size in sizes
        ]
        return dataclasses.replace(result, images=tuple(images))

    async def _take(self, num_bytes: int) -> bytes | bytearray:
        if not self._ahead:
            try:
                loop = asyncio.get_running_loop()
                self._ahead = await loop.sock_recv(self._channel, _READ_AHEAD_BYTES)
            except OSError as error:
                raise HungUpError(str(error)) from error
            if not self._ahead:
                raise HungUpError("connection ended")
        taken, self._ahead = self._ahead[:num_bytes], self._ahead[num_bytes:]
        if len(taken) == num_bytes:
            return taken
        return await receive_exactly(self._channel, num_bytes, ahead=taken)


def parse_result(
    header: dict[str, object], limits: Limits
) -> tuple[CellResult, list[tuple[int, int]]]:
    """Return what a header claims, without its pictures, and their sizes.

    Raises:
        BadFrameError: a field is over a limit.
        KeyError: a field is missing.
        ValueError: a field has a value that does not exist.
    """
    result = CellResult(
        CellStatus(str(header["status"])),
        stdout=_text(header["stdout"], limits.max_output_chars),
        stderr=_text(header["stderr"], limits.max_output_chars),
        value=_text(header["value"], limits.max_value_chars),
        error_class=_text(header["error_class"], 200),
        num_dropped_chars=_count(header["num_dropped_chars"]),
        num_dropped_images=_count(header["num_dropped_images"]),
        cpu_s=parse_seconds(header["cpu_s"]),
    )
    return result, parse_sizes(header["sizes"], limits)


def parse_sizes(claimed: object, limits: Limits) -> list[tuple[int, int]]:
    """Return the sizes of pictures.

    Raises:
        BadFrameError: they are no sizes, or over a limit.
    """
    if not isinstance(claimed, list) or len(claimed) > limits.max_images_per_cell:
        raise BadFrameError("too many pictures")
    sizes = []
    for pair in claimed:
        width, height = (_count(side) for side in pair)
        if not 0 < width * height <= limits.max_image_pixels:
            raise BadFrameError(f"picture of {width} x {height} pixels")
        sizes.append((width, height))
    return sizes


def _count(claimed: object) -> int:
    if not isinstance(claimed, int) or isinstance(claimed, bool) or claimed < 0:
        raise BadFrameError(f"no count: {claimed!r}")
    return claimed


def parse_seconds(claimed: object) -> float:
    """Return a duration.

    Raises:
        BadFrameError: it is none.
    """
    if not isinstance(claimed, int | float) or not 0.0 <= claimed < _MAX_SECONDS:
        raise BadFrameError(f"no time: {claimed!r}")
    return float(claimed)


def _text(claimed: object, max_chars: int) -> str:
    if not isinstance(claimed, str):
        raise BadFrameError("no text")
    # A kernel has cut the text already; this bounds a forged one.
    return cut_middle(clean_text(claimed), max_chars=max_chars + _MARK_CHARS)[0]


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


async def send_opening(channel: socket.socket, frame: bytes, images: Sequence[Image.Image]) -> None:
    """Send the opening header and the pixels of the pictures, and wait until they have arrived.

    Raises:
        HungUpError: the session is gone.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(channel, frame)
        for image in images:
            await loop.sock_sendall(channel, _rgb(image).tobytes())
    except OSError as error:
        raise HungUpError(str(error)) from error
    # No model code has run before this byte, so that what fails until now is ours.
    await receive_exactly(channel, 1)
