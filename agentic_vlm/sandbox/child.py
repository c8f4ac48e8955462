"""A session process as the host sees it: its socket, its output, its signals, its clock."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

from agentic_vlm.sandbox.arena import Arena, copy_memory
from agentic_vlm.sandbox.channel import Answers

_STOP_AFTER_S = 0.05
_MAX_RAW_BYTES = 65_536


class Kernel:
    """One session process. It belongs to the event loop that forked it."""

    def __init__(
        self, number: int, channel: socket.socket, *, output_fd: int, arena_fd: int
    ) -> None:
        """Keep the host's ends.

        Args:
            number: name towards the fork server.
            channel: frames and pixels.
            output_fd: reading end of descriptors 1 and 2 of the session.
            arena_fd: memory that holds what the session printed so far.
        """
        loop = asyncio.get_running_loop()
        self.number = number
        self.channel = channel
        self.answers = Answers(channel)
        self.exit: asyncio.Future[int] = loop.create_future()
        """Exit code; negative: minus the signal. Fails with SandboxUnavailable with the server."""
        self.started: asyncio.Future[None] = loop.create_future()
        """Done when signals can be sent."""
        self.box = ""
        """Folder that the session writes to, where it is not a mount of its own."""
        self._output_fd = output_fd
        self._arena_fd = arena_fd
        self._pidfd = -1
        self.pid = 0
        """Process id on this machine; 0 before `started`."""
        self._is_discarded = False
        self._is_stopped = False
        self._stopping: asyncio.TimerHandle | None = None
        for future in (self.exit, self.started):
            # Nobody may be waiting when a session ends; that is no fault.
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def begin(self, pidfd: int, box: str) -> None:
        """Take the process descriptor that the fork server sent."""
        self._pidfd, self.box = pidfd, box
        if self._is_discarded:
            self.signal(signal.SIGKILL)
        self.pid = _pid_of(pidfd)
        if not self.started.done():
            self.started.set_result(None)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone takes none."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def cpu_s(self) -> float:
        """Return the CPU seconds that the session has used, 0 where nobody can tell."""
        if self.pid <= 0 or self.exit.done():
            return 0.0
        try:
            # The clock of a process (man clock_getcpuclockid).
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0

    def runnable_s(self) -> float:
        """Return the seconds for which its threads computed or waited for a core.

        0 where the kernel does not tell.
        """
        total_ns = 0
        for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat") if self.pid else ():
            with contextlib.suppress(OSError, ValueError):
                run_ns, wait_ns, _ = task.read_text().split()
                total_ns += int(run_ns) + int(wait_ns)
        return total_ns / 1e9

    def take_raw_output(self) -> str:
        """Return what was written to descriptors 1 and 2 past Python; at most 64 KiB are kept."""
        if self._output_fd < 0:
            return ""
        try:
            return os.read(self._output_fd, _MAX_RAW_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""

    def take_printed(self, *, max_chars: int) -> Arena:
        """Return what the session has printed in the cell that it runs, even if it died."""
        return Arena(copy_memory(self._arena_fd, max_chars=max_chars), max_chars=max_chars)

    def go(self) -> None:
        """Let the session run."""
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        if self._is_stopped:
            self._is_stopped = False
            self.signal(signal.SIGCONT)

    def stop_soon(self) -> None:
        """Stop the session unless a cell follows at once: its threads get no time of ours."""
        loop = asyncio.get_running_loop()
        self._stopping = loop.call_later(_STOP_AFTER_S, self._stop)

    def _stop(self) -> None:
        self._stopping = None
        self._is_stopped = True
        self.signal(signal.SIGSTOP)

    def discard(self) -> None:
        """Kill the session without waiting for its end."""
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        self._is_discarded = True
        self.channel.close()
        self.signal(signal.SIGKILL)

    def note_exit(self, code: int | Exception) -> None:
        """Take the exit code, or the reason why there is none."""
        if self.exit.done():
            return
        if isinstance(code, Exception):
            self.exit.set_exception(code)
            if not self.started.done():
                self.started.set_exception(code)
        else:
            self.exit.set_result(code)
        self.started.cancel()
        self._is_discarded = True
        self.close_pidfd()

    def close_pidfd(self) -> None:
        """Give up the process descriptor: the process is gone."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def release(self) -> None:
        """Close the host's ends; afterwards there is no output to take."""
        self.discard()
        for descriptor in (self._output_fd, self._arena_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._output_fd = self._arena_fd = -1


def _pid_of(pidfd: int) -> int:
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
