"""MathPool: compares mathematics in processes of its own, each killed when it takes too long."""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading.latex import normalize_math

_START_TIMEOUT_S = 120.0
_NUM_WORKERS = 2
_WALL_PER_CPU = 20
_MAX_REMEMBERED = 10_000


class Equality(StrEnum):
    """What a comparison found."""

    EQUAL = "equal"
    NEAR = "near"
    """Numbers that agree to many figures, as a rounded root does with its exact form."""
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """One of the two cannot be read, or the time was over."""


class Comparison(NamedTuple):
    """What a comparison found, and what it cost."""

    equality: Equality
    cpu_s: float
    """CPU seconds of the worker; the whole limit where it ran out."""


class _Worker:
    """One process that forks a child per time limit.

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

    def ask(self, reference: str, answer: str, timeout_s: float) -> Comparison:
        """Return the reply; the worker ends a comparison after `timeout_s` of CPU time."""
        assert self._process.stdin is not None
        try:
            row = json.dumps([reference, answer, timeout_s]).encode() + b"\n"
            self._process.stdin.write(row)
            self._process.stdin.flush()
        except OSError:
            self.close()
            return Comparison(Equality.UNKNOWN, timeout_s)
        # A CPU second may take many of the wall on a busy machine; this is the safety net.
        line = self._read_line(_WALL_PER_CPU * timeout_s + _START_TIMEOUT_S)
        if line is None:
            self.close()
            return Comparison(Equality.UNKNOWN, timeout_s)
        verdict, cpu_s = json.loads(line)
        return Comparison(Equality(verdict), timeout_s if cpu_s is None else cpu_s)

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
        """Kill the process; its child ends with its input."""
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
        self._known: dict[tuple[str, str], Comparison] = {}

    def compare(self, reference: str, answer: str, *, timeout_s: float) -> Comparison:
        """Compare two expressions in LaTeX or plain text.

        A comparison that takes more than `timeout_s` of CPU time is `unknown`; the same two
        expressions are compared once per process, and cost what they cost then.

        Raises:
            JudgeUnavailable: no process for the comparison can be started.
        """
        if timeout_s <= 0:
            return Comparison(Equality.UNKNOWN, 0.0)
        key = (normalize_math(reference), normalize_math(answer))
        if key[0] == key[1]:
            return Comparison(Equality.EQUAL, 0.0)
        known = self._known.get(key)
        if known is not None:
            return known if known.cpu_s <= timeout_s else Comparison(Equality.UNKNOWN, timeout_s)
        found = self._ask(key, timeout_s)
        with self._lock:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            # A comparison that ran out of time may be asked again with more of it.
            if found.equality is not Equality.UNKNOWN:
                self._known[key] = found
        return found

    def _ask(self, key: tuple[str, str], timeout_s: float) -> Comparison:
        with self._slots:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            found = worker.ask(*key, timeout_s)
            with self._lock:
                if worker.is_alive:
                    self._idle.append(worker)
            return found

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
