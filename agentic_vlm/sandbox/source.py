"""A process that forks sessions, as the host sees it."""

import asyncio
import contextlib
import json
import os
import socket

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox import arena
from agentic_vlm.sandbox.child import Kernel


class KernelSource:
    """A process that forks sessions: its control socket and the sessions that came from it."""

    def __init__(self, control: socket.socket, *, max_output_chars: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_dead = False
        self.kernels: dict[int, Kernel] = {}
        self._max_output_chars = max_output_chars
        self._num_started = 0
        self._orders = asyncio.Lock()
        self._control = control
        self._control.setblocking(False)
        self.loop.add_reader(control.fileno(), self._listen)

    async def fork(self) -> Kernel:
        """Fork a confined session that waits for its opening."""
        opened: list[int] = []
        try:
            ours, theirs = socket.socketpair()
            opened += os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            opened.append(arena.create(max_chars=self._max_output_chars))
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            raise unavailable(f"no descriptors for a session: {error}") from error
        with theirs:
            ours.setblocking(False)
            kernel = Kernel(self._num_started, ours, output_fd=opened[0], arena_fd=opened[2])
            self._num_started += 1
            self.kernels[kernel.number] = kernel
            try:
                await self._order("fork", kernel.number, [theirs.fileno(), *opened[1:]])
            except (asyncio.CancelledError, SandboxUnavailable):
                self.kernels.pop(kernel.number, None)
                kernel.release()
                raise
            finally:
                os.close(opened[1])
        return kernel

    async def _order(self, name: str, number: int, descriptors: list[int]) -> None:
        message = json.dumps({"op": name, "id": number}).encode()
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

    async def end(self, kernel: Kernel) -> None:
        """Kill a session and wait until it is gone."""
        kernel.release()
        if not self.is_dead:
            with contextlib.suppress(SandboxUnavailable):
                await asyncio.shield(kernel.exit)

    def _listen(self) -> None:
        while not self.is_dead:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._control, 1 << 16, 4, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError as error:
                self.bury(str(error))
                return
            if not message:
                self.bury("its connection ended")
                return
            self._hear(json.loads(message), descriptors)

    def _hear(self, event: dict[str, object], descriptors: list[int]) -> None:
        match event["event"]:
            case "started":
                self.kernels[int(str(event["id"]))].begin(descriptors[0], str(event["box"]))
            case "exit":
                kernel = self.kernels.pop(int(str(event["id"])))
                if event["code"] is None:
                    kernel.note_exit(unavailable(f"no session: {event['error']}"))
                else:
                    kernel.note_exit(int(str(event["code"])))

    def bury(self, why: str) -> None:
        """Note that the process is gone, and tell everybody who waits."""
        if self.is_dead:
            return
        self.is_dead = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._control.fileno())
        error = unavailable(f"the fork server is gone: {why}")
        for kernel in self.kernels.values():
            if not self.loop.is_closed():
                kernel.note_exit(error)
        self.kernels.clear()


class Template(KernelSource):
    """A fork server that holds the pictures of one prompt; its sessions share them."""

    def close(self) -> None:
        """End the template and its sessions."""
        self.bury("it was closed")
        self._control.close()


def unavailable(what: str) -> SandboxUnavailable:
    """Return the error for a sandbox that failed."""
    return SandboxUnavailable("process sandbox", what, "try again; it restarts by itself")
