"""Sessions in confined processes on this machine.

It does not protect from a hole in the Linux kernel; see docs/sandbox.md.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox.child import Kernel
from agentic_vlm.sandbox.fork_server import ForkServer
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.session import RESTARTED, ProcessSession
from agentic_vlm.sandbox.source import KernelSource
from agentic_vlm.sandbox.templates import TemplateShelf

__all__ = ["RESTARTED", "ProcessSandbox", "ProcessSession"]

_REFILL_DELAY_S = 0.01


class ProcessSandbox:
    """Sessions forked from one warm process, which starts with the first `open`."""

    def __init__(self, params: SandboxParams, *, shares: Sequence[str] = ()) -> None:
        """Keep the params.

        Args:
            params: limits and numbers of what is kept warm.
            shares: folders of this machine that sessions may read.
        """
        self._shares = tuple(shares)
        self.limits = Limits.from_params(params)
        self._params = params
        self._server: ForkServer | None = None
        self._slots: asyncio.Semaphore | None = None
        self._spares: deque[Kernel] = deque()
        self._templates = TemplateShelf(max_templates=params.max_templates)
        self._sessions: set[ProcessSession] = set()
        self._refilling: asyncio.Task[None] | None = None

    @property
    def isolation(self) -> tuple[str, ...]:
        """The layers that hold for sessions, in words; empty before the first `open`."""
        if self._server is None or self._server.isolation is None:
            return ()
        return self._server.isolation.notes

    @property
    def tier(self) -> str:
        """`A` (namespaces) or `B` (Landlock and seccomp alone); empty before the first `open`."""
        if self._server is None or self._server.isolation is None:
            return ""
        return self._server.isolation.tier

    @property
    def holes(self) -> tuple[str, ...]:
        """Attacks of the self-test that were not refused."""
        return () if self._server is None else tuple(self._server.holes)

    @property
    def has_spare(self) -> bool:
        """Whether a kernel waits for the next session."""
        return bool(self._spares)

    @property
    def server_pid(self) -> int | None:
        """Process id of the fork server; absent before the first `open`."""
        return None if self._server is None else self._server.pid

    @property
    def slots(self) -> asyncio.Semaphore:
        """What a cell holds while it runs."""
        assert self._slots is not None
        return self._slots

    async def open(self, images: Sequence[Image.Image], *, seed: int) -> ProcessSession:
        """Open a session; see `Sandbox`."""
        session = ProcessSession(self, tuple(images), seed)
        await session.start()
        self._sessions.add(session)
        return session

    async def take_kernel(
        self, images: Sequence[Image.Image]
    ) -> tuple[KernelSource, Kernel, Sequence[Image.Image]]:
        """Return a kernel that waits for its opening, where it came from, and what to send it.

        Pictures that were asked for before, as the same objects, are not sent again: a template
        holds them.
        """
        server = self._living_server()
        await server.wait_ready()
        template = await self._templates.find(server, images)
        if template is not None:
            return template, await template.fork(), ()
        kernel = None
        while self._spares and kernel is None:
            kernel = self._spares.popleft()
            kernel = None if kernel.exit.done() else kernel
        if kernel is None:
            kernel = await server.fork()
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill(server))
        return server, kernel, images

    def _living_server(self) -> ForkServer:
        server = self._server
        if server is not None and server.loop is not asyncio.get_running_loop():
            server.abandon()
            self._refilling = None
        if server is None or server.is_dead:
            if server is not None:
                server.abandon()
            self._templates.clear()
            self._drop_spares()
            self._slots = asyncio.Semaphore(self._params.max_running_cells)
            server = self._server = ForkServer(
                self.limits, modules=self._params.preload, shares=self._shares
            )
        return server

    def _drop_spares(self) -> None:
        while self._spares:
            self._spares.popleft().release()

    async def _refill(self, server: ForkServer) -> None:
        # The session that was just taken goes first: a fork keeps the server busy for a while.
        await asyncio.sleep(_REFILL_DELAY_S)
        # A failure here is met, and told, by the next `open`.
        with contextlib.suppress(SandboxUnavailable):
            while len(self._spares) < self._params.num_spares and server is self._server:
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
        self._drop_spares()
        self._templates.clear()
        if server is not None:
            await server.close()
            self._server = None
