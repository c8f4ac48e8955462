"""A system-call filter: no processes, no sockets, no signals to others, no kernel surface.

It is a list of permissions: what is not named is refused with EPERM, so that Python raises and
the session lives. Calls of another architecture kill the process.
"""

import ctypes
import struct
from functools import cache

from agentic_vlm.sandbox import linux
from agentic_vlm.sandbox.calls import ALWAYS, METADATA

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
# Every CLONE_NEW* flag.
_NEW_SPACES = 0x7E020080

_CLONE, _CLONE3, _KILL_CALL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_PRLIMIT, _FCNTL, _IOCTL, _PRCTL = (302, 261), (72, 25), (16, 29), (157, 167)
_SENDTO, _SOCKETPAIR = (44, 206), (53, 199)

_AF_UNIX = 1
_PR_NAMES = (15, 16)
# F_SETOWN, F_SETSIG, F_SETOWN_EX and F_NOTIFY send signals by the back door; F_SETLEASE holds up
# whoever opens the file, which may be the host; F_SETPIPE_SZ takes kernel memory that no limit
# counts.
_FCNTL_REFUSED = (8, 10, 15, 1024, 1026, 1031)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of a descriptor.
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)


def is_supported() -> bool:
    """Return whether the numbers of this machine are known and the kernel has filters."""
    if linux.MACHINE not in _ARCHITECTURES:
        return False
    try:
        linux.call(_number((317, 277)), 2, 0, struct.pack("<I", _ERRNO))
    except OSError:
        return False
    return True


def restrict(*, has_private_files: bool, own_pid: int) -> None:
    """Filter the calls of this process for good. `no_new_privs` must be set.

    Args:
        has_private_files: whether mounts keep the host's files out of reach.
        own_pid: process id of this process, the only one that it may signal.
    """
    code = program(has_private_files=has_private_files, own_pid=own_pid)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    linux.call(_number((317, 277)), 1, 0, header)


@cache
def program(*, has_private_files: bool, own_pid: int) -> bytes:
    """Return the filter as BPF instructions of eight bytes; see `restrict`."""
    rules = [
        (_CLONE, [_load(0, 0), _op(_JUMP_SET, _NEW_SPACES, 2, 0),
                  _op(_JUMP_SET, _CLONE_THREAD, 0, 1), _return(_ALLOW), _refuse()]),
        # glibc falls back to clone, whose flags can be looked at.
        (_CLONE3, [_return(_ERRNO | _ENOSYS)]),
        (_KILL_CALL, _only(0, own_pid)),
        (_TGKILL, _only(0, own_pid)),
        (_PRLIMIT, _only(0, 0, own_pid)),
        (_FCNTL, _except(1, *_FCNTL_REFUSED)),
        (_IOCTL, _only(1, *_IOCTL_ALLOWED)),
        (_PRCTL, _only(0, *_PR_NAMES)),
        (_SOCKETPAIR, _only(0, _AF_UNIX)),
        # A datagram pair could reach any socket file by address.
        (_SENDTO, [_load(4, 0), _op(_JUMP_EQUAL, 0, 0, 3), _load(4, 4),
                   _op(_JUMP_EQUAL, 0, 0, 1), _return(_ALLOW), _refuse()]),
    ]  # fmt: skip
    allowed = [*ALWAYS.values(), *(METADATA.values() if has_private_files else ())]
    parts = [
        _op(_LOAD, 4),
        _op(_JUMP_EQUAL, _ARCHITECTURES[linux.MACHINE], 1, 0),
        _return(_KILL),
        _op(_LOAD, 0),
    ]
    if linux.MACHINE == "x86_64":
        parts += [_op(_JUMP_GREATER_EQUAL, _X32, 0, 1), _return(_KILL)]
    for numbers, block in rules:
        if _number(numbers) >= 0:
            parts += [_op(_JUMP_EQUAL, _number(numbers), 0, len(block)), *block]
    for numbers in allowed:
        if _number(numbers) >= 0:
            parts += [_op(_JUMP_EQUAL, _number(numbers), 0, 1), _return(_ALLOW)]
    return b"".join([*parts, _refuse()])


def _number(numbers: tuple[int, int]) -> int:
    return numbers[list(_ARCHITECTURES).index(linux.MACHINE)]


def _only(argument: int, *values: int) -> list[bytes]:
    block = [_load(argument, 0)]
    for value in values:
        block += [_op(_JUMP_EQUAL, value, 0, 1), _return(_ALLOW)]
    return [*block, _refuse()]


def _except(argument: int, *values: int) -> list[bytes]:
    block = [_load(argument, 0)]
    for value in values:
        block += [_op(_JUMP_EQUAL, value, 0, 1), _refuse()]
    return [*block, _return(_ALLOW)]


def _load(argument: int, byte: int) -> bytes:
    return _op(_LOAD, 16 + 8 * argument + byte)


def _refuse() -> bytes:
    return _return(_ERRNO | _EPERM)


def _return(action: int) -> bytes:
    return _op(_RETURN, action)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
