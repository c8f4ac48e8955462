"""Pictures of search hits, decoded where they can do no harm."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.sandbox.base import CellStatus, Sandbox
from agentic_vlm.vision import decode_image

MAX_BYTES = 2_000_000
"""Larger files are left out undecoded."""
MAX_SIDE_PX = 1024
"""Longer sides are shrunk."""

# Formats are named: a file must not choose one of the many decoders that nobody needs.
_DECODE = """
import base64, io
from PIL import Image
_file = io.BytesIO(base64.b64decode({encoded!r}))
_picture = Image.open(_file, formats=["PNG", "JPEG", "WEBP", "GIF"])
_picture.draft("RGB", ({side}, {side}))
_picture.thumbnail(({side}, {side}))
display(_picture)
"""


class Decoder(Protocol):
    """Turns encoded pictures from elsewhere into pixels."""

    async def decode(self, files: Sequence[bytes]) -> list[Image.Image | None]:
        """Return one picture per file; None for what is broken, too large or no picture.

        Raises:
            SandboxUnavailable: the sandbox failed, not the file.
        """
        ...


class LocalDecoder:
    """Decodes in this process: for pictures of a corpus, which were decoded when it was built."""

    async def decode(self, files: Sequence[bytes]) -> list[Image.Image | None]:
        """Return one picture per file; None for what is broken."""
        # Hundreds of episodes share the event loop.
        return [await asyncio.to_thread(_decode, content) for content in files]


def _decode(content: bytes) -> Image.Image | None:
    try:
        return decode_image(content, where="thumbnail")
    except ImageError:
        return None


class SandboxDecoder:
    """Decodes in a sandbox session: files from the internet attack decoders.

    Only raw pixels come back, so whatever else was in the file is gone.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        """Keep the sandbox."""
        self._sandbox = sandbox

    async def decode(self, files: Sequence[bytes]) -> list[Image.Image | None]:
        """Return one picture per file; None for what is broken, too large or no picture.

        Raises:
            SandboxUnavailable: the sandbox failed, not the file.
        """
        if not files:
            return []
        session = await self._sandbox.open([], seed=0)
        try:
            pictures: list[Image.Image | None] = []
            for content in files:
                if len(content) > MAX_BYTES:
                    pictures.append(None)
                    continue
                encoded = base64.b64encode(content).decode()
                code = _DECODE.format(encoded=encoded, side=MAX_SIDE_PX)
                result = await session.run_cell(code)
                is_shown = result.status is CellStatus.OK and len(result.images) == 1
                pictures.append(result.images[0] if is_shown else None)
                if result.status in (CellStatus.TIMEOUT, CellStatus.CRASHED):
                    # What this file did to the session must not hit the files after it.
                    await session.close()
                    session = await self._sandbox.open([], seed=0)
            return pictures
        finally:
            await session.close()
