"""Attacks that a confined process makes on itself at start: each must be refused.

They run once per fork server, before any model code. A sandbox with a hole refuses to start.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable

from agentic_vlm.sandbox import linux

_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
_OUT_OF_REACH = _REFUSED | {errno.ENOENT, errno.EROFS, errno.ENOTDIR, errno.EXDEV}


def run(canary: str) -> list[str]:
    """Return the names of the attacks that were not refused, and of what must work but does not.

    Args:
        canary: a file of the host.
    """
    holes = [name for name, attack in _calls().items() if not _is_refused(attack, _REFUSED)]
    files = _files(canary)
    holes += [name for name, attack in files.items() if not _is_refused(attack, _OUT_OF_REACH)]
    return holes + [f"must work: {name}" for name, use in _uses().items() if not _works(use)]


def names() -> list[str]:
    """Return the names of all attacks, and of what must work."""
    return [*_calls(), *_files(""), *(f"must work: {name}" for name in _uses())]


def _is_refused(attack: Callable[[], object], numbers: frozenset[int]) -> bool:
    try:
        attack()
    except OSError as error:
        return error.errno in numbers
    return False


def _works(use: Callable[[], object]) -> bool:
    try:
        use()
    except (OSError, RuntimeError):
        return False
    return True


def _files(canary: str) -> dict[str, Callable[[], object]]:
    library = os.path.dirname(os.__file__)
    return {
        "read a file of the host": lambda: open(canary).close(),
        "write a file of the host": lambda: open(canary, "a").close(),
        "change the mode of a file of the host": lambda: os.chmod(canary, 0o777),
        "change the times of a file of the host": lambda: os.utime(canary, (0, 0)),
        "delete a file of the host": lambda: os.unlink(canary),
        "link to a file of the host": lambda: os.link(canary, "linked"),
        "truncate a file of the host": lambda: os.truncate(canary, 0),
        "read a file of the host through a symlink": lambda: _read_by_symlink(canary),
        "write beside the libraries": lambda: open(f"{library}/sandbox-test", "w").close(),
        "change the mode of a library": lambda: os.chmod(os.__file__, 0o666),
        "read /proc/1/environ": lambda: open("/proc/1/environ").close(),
        "read /proc/self/mem": lambda: open("/proc/self/mem").close(),
        "list /sys/kernel": lambda: os.listdir("/sys/kernel"),
        "list /dev/shm": lambda: os.listdir("/dev/shm"),
    }


def _read_by_symlink(canary: str) -> None:
    os.symlink(canary, "symlinked")
    open("symlinked").close()


def _calls() -> dict[str, Callable[[], object]]:
    def call(x86_64: int, aarch64: int, *arguments: int | bytes) -> Callable[[], object]:
        number = x86_64 if linux.MACHINE == "x86_64" else aarch64
        return lambda: linux.call(number, *arguments)

    return {
        "fork": _fork,
        "execute a program": lambda: os.execv("/bin/sh", ["sh", "-c", "exit"]),
        "signal every process": lambda: os.kill(-1, 0),
        "open a TCP socket": lambda: socket.socket(socket.AF_INET),
        "open a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "open a Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "send a datagram to a socket file": _send_to_file,
        "ptrace": call(101, 117, 0, 0, 0, 0),
        "read the memory of a process": call(310, 270, 1, 0, 0, 0, 0, 0),
        "new user namespace": lambda: linux.unshare(linux.CLONE_NEWUSER),
        "mount": lambda: linux.mount("none", "/tmp", "tmpfs", 0),
        "chroot": lambda: os.chroot("/"),
        "memory file": lambda: os.memfd_create("x"),
        "io_uring": call(425, 425, 1, b"\0" * 120),
        "bpf": call(321, 280, 0, b"\0" * 64, 64),
        "userfaultfd": call(323, 282, 0),
        "performance events": call(298, 241, b"\0" * 128, 0, -1, -1, 0),
        "keyring": call(250, 219, 0, -3, 0),
        "System V shared memory": call(29, 194, 0, 4096, 0o1600),
        "become root": lambda: os.setresuid(0, 0, 0),
        "raise priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
        "choose cores": lambda: os.sched_setaffinity(0, {0}),
        "device file": lambda: os.mknod("device", 0o020666, os.makedev(1, 1)),
    }


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _send_to_file() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"x", "/nowhere/socket")


def _uses() -> dict[str, Callable[[], object]]:
    return {
        "write to the box": lambda: open("note", "w").close(),
        "threads": _start_thread,
        "socket pairs": _pair_sockets,
    }


def _pair_sockets() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()


def _start_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
