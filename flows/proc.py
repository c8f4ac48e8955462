"""Child processes that cannot outlive the flow."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 10.0
# Looked up before any fork: a child of a process with threads may not load a library.
_LIBC = ctypes.CDLL(None)

_children: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def run_child(command: Sequence[str], *, cwd: Path, on_line: Callable[[str], None]) -> int:
    """Run a command in a session of its own and return its exit status.

    The kernel ends it when this process dies, and `kill_children` ends it with all that it started.

    Args:
        command: what to run.
        cwd: where.
        on_line: takes each line of output, standard error included.
    """
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    with _lock:
        _children.add(child)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            on_line(line.rstrip("\n"))
        return child.wait()
    except BaseException:
        _kill(child)
        raise
    finally:
        with _lock:
            _children.discard(child)


def kill_children() -> None:
    """End every running child and what it started: TERM, ten seconds of patience, KILL."""
    with _lock:
        running = list(_children)
    for child in running:
        _signal(child, signal.SIGTERM)
    for child in running:
        _kill(child)


def _environment() -> dict[str, str]:
    """Return ours, with this interpreter first in PATH: dvc.yaml says `python`."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", "")])}


def _kill(child: subprocess.Popen[str]) -> None:
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_PATIENCE_S)
    # The group may outlive its leader: DVC dies at once and leaves the stage behind.
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
