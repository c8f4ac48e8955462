"""A sandbox for other machines: one WebSocket is one session.

The connection is the affinity: whoever holds it talks to its session and to no other, and a
session ends with its connection. Nothing has a name that could be guessed.
"""

import asyncio
import dataclasses
import hmac
import logging
from typing import Protocol

from aiohttp import WSMsgType, web

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult, Sandbox, Session
from agentic_vlm.sandbox.channel import BadFrameError, parse_sizes
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.messages import (
    MAX_MESSAGE_BYTES,
    pack,
    pack_result,
    unpack,
    unpack_images,
)

logger = logging.getLogger(__name__)

_HEARTBEAT_S = 20.0
_MAX_INPUT_IMAGES = 64
_MAX_INPUT_PIXELS = MAX_MESSAGE_BYTES // 3


class Routes(Protocol):
    """Further paths of the same daemon."""

    def add_to(self, app: web.Application) -> None:
        """Add the paths."""
        ...

    async def close(self) -> None:
        """Release what they hold."""
        ...


class Daemon:
    """Serves a sandbox over HTTP."""

    def __init__(
        self,
        sandbox: Sandbox,
        limits: Limits,
        *,
        token: str = "",
        max_sessions: int = 256,
        drain_s: float = 30.0,
        extra: Routes | None = None,
    ) -> None:
        """Keep what it serves.

        Args:
            sandbox: who runs the cells.
            limits: what the sandbox allows; told to clients, which refuse others than theirs.
            token: what clients must show; empty: nothing.
            max_sessions: sessions at the same time; further ones are refused.
            drain_s: seconds that open sessions get to finish at shutdown.
            extra: further paths.
        """
        self._sandbox = sandbox
        self._limits = limits
        self._token = token.encode()
        self._max_sessions = max_sessions
        self._drain_s = drain_s
        self._extra = extra
        self._is_draining = False
        self._open: set[web.WebSocketResponse] = set()
        self._all_closed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port: a free one where 0 was asked for."""
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_get("/v1/health", self._tell_health)
        app.router.add_get("/v1/session", self._serve_session)
        if self._extra is not None:
            self._extra.add_to(app)
        self._runner = web.AppRunner(app, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Refuse new sessions, let the open ones finish for `drain_s`, then end them."""
        self._is_draining = True
        if self._open:
            try:
                await asyncio.wait_for(self._all_closed.wait(), self._drain_s)
            except TimeoutError:
                logger.warning("%d sessions were cut off at shutdown", len(self._open))
        for socket in list(self._open):
            await socket.close(code=1001, message=b"shutting down")
        if self._extra is not None:
            await self._extra.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._sandbox.close()

    async def _tell_health(self, request: web.Request) -> web.Response:
        self._check_token(request)
        return web.json_response(
            {
                "sessions": len(self._open),
                "max_sessions": self._max_sessions,
                "is_draining": self._is_draining,
            }
        )

    def _check_token(self, request: web.Request) -> None:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if self._token and not hmac.compare_digest(shown, self._token):
            raise web.HTTPUnauthorized(text="the token is missing or wrong\n")

    async def _serve_session(self, request: web.Request) -> web.StreamResponse:
        self._check_token(request)
        if self._is_draining or len(self._open) >= self._max_sessions:
            raise web.HTTPServiceUnavailable(text="no more sessions here\n")
        socket = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE_BYTES, heartbeat=_HEARTBEAT_S, compress=False
        )
        self._open.add(socket)
        self._all_closed.clear()
        session: Session | None = None
        try:
            await socket.prepare(request)
            session = await self._open_session(await socket.receive_bytes(timeout=60.0))
            await socket.send_bytes(pack({"limits": dataclasses.asdict(self._limits)}))
            await self._serve_cells(socket, session)
        except (BadFrameError, TypeError) as error:
            await socket.close(code=1002, message=str(error).encode()[:100])
        except (SandboxUnavailable, TimeoutError) as error:
            logger.warning("a session ended: %s", error)
            await socket.close(code=1011, message=str(error).encode()[:100])
        except ConnectionError:
            logger.info("a client hung up")
        finally:
            self._open.discard(socket)
            if session is not None:
                await session.close()
            if not self._open:
                self._all_closed.set()
        return socket

    async def _open_session(self, message: bytes) -> Session:
        header, pixels = unpack(message)
        sizes = parse_sizes(
            header.get("sizes"),
            dataclasses.replace(
                self._limits,
                max_images_per_cell=_MAX_INPUT_IMAGES,
                max_image_pixels=_MAX_INPUT_PIXELS,
            ),
        )
        seed = header.get("seed")
        if not isinstance(seed, int) or seed < 0:
            raise BadFrameError("no seed")
        return await self._sandbox.open(unpack_images(sizes, pixels), seed=seed)

    async def _serve_cells(self, socket: web.WebSocketResponse, session: Session) -> None:
        """Answer cell by cell; a client that hangs up ends the cell that runs."""
        incoming = asyncio.ensure_future(socket.receive())
        cell: asyncio.Future[CellResult] | None = None
        try:
            while True:
                message = await incoming
                if message.type is not WSMsgType.BINARY:
                    return
                code = unpack(message.data)[0].get("code")
                if not isinstance(code, str):
                    raise BadFrameError("a cell without code")
                running = asyncio.ensure_future(session.run_cell(code))
                cell = running
                incoming = asyncio.ensure_future(socket.receive())
                await asyncio.wait([running, incoming], return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    return
                await socket.send_bytes(pack_result(running.result()))
        finally:
            for future in (incoming, cell):
                if future is not None and not future.done():
                    future.cancel()
                    await asyncio.wait([future])
