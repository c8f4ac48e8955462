"""A system-call filter: no processes, no sockets, no signals to others, no kernel surface.

It is a list of refusals: what is not named is allowed. A refused call fails with EPERM, so that
Python raises and the session lives.
"""

import ctypes
import os
import struct

from agentic_vlm.sandbox import linux

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

# name: numbers on x86_64 and aarch64; -1 where the machine lacks it. Numbers from 424 on agree.
_REFUSED = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "memfd_create": (319, 279), "shmget": (29, 194),
    "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "personality": (135, 92), "init_module": (175, 105), "finit_module": (313, 273),
    "kexec_load": (246, 104), "open_by_handle_at": (304, 265), "setpriority": (141, 140),
    "sched_setaffinity": (203, 122), "syslog": (103, 116), "clock_settime": (227, 112),
    "settimeofday": (164, 170), "adjtimex": (159, 171), "mknodat": (259, 33), "mknod": (133, -1),
    "modify_ldt": (154, -1), "pidfd_send_signal": (424, 424), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442), "memfd_secret": (447, 447),
}  # fmt: skip
# Landlock lets these through, so they are refused where no mount protects the host's files.
_METADATA = {
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "truncate": (76, 45),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), (435, 435)
_KILL_CALL, _TGKILL, _PRLIMIT = (62, 129), (234, 131), (302, 261)
_FCNTL, _IOCTL, _PRCTL, _SENDTO = (72, 25), (16, 29), (157, 167), (44, 206)


def is_supported() -> bool:
    """Return whether the numbers of this machine are known."""
    return linux.MACHINE in _ARCHITECTURES


def restrict(*, has_private_files: bool) -> None:
    """Filter the calls of this process for good. `no_new_privs` must be set.

    Args:
        has_private_files: whether mounts keep the host's files out of reach.
    """
    own = os.getpid()
    refused = list(_REFUSED.values()) + ([] if has_private_files else list(_METADATA.values()))
    rules = [(numbers, [_return(_ERRNO | _EPERM)]) for numbers in refused]
    rules += [
        (_CLONE, [_load(0, 0), _op(_JUMP_SET, _CLONE_THREAD, 0, 1), _return(_ALLOW), _refuse()]),
        # glibc falls back to clone, whose flags can be looked at.
        (_CLONE3, [_return(_ERRNO | _ENOSYS)]),
        (_KILL_CALL, _only(0, own)),
        (_TGKILL, _only(0, own)),
        (_PRLIMIT, _only(0, 0, own)),
        # Signals by the back door: F_SETOWN, F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP; TIOCSTI.
        (_FCNTL, _except(1, 8, 10, 15)),
        (_IOCTL, _except(1, 0x8901, 0x8902, 0x5412)),
        # The parent's death must stay deadly, and the process unreadable to its siblings.
        (_PRCTL, _except(0, linux.PR_SET_PDEATHSIG, linux.PR_SET_DUMPABLE)),
        # A datagram pair could reach any socket file by address.
        (_SENDTO, [_load(4, 0), _op(_JUMP_EQUAL, 0, 0, 3), _load(4, 4),
                   _op(_JUMP_EQUAL, 0, 0, 1), _return(_ALLOW), _refuse()]),
    ]  # fmt: skip
    program = b"".join(_program(rules))
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    linux.call(317 if linux.MACHINE == "x86_64" else 277, 1, 0, header)


def _program(rules: list[tuple[tuple[int, int], list[bytes]]]) -> list[bytes]:
    column = list(_ARCHITECTURES).index(linux.MACHINE)
    program = [
        _op(_LOAD, 4),
        _op(_JUMP_EQUAL, _ARCHITECTURES[linux.MACHINE], 1, 0),
        _return(_KILL),
        _op(_LOAD, 0),
    ]
    if linux.MACHINE == "x86_64":
        program += [_op(_JUMP_GREATER_EQUAL, _X32, 0, 1), _return(_KILL)]
    for numbers, block in rules:
        if numbers[column] >= 0:
            program += [_op(_JUMP_EQUAL, numbers[column], 0, len(block)), *block]
    return [*program, _return(_ALLOW)]


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
