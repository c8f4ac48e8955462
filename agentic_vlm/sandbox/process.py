"""Sessions in confined processes on this machine.

It does not protect from a hole in the Linux kernel; see docs/decisions/0003-sandbox.md.
"""

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections import deque
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.channel import BadFrameError, HungUpError, receive_answer, send_opening
from agentic_vlm.sandbox.fork_server import ForkServer, Kernel, unavailable
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.timer import TIMEOUT_EXIT_CODE
from agentic_vlm.sandbox.wire import MAX_REQUEST_BYTES, encode_frame

RESTARTED = "[the kernel was restarted: variables of earlier cells are lost]\n"

# A cell that got this share of a core within `cell_wall_s` is computing on a busy machine, not
# sleeping: its CPU time ends it, so that load never turns into a timeout.
_BUSY_SHARE = 0.02

_REFILL_DELAY_S = 0.01


class ProcessSession:
    """One episode's Python: a kernel, and the pictures from which a fresh one can be opened."""

    def __init__(
        self, sandbox: "ProcessSandbox", images: tuple[Image.Image, ...], seed: int
    ) -> None:
        self._sandbox = sandbox
        self._images = images
        self._seed = seed
        self._server: ForkServer | None = None
        self._kernel: Kernel | None = None
        self._num_requests = 0
        self._has_lost_variables = False
        self._is_closed = False
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Take a kernel and send it the pictures."""
        self._server, self._kernel = await self._sandbox.take_kernel()
        opening: dict[str, object] = {
            "seed": self._seed,
            "limits": dataclasses.asdict(self._sandbox.limits),
            "sizes": [list(image.size) for image in self._images],
        }
        frame = encode_frame(opening, max_bytes=MAX_REQUEST_BYTES)
        try:
            await send_opening(self._kernel.channel, frame, self._images)
        except BadFrameError as error:
            self.discard()
            raise unavailable(f"a fresh session is gone: {error}") from error
        except asyncio.CancelledError:
            self.discard()
            raise

    async def run_cell(self, code: str) -> CellResult:
        """Run a cell; see `Session`."""
        async with self._turn:
            if self._is_closed:
                raise unavailable("the session is closed")
            if self._kernel is None:
                await self.start()
            is_restarted, self._has_lost_variables = self._has_lost_variables, True
            result = await self._run(code)
            self._has_lost_variables = result.is_session_lost
            if is_restarted:
                result = dataclasses.replace(result, stderr=RESTARTED + result.stderr)
            return result

    async def _run(self, code: str) -> CellResult:
        server, kernel = self._server, self._kernel
        assert server is not None
        assert kernel is not None
        begin_s = time.monotonic()
        self._num_requests += 1
        request: dict[str, object] = {"id": self._num_requests, "code": code}
        try:
            frame = encode_frame(request, max_bytes=MAX_REQUEST_BYTES)
        except ValueError:
            return CellResult(
                CellStatus.ERROR,
                stderr=f"ValueError: a cell has at most {MAX_REQUEST_BYTES} bytes\n",
                error_class="ValueError",
            )
        try:
            result = await self._exchange(server, kernel, frame)
        except asyncio.CancelledError:
            # Nobody will read the answer, so the kernel is of no more use.
            self.discard()
            raise
        return dataclasses.replace(result, wall_s=time.monotonic() - begin_s)

    async def _exchange(self, server: ForkServer, kernel: Kernel, frame: bytes) -> CellResult:
        limits = self._sandbox.limits
        answer = asyncio.ensure_future(self._ask(kernel, frame, limits))
        try:
            while not (await asyncio.wait([answer], timeout=self._sandbox.cell_wall_s))[0]:
                if not await self._is_busy(server, kernel):
                    await self._end_kernel()
                    wall_s = self._sandbox.cell_wall_s
                    return _lost(CellStatus.TIMEOUT, f"no answer within {wall_s:g} s")
            return answer.result()
        except BadFrameError as error:
            return await self._explain_death(kernel, error)
        finally:
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, BadFrameError):
                await answer

    async def _ask(self, kernel: Kernel, frame: bytes, limits: Limits) -> CellResult:
        try:
            await asyncio.get_running_loop().sock_sendall(kernel.channel, frame)
        except OSError as error:
            raise HungUpError(str(error)) from error
        return await receive_answer(kernel.channel, limits, number=self._num_requests)

    async def _is_busy(self, server: ForkServer, kernel: Kernel) -> bool:
        now_s = await server.measure_cpu_s(kernel)
        used_s, kernel.cpu_s = now_s - kernel.cpu_s, now_s
        return used_s >= _BUSY_SHARE * self._sandbox.cell_wall_s

    async def _explain_death(self, kernel: Kernel, error: BadFrameError) -> CellResult:
        # A kernel that hung up is ending by itself; one that sent nonsense has to be ended.
        if isinstance(error, HungUpError):
            await asyncio.wait([kernel.exit], timeout=1.0)
        was_ours = not kernel.exit.done()
        await self._end_kernel()
        code = await asyncio.shield(kernel.exit)
        if was_ours:
            return _lost(CellStatus.CRASHED, f"the kernel broke its connection ({error})")
        if code in (TIMEOUT_EXIT_CODE, -signal.SIGXCPU):
            limit_s = self._sandbox.limits.cell_cpu_s
            return _lost(CellStatus.TIMEOUT, f"more than {limit_s:g} s of CPU time")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return _lost(CellStatus.CRASHED, f"the kernel died with {how}")

    async def _end_kernel(self) -> None:
        server, kernel = self._server, self._kernel
        self._kernel = None
        if server is not None and kernel is not None:
            await server.end(kernel)

    def discard(self) -> None:
        """Kill the kernel without waiting."""
        if self._server is not None and self._kernel is not None:
            self._server.discard(self._kernel)
        self._kernel = None

    async def close(self) -> None:
        """End the session; see `Session`."""
        self._is_closed = True
        self._sandbox.forget(self)
        await self._end_kernel()


def _lost(status: CellStatus, why: str) -> CellResult:
    error_class = "TimeoutError" if status is CellStatus.TIMEOUT else "KernelDied"
    return CellResult(
        status,
        stderr=f"{error_class}: {why}; the kernel was ended and its variables are lost\n",
        error_class=error_class,
        is_session_lost=True,
    )


class ProcessSandbox:
    """Sessions forked from one warm process, which starts with the first `open`."""

    def __init__(self, params: SandboxParams) -> None:
        self.limits = Limits(
            **{field.name: getattr(params, field.name) for field in dataclasses.fields(Limits)}
        )
        self.cell_wall_s = params.cell_wall_s
        self._num_spares = params.num_spares
        self._server: ForkServer | None = None
        self._spares: deque[Kernel] = deque()
        self._sessions: set[ProcessSession] = set()
        self._refilling: asyncio.Task[None] | None = None

    @property
    def isolation(self) -> tuple[str, ...]:
        """The layers that hold for sessions, in words; empty before the first `open`."""
        if self._server is None or self._server.isolation is None:
            return ()
        return self._server.isolation.notes

    @property
    def server_pid(self) -> int | None:
        """Process id of the fork server; absent before the first `open`."""
        return None if self._server is None else self._server.pid

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> ProcessSession:
        """Open a session; see `Sandbox`."""
        session = ProcessSession(self, tuple(image.convert("RGB") for image in images), seed)
        await session.start()
        self._sessions.add(session)
        return session

    async def take_kernel(self) -> tuple[ForkServer, Kernel]:
        """Return a kernel that waits for its pictures: a spare one, or a fresh one."""
        server = self._living_server()
        await server.wait_ready()
        kernel = None
        while self._spares and kernel is None:
            kernel = self._spares.popleft()
            kernel = None if kernel.exit.done() else kernel
        if kernel is None:
            kernel = await server.fork()
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill(server))
        return server, kernel

    def _living_server(self) -> ForkServer:
        server = self._server
        if server is not None and server.loop is not asyncio.get_running_loop():
            server.abandon()
            self._refilling = None
        if server is None or server.is_dead:
            if server is not None:
                server.abandon()
            self._spares.clear()
            server = self._server = ForkServer(file_mb=self.limits.file_mb)
        return server

    async def _refill(self, server: ForkServer) -> None:
        # The session that was just taken goes first: a fork keeps the server busy for a while.
        await asyncio.sleep(_REFILL_DELAY_S)
        # A failure here is met, and told, by the next `open`.
        with contextlib.suppress(SandboxUnavailable):
            while len(self._spares) < self._num_spares and server is self._server:
                self._spares.append(await server.fork())

    def forget(self, session: ProcessSession) -> None:
        """Stop keeping track of a session."""
        self._sessions.discard(session)

    async def close(self) -> None:
        """End all sessions and the fork server; see `Sandbox`."""
        server = self._server
        if server is not None and server.loop is not asyncio.get_running_loop():
            server.abandon()
            self._server = self._refilling = server = None
        if self._refilling is not None:
            self._refilling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refilling
        for session in list(self._sessions):
            await session.close()
        self._spares.clear()
        if server is not None:
            await server.close()
            self._server = None
