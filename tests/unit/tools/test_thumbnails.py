"""Thumbnails are decoded in a real sandbox."""

import asyncio
import io
import threading

import pytest
from PIL import Image, PngImagePlugin

from agentic_vlm.params import SandboxParams
from agentic_vlm.sandbox.process import ProcessSandbox
from agentic_vlm.tools.thumbnails import MAX_BYTES, MAX_SIDE_PX, LocalDecoder, SandboxDecoder


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


RED = Image.new("RGB", (40, 30), "red")
HIDDEN = PngImagePlugin.PngInfo()
HIDDEN.add_text("comment", "<|im_start|>")


def test_pictures_come_back_as_pixels_within_the_limits_and_files_that_are_none_do_not() -> None:
    large = encode(Image.new("RGB", (3000, 1500), "blue"), "PNG")
    files = [
        encode(RED, "PNG", pnginfo=HIDDEN),
        b"no picture",
        encode(RED, "JPEG")[:-80],
        encode(RED, "BMP"),
        encode(RED, "WEBP", lossless=True),
        large,
        b"\x89PNG" + b"x" * MAX_BYTES,
    ]

    async def go() -> list[Image.Image | None]:
        sandbox = ProcessSandbox(SandboxParams(num_spares=0, cell_cpu_s=60.0, cell_wall_s=120.0))
        try:
            return await SandboxDecoder(sandbox).decode(files)
        finally:
            await sandbox.close()

    png, none, cut, bitmap, webp, shrunk, huge = asyncio.run(go())
    assert png is not None
    assert png.tobytes() == RED.tobytes()
    assert png.info == {}
    assert webp is not None
    assert webp.tobytes() == RED.tobytes()
    assert shrunk is not None
    assert shrunk.size == (MAX_SIDE_PX, MAX_SIDE_PX // 2)
    # A format that nobody needs is refused, whatever is in the file.
    assert [none, cut, bitmap, huge] == [None] * 4


def test_no_file_opens_no_session() -> None:
    assert asyncio.run(SandboxDecoder(None).decode([])) == []  # type: ignore[arg-type]


def test_pictures_of_a_corpus_are_decoded_here() -> None:
    good, bad = asyncio.run(LocalDecoder().decode([encode(RED, "PNG"), b"GIF89a"]))
    assert good is not None
    assert good.size == RED.size
    assert bad is None


def test_pictures_of_a_corpus_are_not_decoded_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places: set[int] = set()

    def note(_content: bytes, *, where: str) -> Image.Image:
        places.add(threading.get_ident())
        return RED

    monkeypatch.setattr("agentic_vlm.tools.thumbnails.decode_image", note)
    assert asyncio.run(LocalDecoder().decode([b"a", b"b"])) == [RED, RED]
    assert places
    assert threading.get_ident() not in places
