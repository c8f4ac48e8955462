"""What the engines of others have in common: they speak notebook messages and send PNGs.

A PNG that came from model code is decoded inside a local session, never on the host: image
decoders are a known way in.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence

from PIL import Image

from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.channel import clean_text
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.output import Capture, cut_middle, without_addresses
from agentic_vlm.sandbox.process import ProcessSandbox

MAX_REPLY_BYTES = 64 << 20
"""Longest reply that is read from a foreign engine."""
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
_MAX_ENCODED_CHARS = 15 << 20


def opening_cell(images: Sequence[Image.Image], *, seed: int) -> str:
    """Return the code that gives a fresh kernel its pictures and its seed."""
    lines = [
        "%matplotlib inline",
        "import base64, io, random",
        "from PIL import Image",
        f"random.seed({seed})",
        "try:",
        "    import numpy",
        f"    numpy.random.seed({seed % 2**32})",
        "except ImportError:",
        "    pass",
    ]
    for number, image in enumerate(images, start=1):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="png", compress_level=1)
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        lines.append(
            f"image_{number} = Image.open(io.BytesIO(base64.b64decode('{encoded}'))).convert('RGB')"
        )
    return "\n".join(lines)


class NotebookOutput:
    """Collects what a foreign kernel says about one cell, within our limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stdout = Capture(max_chars=limits.max_output_chars)
        self._stderr = Capture(max_chars=limits.max_output_chars)
        self._value = ""
        self.error_class = ""
        self._pngs: list[str] = []
        self._num_dropped_images = 0

    def add_stream(self, name: str, text: str) -> None:
        """Take a piece of standard output or standard error."""
        (self._stderr if name == "stderr" else self._stdout).write(clean_text(text))

    def add_display(self, bundle: Mapping[str, object], *, is_value: bool) -> None:
        """Take what was displayed, or the value of the last expression, by media type."""
        png, text = bundle.get("image/png"), bundle.get("text/plain")
        if isinstance(png, str):
            if len(self._pngs) < self._limits.max_images_per_cell:
                self._pngs.append(png)
            else:
                self._num_dropped_images += 1
        elif isinstance(text, str) and is_value:
            self._value = without_addresses(clean_text(text))
        elif isinstance(text, str):
            self._stdout.write(f"{clean_text(text)}\n")

    def add_error(self, name: str, value: str, traceback: Sequence[str]) -> None:
        """Take an exception."""
        self.error_class = clean_text(name)[:200]
        lines = [clean_text(line).rstrip("\n") for line in traceback]
        last = f"{self.error_class}: {clean_text(value)}"
        self._stderr.write("\n".join([*lines, *([] if lines else [last])]) + "\n")

    async def result(self, status: CellStatus, decoder: "PngDecoder", *, note: str) -> CellResult:
        """Return the result; `note` becomes the last line of standard error."""
        images = [await decoder.decode(png) for png in self._pngs]
        shown = tuple(image for image in images if image is not None)
        if note:
            self._stderr.write(f"{note}\n")
        stdout, num_stdout = self._stdout.take()
        stderr, num_stderr = self._stderr.take()
        value, num_value = cut_middle(self._value, max_chars=self._limits.max_value_chars)
        return CellResult(
            status,
            stdout=stdout,
            stderr=stderr,
            value=value,
            error_class=self.error_class,
            images=shown,
            num_dropped_chars=num_stdout + num_stderr + num_value,
            num_dropped_images=self._num_dropped_images + len(images) - len(shown),
        )


class PngDecoder:
    """Decodes inside a session of this machine's sandbox, a fresh one for each picture."""

    def __init__(self, sandbox: ProcessSandbox) -> None:
        self._sandbox = sandbox

    async def decode(self, encoded: str) -> Image.Image | None:
        """Return the picture, absent where it is none.

        Raises:
            SandboxUnavailable: the local sandbox failed.
        """
        if len(encoded) > _MAX_ENCODED_CHARS or not _BASE64.fullmatch(encoded):
            return None
        session = await self._sandbox.open([], seed=0)
        try:
            result = await session.run_cell(
                "import base64, io\nfrom PIL import Image\n"
                f"Image.open(io.BytesIO(base64.b64decode({encoded!r}))).convert('RGB')"
            )
        finally:
            await session.close()
        return result.images[0] if result.images else None

    async def close(self) -> None:
        """End the local sandbox."""
        await self._sandbox.close()
