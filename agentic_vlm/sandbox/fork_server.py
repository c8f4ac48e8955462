"""The host's end of a fork server."""

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.confine import Isolation

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_START_S = 60.0
_STOP_S = 2.0
_ROOT = Path(__file__).resolve().parents[2]
# The folder of the package leaves the path again: it is out of reach of sessions.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from agentic_vlm.sandbox import server; "
    "del sys.path[0]; server.main(int(sys.argv[2]), int(sys.argv[3]))"
)
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


@dataclass(slots=True)
class Kernel:
    """A session process, as the host sees it."""

    number: int
    channel: socket.socket
    exit: "asyncio.Future[int]"
    """Exit code; negative: minus the signal. Fails with SandboxUnavailable with the server."""
    cpu: "list[asyncio.Future[float]]" = field(default_factory=list)
    """Who waits for the answer to a question about CPU time."""
    cpu_s: float = 0.0
    """The last answer."""


class ForkServer:
    """One fork server process. It belongs to the event loop that started it."""

    def __init__(self, *, file_mb: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_dead = False
        self.isolation: Isolation | None = None
        self._kernels: dict[int, Kernel] = {}
        self._num_started = 0
        self._ready: asyncio.Future[None] = self.loop.create_future()
        self._orders = asyncio.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        arguments = [str(_ROOT), str(theirs.fileno()), str(file_mb)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-s", "-P", "-B", "-c", _BOOT, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._listener = self.loop.create_task(self._listen())

    @property
    def pid(self) -> int:
        """Process id of the fork server."""
        return self._process.pid

    async def wait_ready(self) -> None:
        """Wait until it can fork.

        Raises:
            SandboxUnavailable: it failed to start, or cannot keep sessions off the network.
        """
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self.kill()
            raise unavailable(f"the fork server did not start within {_START_S:g} s") from None

    async def fork(self) -> Kernel:
        """Fork a confined session that waits for its pictures."""
        await self.wait_ready()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise unavailable(f"no socket for a session: {error}") from error
        with theirs:
            ours.setblocking(False)
            kernel = Kernel(self._num_started, ours, self.loop.create_future())
            # Nobody may be waiting when a session ends; that is no fault.
            kernel.exit.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._num_started += 1
            self._kernels[kernel.number] = kernel
            try:
                await self._order(kernel, "fork", [theirs.fileno()])
            except BaseException:
                self._kernels.pop(kernel.number, None)
                ours.close()
                raise
        return kernel

    async def _order(self, kernel: Kernel, name: str, descriptors: list[int]) -> None:
        message = json.dumps({"op": name, "id": kernel.number}).encode()
        async with self._orders:
            while True:
                if self.is_dead:
                    raise unavailable("the fork server is gone")
                try:
                    socket.send_fds(self._control, [message], descriptors)
                except BlockingIOError:
                    await asyncio.sleep(0.002)
                except OSError as error:
                    raise unavailable(f"the fork server is gone: {error}") from error
                else:
                    return

    def kill(self) -> None:
        """End the fork server; its sessions die with it."""
        self._process.kill()
        self._bury("it was ended")

    def discard(self, kernel: Kernel) -> None:
        """Kill a session without waiting for its end."""
        kernel.channel.close()
        if self.is_dead or kernel.exit.done():
            return
        message = json.dumps({"op": "kill", "id": kernel.number}).encode()
        try:
            self._control.send(message)
        except BlockingIOError:
            self.loop.call_later(0.01, self.discard, kernel)
        except OSError as error:
            self._bury(str(error))

    async def end(self, kernel: Kernel) -> None:
        """Kill a session and wait until it is gone."""
        self.discard(kernel)
        if self.is_dead:
            return
        with contextlib.suppress(SandboxUnavailable):
            await asyncio.shield(kernel.exit)

    async def measure_cpu_s(self, kernel: Kernel) -> float:
        """Return the CPU seconds that a session has used, 0 where it is gone."""
        answer = self.loop.create_future()
        kernel.cpu.append(answer)
        await self._order(kernel, "cpu", [])
        return float(await answer)

    async def close(self) -> None:
        """End the fork server and all its sessions, and wait until they are gone."""
        self._bury("it was closed")
        waiting = self.loop.run_in_executor(None, self._stop)
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener
        await asyncio.shield(waiting)
        self._control.close()

    def abandon(self) -> None:
        """End the fork server of an event loop that is gone."""
        self.is_dead = True
        self._stop()
        self._control.close()

    def _stop(self) -> None:
        # It removes the boxes of its sessions when the host hangs up.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def _listen(self) -> None:
        while True:
            try:
                message = await self.loop.sock_recv(self._control, 1 << 16)
            except OSError as error:
                self._bury(str(error))
                return
            if not message:
                self._bury("its connection ended")
                return
            self._hear(json.loads(message))

    def _hear(self, event: dict[str, object]) -> None:
        match event["event"]:
            case "ready":
                self._begin(Isolation(**event["isolation"]))  # type: ignore[arg-type]  # sent by our own server
            case "failed":
                self._bury(str(event["error"]))
            case "cpu":
                kernel = self._kernels.get(int(str(event["id"])))
                if kernel is not None and kernel.cpu:
                    _resolve(kernel.cpu.pop(0), float(str(event["cpu_s"])))
            case "exit":
                self._note_exit(event)

    def _note_exit(self, event: dict[str, object]) -> None:
        kernel = self._kernels.pop(int(str(event["id"])), None)
        if kernel is None:
            return
        for waiting in kernel.cpu:
            _resolve(waiting, 0.0)
        if kernel.exit.done():
            return
        if event["code"] is None:
            kernel.exit.set_exception(unavailable(f"no session: {event['error']}"))
        else:
            kernel.exit.set_result(int(str(event["code"])))

    def _begin(self, isolation: Isolation) -> None:
        self.isolation = isolation
        if not isolation.is_offline:
            self._bury("this machine has neither network namespaces nor seccomp")
            self._process.kill()
            return
        logger.info("fork server %d: %s", self.pid, "; ".join(isolation.notes))
        if not isolation.has_jail and not isolation.landlock:
            logger.warning("sandbox sessions can read this machine's files")
        _resolve(self._ready, None)

    def _bury(self, why: str) -> None:
        if self.is_dead:
            return
        self.is_dead = True
        error = unavailable(f"the fork server is gone: {why}")
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()
        for kernel in self._kernels.values():
            for waiting in kernel.cpu:
                _resolve(waiting, 0.0)
            if not kernel.exit.done():
                kernel.exit.set_exception(error)
        self._kernels.clear()


def _resolve(future: "asyncio.Future[_T]", value: _T) -> None:
    if not future.done():
        future.set_result(value)


def unavailable(what: str) -> SandboxUnavailable:
    """Return the error for a sandbox that failed."""
    return SandboxUnavailable("process sandbox", what, "try again; it restarts by itself")
