"""Kernels behind a Jupyter kernel gateway, or any Jupyter server, as an engine.

For installations that exist already. It confines nothing by itself: that is the work of whoever
runs the server. Source: the REST and WebSocket interface of jupyter_server, messages 5.3.
"""

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import Sequence

import aiohttp
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.foreign import MAX_REPLY_BYTES, NotebookOutput, PngDecoder, opening_cell
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.session import RESTARTED

_OPEN_S = 60.0
_INTERRUPT_S = 5.0


class KernelDiedError(ConnectionError):
    """The kernel ended while it ran a cell, which is the cell's doing."""


class GatewaySession:
    """One kernel and the WebSocket to it."""

    def __init__(self, sandbox: "GatewaySandbox", opening: str) -> None:
        self._sandbox = sandbox
        self._opening = opening
        self._kernel_id = ""
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._is_closed = False
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start a kernel and give it the pictures.

        Raises:
            SandboxUnavailable: the server refused, or the kernel does not answer.
        """
        http = self._sandbox.http()
        try:
            async with asyncio.timeout(_OPEN_S):
                async with http.post("/api/kernels", json={"name": "python3"}) as reply:
                    if reply.status != 201:
                        raise _unavailable(f"no kernel: HTTP {reply.status} {reply.reason}")
                    self._kernel_id = str((await reply.json())["id"])
                self._socket = await http.ws_connect(
                    f"/api/kernels/{self._kernel_id}/channels", max_msg_size=MAX_REPLY_BYTES
                )
                output = NotebookOutput(self._sandbox.limits)
                await self._execute(self._opening, output)
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            await self._drop()
            raise _unavailable(f"no kernel: {error!r}") from error
        if output.error_class:
            await self._drop()
            raise _unavailable(f"the kernel took no pictures: {output.error_class}")

    async def run_cell(self, code: str) -> CellResult:
        """Run a cell; see `Session`."""
        async with self._turn, self._sandbox.slots:
            if self._is_closed:
                raise _unavailable("the session is closed")
            is_restarted = self._socket is None
            if is_restarted:
                await self.start()
            output = NotebookOutput(self._sandbox.limits)
            is_lost = False
            try:
                status, note = await self._run_in_time(code, output)
                is_lost = self._socket is None
            except KernelDiedError:
                await self._drop()
                status, is_lost, output.error_class = CellStatus.CRASHED, True, "KernelDied"
                note = "KernelDied: the kernel died and its variables are lost"
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
                await self._drop()
                raise _unavailable(f"the kernel is gone: {error!r}") from error
            except asyncio.CancelledError:
                await self._drop()
                raise
            result = await output.result(status, self._sandbox.decoder, note=note)
            stderr = RESTARTED + result.stderr if is_restarted else result.stderr
            return dataclasses.replace(result, stderr=stderr, is_session_lost=is_lost)

    async def _run_in_time(self, code: str, output: NotebookOutput) -> tuple[CellStatus, str]:
        limit_s = self._sandbox.limits.cell_wall_s
        running = asyncio.ensure_future(self._execute(code, output))
        try:
            await asyncio.wait([running], timeout=limit_s)
            if running.done():
                running.result()
                return (CellStatus.ERROR if output.error_class else CellStatus.OK), ""
            async with self._sandbox.http().post(f"/api/kernels/{self._kernel_id}/interrupt"):
                await asyncio.wait([running], timeout=_INTERRUPT_S)
            output.error_class = "TimeoutError"
            if running.done():
                running.result()
                return CellStatus.TIMEOUT, f"TimeoutError: the cell was stopped after {limit_s:g} s"
        finally:
            running.cancel()
            await asyncio.wait([running])
        await self._drop()
        return CellStatus.TIMEOUT, (
            f"TimeoutError: no answer within {limit_s:g} s; the kernel was ended and its variables "
            "are lost"
        )

    async def _execute(self, code: str, output: NotebookOutput) -> None:
        assert self._socket is not None
        name = uuid.uuid4().hex
        await self._socket.send_json(_request(name, code))
        is_idle = has_replied = False
        while not (is_idle and has_replied):
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("the server hung up")
            said = json.loads(message.data)
            kind, content = said["header"]["msg_type"], said["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise KernelDiedError("the kernel died")
            if said["parent_header"].get("msg_id") != name:
                continue
            is_idle |= kind == "status" and content["execution_state"] == "idle"
            has_replied |= kind == "execute_reply"
            _note(kind, content, output)

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        kernel_id, self._kernel_id = self._kernel_id, ""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            if socket is not None:
                await socket.close()
            if kernel_id:
                async with self._sandbox.http().delete(f"/api/kernels/{kernel_id}"):
                    pass

    async def close(self) -> None:
        """End the kernel; see `Session`."""
        if not self._is_closed:
            self._is_closed = True
            self._sandbox.forget(self)
            await self._drop()


def _request(name: str, code: str) -> dict[str, object]:
    return {
        "header": {
            "msg_id": name,
            "msg_type": "execute_request",
            "username": "",
            "session": name,
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "buffers": [],
        "content": {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
    }


def _note(kind: str, content: dict[str, object], output: NotebookOutput) -> None:
    match kind:
        case "stream":
            output.add_stream(str(content["name"]), str(content["text"]))
        case "display_data" | "execute_result":
            shown = content["data"]
            if isinstance(shown, dict):
                output.add_display(shown, is_value=kind == "execute_result")
        case "error":
            lines = content.get("traceback")
            traceback = [str(line) for line in lines] if isinstance(lines, list) else []
            output.add_error(str(content["ename"]), str(content["evalue"]), traceback)


class GatewaySandbox:
    """Starts one kernel per session at one server."""

    def __init__(
        self,
        url: str,
        limits: Limits,
        decoder: PngDecoder,
        *,
        token: str = "",
        max_running_cells: int = 32,
    ) -> None:
        if not url:
            raise _unavailable("AGENTIC_JUPYTER_URL is not set")
        self.limits = limits
        self.decoder = decoder
        self.slots = asyncio.Semaphore(max_running_cells)
        self._url = url.rstrip("/")
        self._token = token
        self._http: aiohttp.ClientSession | None = None
        self._sessions: set[GatewaySession] = set()

    def http(self) -> aiohttp.ClientSession:
        """Return the connections to the server."""
        if self._http is None or self._http.closed:
            headers = {"Authorization": f"token {self._token}"} if self._token else {}
            self._http = aiohttp.ClientSession(self._url, headers=headers)
        return self._http

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> GatewaySession:
        """Open a session; see `Sandbox`."""
        session = GatewaySession(self, opening_cell(images, seed=seed))
        await session.start()
        self._sessions.add(session)
        return session

    def forget(self, session: GatewaySession) -> None:
        """Stop keeping track of a session."""
        self._sessions.discard(session)

    async def close(self) -> None:
        """End all kernels; see `Sandbox`."""
        for session in list(self._sessions):
            await session.close()
        if self._http is not None:
            await self._http.close()
        await self.decoder.close()


def _unavailable(what: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        "Jupyter kernel gateway", what, "look at its log, and export AGENTIC_JUPYTER_URL=http://..."
    )
