"""Sessions on other machines: clients of `daemon`, spread over several of them."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence

import aiohttp
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.base import CellResult
from agentic_vlm.sandbox.channel import BadFrameError
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.messages import MAX_MESSAGE_BYTES, pack, unpack, unpack_result

_CONNECT_S = 10.0
_OPEN_S = 60.0
_HEARTBEAT_S = 20.0
# Beyond what the daemon itself allows a cell; then the daemon is taken for dead.
_PATIENCE_S = 60.0
# A daemon that failed is asked last for so long.
_REST_S = 5.0


class RemoteSession:
    """One connection to one daemon."""

    def __init__(
        self,
        pool: "RemoteSandbox",
        url: str,
        socket: aiohttp.ClientWebSocketResponse,
        slots: asyncio.Semaphore,
    ) -> None:
        self.url = url
        self._pool = pool
        self._socket = socket
        self._slots = slots
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def run_cell(self, code: str) -> CellResult:
        """Run a cell; see `Session`. It is sent once: a cell that was accepted is not repeated."""
        limits = self._pool.limits
        async with self._turn, self._slots:
            if self._is_closed:
                raise _unavailable(self.url, "the session is closed")
            try:
                async with asyncio.timeout(limits.cell_wall_s + limits.cell_cpu_s + _PATIENCE_S):
                    await self._socket.send_bytes(pack({"code": code}))
                    return unpack_result(await _receive(self._socket), limits)
            except (aiohttp.ClientError, OSError, TimeoutError, BadFrameError) as error:
                await self.close()
                raise _unavailable(self.url, f"the session is lost: {_words(error)}") from error
            except asyncio.CancelledError:
                # The answer would be taken for that to the next cell.
                await self.close()
                raise

    async def close(self) -> None:
        """End the session; see `Session`. The daemon ends it with the connection."""
        if not self._is_closed:
            self._is_closed = True
            self._pool.forget(self)
            await self._socket.close()


class RemoteSandbox:
    """Opens each session at the daemon that has the fewest of ours."""

    def __init__(
        self, urls: Sequence[str], limits: Limits, *, token: str = "", max_running_cells: int = 32
    ) -> None:
        """Keep where the daemons are; nothing is asked before the first `open`.

        Args:
            urls: such as `http://host:8765`.
            limits: those of params.yaml; a daemon with others is refused.
            token: what the daemons want to see.
            max_running_cells: cells in flight at the same time.

        Raises:
            SandboxUnavailable: there is no address.
        """
        if not urls:
            raise _unavailable("AGENTIC_SANDBOX_URLS", "params.yaml names a sandbox daemon")
        self.limits = limits
        self._urls = [url.rstrip("/") for url in urls]
        self._token = token
        self._max_running_cells = max_running_cells
        self._num_open = Counter[str]()
        self._rests_until: dict[str, float] = {}
        self._sessions: set[RemoteSession] = set()
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.Semaphore | None = None

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> RemoteSession:
        """Open a session; see `Sandbox`. A daemon that does not accept it is passed over."""
        opening = pack({"seed": seed}, images)
        if len(opening) > MAX_MESSAGE_BYTES:
            raise _unavailable("pictures", f"{len(opening)} bytes are too many for a daemon")
        faults = []
        for url in self._by_load():
            try:
                return await self._open_at(url, opening)
            except (aiohttp.ClientError, OSError, TimeoutError, BadFrameError) as error:
                self._rests_until[url] = asyncio.get_running_loop().time() + _REST_S
                faults.append(f"{url}: {_words(error)}")
        raise _unavailable("sandbox daemons", "; ".join(faults))

    def _by_load(self) -> list[str]:
        now_s = asyncio.get_running_loop().time()
        return sorted(
            self._urls,
            key=lambda url: (self._rests_until.get(url, 0.0) > now_s, self._num_open[url]),
        )

    async def _open_at(self, url: str, opening: bytes) -> RemoteSession:
        http, slots = await self._connections()
        # Counted before the first wait, so that sessions opened at once spread too.
        self._num_open[url] += 1
        try:
            socket = await http.ws_connect(
                f"{url}/v1/session",
                max_msg_size=MAX_MESSAGE_BYTES,
                heartbeat=_HEARTBEAT_S,
                headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
            )
            try:
                async with asyncio.timeout(_OPEN_S):
                    await socket.send_bytes(opening)
                    header, _ = unpack(await _receive(socket))
                if header.get("limits") != dataclasses.asdict(self.limits):
                    raise BadFrameError("it has other limits: start it with the same params.yaml")
            except (aiohttp.ClientError, OSError, BadFrameError, asyncio.CancelledError):
                await socket.close()
                raise
        except (aiohttp.ClientError, OSError, BadFrameError, asyncio.CancelledError):
            self._num_open[url] -= 1
            raise
        session = RemoteSession(self, url, socket, slots)
        self._sessions.add(session)
        return session

    async def _connections(self) -> tuple[aiohttp.ClientSession, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if self._http is None or self._slots is None or self._loop is not loop:
            self._loop = loop
            self._slots = asyncio.Semaphore(self._max_running_cells)
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                connector=aiohttp.TCPConnector(limit=0),
            )
        return self._http, self._slots

    def forget(self, session: RemoteSession) -> None:
        """Stop keeping track of a session."""
        if session in self._sessions:
            self._sessions.discard(session)
            self._num_open[session.url] -= 1

    async def close(self) -> None:
        """End all sessions; see `Sandbox`."""
        for session in list(self._sessions):
            await session.close()
        if self._http is not None and self._loop is asyncio.get_running_loop():
            await self._http.close()
        self._http = None


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.BINARY:
        reason = message.extra or message.data or "the connection ended"
        raise ConnectionError(f"the daemon hung up: {reason}")
    return bytes(message.data)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _unavailable(where: str, what: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        where,
        what,
        "start daemons (python -m agentic_vlm.sandbox serve) and export "
        "AGENTIC_SANDBOX_URLS=http://HOST:PORT,...",
    )
