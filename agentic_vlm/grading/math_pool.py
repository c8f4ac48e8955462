"""MathPool: compares mathematics in processes of its own, each killed when it takes too long."""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

from agentic_vlm.errors import JudgeUnavailable

_START_TIMEOUT_S = 120.0
_NUM_WORKERS = 2


class _Worker:
    """One process; dead after the first comparison that does not come back.

    Raises:
        JudgeUnavailable: the process does not start.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._process = subprocess.Popen(
            # By path, so that it starts in any folder; -P keeps this package's modules from
            # hiding standard ones.
            [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.is_alive = True
        if self._read_line(_START_TIMEOUT_S) is None:
            self.close()
            raise JudgeUnavailable(
                "grading, mathematics",
                "the process for symbolic comparison does not start",
                "see what `python -m agentic_vlm.grading.math_worker < /dev/null` says",
            )

    def ask(self, reference: str, answer: str, timeout_s: float) -> bool | None:
        """Return the reply; None where there is none in time, and then the process is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([reference, answer]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()
            return None
        line = self._read_line(timeout_s)
        if line is None:
            self.close()
            return None
        reply: bool | None = json.loads(line)
        return reply

    def _read_line(self, timeout_s: float) -> bytes | None:
        assert self._process.stdout is not None
        stdout = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            # poll, because select refuses file numbers above 1023.
            poll = select.poll()
            poll.register(stdout, select.POLLIN | select.POLLHUP)
            if left <= 0 or not poll.poll(left * 1000):
                return None
            chunk = os.read(stdout, 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """Kill the process."""
        self.is_alive = False
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


class MathPool:
    """Up to two workers, started by the first comparison that needs them; threads may share it."""

    def __init__(self) -> None:
        """Start nothing."""
        self._slots = threading.BoundedSemaphore(_NUM_WORKERS)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def is_equal(self, reference: str, answer: str, *, timeout_s: float) -> bool | None:
        """Return whether two expressions are equal; None where that is not known in time.

        Raises:
            JudgeUnavailable: no process for the comparison can be started.
        """
        with self._slots:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            reply = worker.ask(reference, answer, timeout_s)
            with self._lock:
                if worker.is_alive:
                    self._idle.append(worker)
            return reply

    def close(self) -> None:
        """Kill idle workers."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


@cache
def _pool_of(process_id: int) -> MathPool:
    pool = MathPool()
    atexit.register(pool.close)
    return pool


def shared_pool() -> MathPool:
    """Return the pool of this process; a forked child gets one of its own."""
    return _pool_of(os.getpid())
