"""The process that compares mathematics: a JSON row in, a JSON row out, until input ends.

Math-Verify limits its time by a signal that works in main threads only, and symbolic mathematics
can run forever or fill the memory. So it runs here, in a child that the kernel kills when its CPU
time is over; the parent of the child has the libraries loaded and forks the next one at once.
"""

import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from math_verify import parse, verify

_MEMORY_BYTES = 2 << 30
_MAX_ROW_BYTES = 1 << 20
_NEAR = 1e-5


def compare(reference: str, answer: str) -> str:
    """Return `equal`, `near`, `different`, or `unknown` where one of them cannot be read."""
    expected = parse(reference, parsing_timeout=None)
    given = parse(answer, parsing_timeout=None)
    if not expected or not given:
        return "unknown"
    if verify(expected, given, timeout_seconds=None):
        return "equal"
    return "near" if _is_near(expected[0], given[0]) else "different"


def _is_near(expected: object, given: object) -> bool:
    """Whether two numbers agree to many figures, as a rounded irrational number does."""
    try:
        right, number = float(expected), float(given)  # type: ignore[arg-type]  # sympy numbers are floats to it
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return False
    is_near = 0 < abs(right - number) <= _NEAR * abs(right)
    return is_near and math.isfinite(right) and not right.is_integer()


def compare_safely(reference: str, answer: str) -> str:
    """Return the comparison; what the libraries stumble over is `unknown`."""
    try:
        return compare(reference, answer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return "unknown"
    except (AssertionError, MemoryError, NotImplementedError, RecursionError):
        return "unknown"


def serve() -> None:
    """Answer rows `[reference, answer, seconds]`; the first reply says `ready`."""
    # Grammars are built by the first comparison: once here, and not in every child.
    compare_safely("$x^2$", r"$\frac{1}{2}$")
    _reply("ready")
    while True:
        child = os.fork()
        if child == 0:
            _serve_as_child()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        # Killed by its timer, by the memory limit, or by a fault in compiled code.
        _reply(["unknown", None])


def _serve_as_child() -> NoReturn:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    for row in _iter_rows():
        reference, answer, seconds = json.loads(row)
        # CPU time, so that a verdict does not depend on what else the machine does.
        signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-3))
        start = time.process_time()
        verdict = compare_safely(reference, answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _reply([verdict, time.process_time() - start])
    os._exit(0)


def _iter_rows() -> Iterator[bytes]:
    # Unbuffered: a row that a child has read and not answered dies with it, and no other.
    pending = b""
    while chunk := os.read(0, _MAX_ROW_BYTES):
        pending += chunk
        while b"\n" in pending:
            row, _, pending = pending.partition(b"\n")
            yield row


def _reply(row: str | list[str | float | None]) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(2000)
    serve()
