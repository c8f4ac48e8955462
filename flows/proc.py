"""Child processes that cannot outlive the flow."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from flows.settings import WORKER_VARIABLE

_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 10.0
# Isolated and without site packages: it needs none, and they cost more than the rest of its start.
_TETHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")), str(_PATIENCE_S))
# Looked up before any fork: a child of a process with threads may not load a library.
_LIBC = ctypes.CDLL(None)

_children: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()
_is_ending = threading.Event()


class FlowEnds(RuntimeError):
    """The flow is being ended: nothing new is started, as by a retry of what was just killed."""


@contextmanager
def ending_children() -> Iterator[None]:
    """End every running child when the block is left by an exception, as in a cancellation."""
    _is_ending.clear()
    with contextlib.ExitStack() as unless_done:
        unless_done.callback(kill_children)
        yield
        unless_done.pop_all()


def waits_until_ending(seconds: float) -> bool:
    """Wait that long and tell whether the flow is being ended; return at once when it is."""
    return _is_ending.wait(seconds)


def start_child(
    command: Sequence[str], *, cwd: Path, output: int | IO[str]
) -> subprocess.Popen[str]:
    """Start a command on a tether, which ends it and all that it started.

    That happens when the command ends, when this thread or process dies, however it dies, and by
    `kill_children` and `end_child`.

    Args:
        command: what to run.
        cwd: where.
        output: takes its output, standard error included; `subprocess.PIPE` to read it here.

    Raises:
        FlowEnds: `kill_children` was called.
    """
    if _is_ending.is_set():
        raise FlowEnds(f"not started: {' '.join(command)}")
    child = subprocess.Popen(
        [*_TETHER, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=partial(_die_with_parent, os.getpid()),
    )
    with _lock:
        _children.add(child)
    return child


def end_child(child: subprocess.Popen[str]) -> None:
    """End a child and what it started: TERM, ten seconds of patience, KILL by its tether."""
    try:
        _kill(child)
    finally:
        with _lock:
            _children.discard(child)


def run_child(command: Sequence[str], *, cwd: Path, on_line: Callable[[str], None]) -> int:
    """Run a command to its end, as `start_child` does, and return its exit status.

    It is 128 + N where signal N ended the command.

    Args:
        command: what to run.
        cwd: where.
        on_line: takes each line of output, standard error included.
    """
    child = start_child(command, cwd=cwd, output=subprocess.PIPE)
    with contextlib.ExitStack() as unless_done:
        unless_done.callback(end_child, child)
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                on_line(line.rstrip("\n"))
        status = child.wait()
        unless_done.pop_all()
    with _lock:
        _children.discard(child)
    return status


def kill_children() -> None:
    """End every running child and what it started, as `end_child` does."""
    _is_ending.set()
    with _lock:
        running = list(_children)
    for child in running:
        _signal(child, signal.SIGTERM)
    for child in running:
        _kill(child)


@contextmanager
def ending_with_worker() -> Iterator[None]:
    """Let the kernel end this flow run when the worker that started it dies.

    Prefect gives a flow run a session of its own, and a worker that is killed leaves it running.
    The signal is the one of a cancellation, so the flow ends its stages and tells the server so. A
    flow that no worker has started is left alone.

    Raises:
        SystemExit: the worker has died already.
    """
    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        yield
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    worker = int(os.environ.get(WORKER_VARIABLE, os.getppid()))
    with contextlib.ExitStack() as unless_done:
        unless_done.callback(_drop_lost_output, worker)
        if os.getppid() != worker:
            raise SystemExit(f"the worker {worker} that started this flow run is gone")
        yield
        unless_done.pop_all()


def _drop_lost_output(worker: int) -> None:
    """Send what is still written to nowhere where the worker that showed it is gone.

    Prefect logs how a run ended before it reports it, and its console takes a broken pipe for a
    reason to exit: the server would show the run as running for ever.
    """
    if os.getppid() == worker:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _kill(child: subprocess.Popen[str]) -> None:
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        # It ends what it holds before it ends itself.
        child.wait(2 * _PATIENCE_S)
    if child.poll() is None:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    # Tells its tether alone; what that holds is in a session of its own.
    child.send_signal(number)


def _die_with_parent(parent: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
