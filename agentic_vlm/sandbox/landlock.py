"""Landlock: which files a session may open, without privileges and without mounts."""

import contextlib
import os
import struct
from collections.abc import Sequence

from agentic_vlm.sandbox import linux

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE = 1 << 14
# Rights that each version of the interface knows (kernel: include/uapi/linux/landlock.h).
_NUM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READ = _EXECUTE | _READ_FILE | _READ_DIR


def version() -> int:
    """Return the version of the interface, 0 where the kernel has none."""
    try:
        return linux.call(_CREATE, None, 0, 1)
    except OSError:
        return 0


def restrict(*, readable: Sequence[str], devices: Sequence[str], writable: str) -> int:
    """Allow this process these paths only, and return the version that is in force.

    From version 4 on, TCP is refused too; from 6 on, abstract sockets and signals to others.

    Args:
        readable: folders and files that may be read and mapped; missing ones are skipped.
        devices: device files that may be read and written.
        writable: the folder in which everything is allowed but device files.
    """
    abi = version()
    if abi == 0:
        return 0
    handled = (1 << _NUM_RIGHTS[min(abi, 5)]) - 1
    attributes = struct.pack("<QQQ", handled, 3, 3)
    ruleset = linux.call(_CREATE, attributes, 8 if abi < 4 else 16 if abi < 6 else 24, 0)
    try:
        for path in readable:
            _allow(ruleset, path, handled & _READ)
        for path in devices:
            _allow(ruleset, path, handled & (_READ_FILE | _WRITE_FILE))
        _allow(ruleset, writable, handled & ~(_MAKE_CHAR | _MAKE_BLOCK))
        linux.call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(path):
                rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
            linux.call(_ADD, ruleset, _PATH_BENEATH, struct.pack("<Qi", rights, descriptor), 0)
        finally:
            os.close(descriptor)
