"""System calls that Python does not wrap. Every failure is an OSError."""

import ctypes
import os
import platform

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38

_ATTR_RDONLY, _ATTR_NOSUID = 1, 2
_AT_RECURSIVE = 0x8000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.restype = ctypes.c_void_p

MACHINE = platform.machine()


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call by number."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide))


def unshare(flags: int) -> None:
    """Move this process to new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)))


def setns(descriptor: int, flags: int) -> None:
    """Enter, or for processes to come choose, the namespaces behind a descriptor."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)))


def map_shared(descriptor: int, size_bytes: int) -> memoryview:
    """Map a file for good. Unlike `mmap.mmap`, the mapping keeps no descriptor open."""
    address = _libc.mmap(None, ctypes.c_size_t(size_bytes), 3, 1, descriptor, ctypes.c_long(0))
    if address in (None, ctypes.c_void_p(-1).value):
        _checked(-1)
    return memoryview((ctypes.c_char * size_bytes).from_address(address)).cast("B")


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    _checked(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(n) for n in (value, 0, 0, 0))))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system."""
    texts = [text.encode() for text in (source, target, kind)]
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), options.encode()))


def make_read_only(target: str) -> None:
    """Make a mount and all mounts below it read-only; a remount would reach the top one only."""
    attributes = _ATTR_RDONLY | _ATTR_NOSUID
    packed = b"".join(n.to_bytes(8, "little") for n in (attributes, 0, 0, 0))
    call(442, -100, target.encode() + b"\0", _AT_RECURSIVE, packed, len(packed))


def pivot_root(new_root: str) -> None:
    """Make a mounted folder the root and drop the old root."""
    os.chdir(new_root)
    call(155 if MACHINE == "x86_64" else 41, b".\0", b".\0")
    _checked(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)))
    os.chdir("/")


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    version_3 = (0x20080522).to_bytes(4, "little") + bytes(4)
    _checked(_libc.capset(version_3, bytes(24)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
