"""SandboxFusion as an engine: every request runs all earlier cells again.

For stateless computing and grading. Its own limits on time per cell and on memory have no effect on
notebooks, so the deadline here is one for all cells. Source: bytedance/SandboxFusion,
`POST /run_jupyter`.
"""

import asyncio
import json
from collections.abc import Sequence

import aiohttp
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.foreign import MAX_REPLY_BYTES, NotebookOutput, PngDecoder, opening_cell
from agentic_vlm.sandbox.limits import Limits

_PATIENCE_S = 30.0


class FusionSession:
    """The cells so far."""

    def __init__(self, sandbox: "FusionSandbox", opening: str) -> None:
        self._sandbox = sandbox
        self._cells = [opening]
        self._is_closed = False
        self._turn = asyncio.Lock()

    async def run_cell(self, code: str) -> CellResult:
        """Run the earlier cells and this one; see `Session`.

        A cell that failed is not repeated by later requests.
        """
        async with self._turn:
            if self._is_closed:
                raise _unavailable("the session is closed")
            result = await self._sandbox.run([*self._cells, code])
            if result.status is CellStatus.OK:
                self._cells.append(code)
            return result

    async def close(self) -> None:
        """Refuse further cells."""
        self._is_closed = True


class FusionSandbox:
    """Sends notebooks to one SandboxFusion server."""

    def __init__(
        self, url: str, limits: Limits, decoder: PngDecoder, *, max_running_cells: int = 32
    ) -> None:
        if not url:
            raise _unavailable("AGENTIC_FUSION_URL is not set")
        self._url = url.rstrip("/")
        self._limits = limits
        self._decoder = decoder
        self._slots = asyncio.Semaphore(max_running_cells)

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> FusionSession:
        """Open a session; see `Sandbox`. Nothing is sent before its first cell."""
        return FusionSession(self, opening_cell(images, seed=seed))

    async def run(self, cells: Sequence[str]) -> CellResult:
        """Run a notebook and return the result of its last cell."""
        limit_s = self._limits.cell_wall_s
        asked = {"cells": list(cells), "cell_timeout": limit_s, "total_timeout": limit_s}
        try:
            async with (
                self._slots,
                asyncio.timeout(limit_s + _PATIENCE_S),
                aiohttp.ClientSession() as http,
                http.post(f"{self._url}/run_jupyter", json=asked) as reply,
            ):
                if reply.status != 200:
                    raise _unavailable(f"HTTP {reply.status} {reply.reason}")
                answer = json.loads(await _read_whole(reply))
            return await self._read(answer, num_cells=len(cells))
        except (aiohttp.ClientError, OSError, TimeoutError, RecursionError) as error:
            raise _unavailable(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unavailable(f"malformed answer: {error!r}") from error

    async def _read(self, answer: dict[str, object], *, num_cells: int) -> CellResult:
        output = NotebookOutput(self._limits)
        driver = answer.get("driver")
        if answer["status"] == "SandboxError":
            raise _unavailable(str(answer.get("message"))[:200])
        cells = answer.get("cells")
        if not isinstance(cells, list) or len(cells) < num_cells:
            is_late = isinstance(driver, dict) and driver.get("status") == "TimeLimitExceeded"
            status = CellStatus.TIMEOUT if is_late else CellStatus.CRASHED
            limit_s = self._limits.cell_wall_s
            note = (
                f"TimeoutError: no answer within {limit_s:g} s"
                if is_late
                else "KernelDied: the notebook ended before this cell"
            )
            output.error_class = note.split(":")[0]
            return await output.result(status, self._decoder, note=note)
        cell = cells[-1]
        output.add_stream("stdout", str(cell["stdout"]))
        output.add_stream("stderr", str(cell["stderr"]))
        for bundle in cell["display"]:
            output.add_display(bundle, is_value=True)
        for error in cell["error"]:
            lines = [str(line) for line in error.get("traceback", [])]
            output.add_error(str(error["ename"]), str(error["evalue"]), lines)
        status = CellStatus.ERROR if cell["error"] else CellStatus.OK
        return await output.result(status, self._decoder, note="")

    async def close(self) -> None:
        """End what decodes pictures; see `Sandbox`."""
        await self._decoder.close()


async def _read_whole(reply: aiohttp.ClientResponse) -> bytes:
    # `content.read(n)` gives what has arrived, which is a part of any longer reply.
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            raise ValueError(f"more than {MAX_REPLY_BYTES} bytes")
    return bytes(body)


def _unavailable(what: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        "SandboxFusion", what, "look at its log, and export AGENTIC_FUSION_URL=http://HOST:PORT"
    )
