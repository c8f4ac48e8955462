"""Runs one command and leaves nothing of it behind: `python flows/tether.py SECONDS COMMAND...`.

It stands between a flow and each command that the flow starts, and takes in whatever that command
loses. That serves two ends that signals alone do not. A process that ignores SIGTERM ends as well,
even where the flow was killed and can insist on nothing. And somebody collects what has died:
without an init that does (most containers have none) a dead DVC would stay in the table of
processes, and the next DVC would take it for one that still holds its files.

It runs as a file, without this package and its imports, since every stage waits for its start.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ASK_EVERY_S = 0.1
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LIBC = ctypes.CDLL(None)


def main(patience_s: float, command: Sequence[str]) -> int:
    """Run the command and return its exit status, 128 + N where signal N has ended it.

    Args:
        patience_s: time between SIGTERM and SIGKILL for what is still there when this process is
            told to end, or when the command has ended.
        command: what to run.
    """
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # Where a parent ignores it, children would vanish without a status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked signals wait to be asked for, so none comes between two steps.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDINGS, signal.SIGCHLD})
    child = _start(command, before)
    status: int | None = None
    deadline_s: float | None = None
    while True:
        came = signal.sigtimedwait({*_ENDINGS, signal.SIGCHLD}, _ASK_EVERY_S if deadline_s else 60)
        ended, has_more = _collect(child)
        status = ended if status is None else status
        if not has_more:
            return 1 if status is None else status
        is_asked_to_end = came is not None and came.si_signo in _ENDINGS
        if deadline_s is None and (is_asked_to_end or status is not None):
            deadline_s = time.monotonic() + patience_s
            _signal_group(child, signal.SIGTERM)
        elif deadline_s is not None and time.monotonic() > deadline_s:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)


def _start(command: Sequence[str], mask: set[int | signal.Signals]) -> int:
    """Start the command in a session of its own that the kernel ends with this process."""
    tether = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if os.getppid() == tether:
        try:
            os.execvp(command[0], list(command))
        except OSError as fault:
            os.write(2, f"{command[0]}: {fault.strerror}\n".encode())
    os._exit(127)


def _collect(child: int) -> tuple[int | None, bool]:
    """Take what has died from the table of processes.

    Returns:
        The exit status of the command where it was among them, and whether anything is left.
    """
    status = None
    while True:
        try:
            pid, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == child:
            code = os.waitstatus_to_exitcode(raw)
            status = code if code >= 0 else 128 - code


def _children() -> list[int]:
    """Return the processes that are children of this one; whatever loses its parent becomes one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(folder.name))
    return found


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
