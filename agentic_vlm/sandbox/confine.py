"""What a session process gives up before it reads its first byte."""

import contextlib
import os
import random
import signal
import sys
import tempfile
from dataclasses import dataclass, replace

from agentic_vlm.sandbox import jail, landlock, linux, seccomp

# Ids that no account uses (systemd hands them out for a process's lifetime). One per session, so
# that sessions can neither signal nor read one another.
_FIRST_UID, _NUM_UIDS = 61184, 4096


@dataclass(frozen=True, slots=True)
class Isolation:
    """Which layers hold for the sessions of a fork server."""

    has_jail: bool
    """Own processes, network and root folder."""
    landlock: int = 0
    """Version of Landlock in force; 0 where the kernel has none."""
    has_seccomp: bool = False
    """System calls are filtered."""
    shares: tuple[str, ...] = ()
    """Folders of the host that sessions may read."""
    has_own_uid: bool = False
    """Each session has an id, or a user namespace, of its own."""

    @property
    def tier(self) -> str:
        """`A`: namespaces; `B`: Landlock and seccomp alone; empty: model code must not run here."""
        if not self.has_seccomp:
            return ""
        return "A" if self.has_jail else "B" if self.landlock else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The layers as words, and what is missing."""
        held = (
            "namespaces: own processes, network, root" if self.has_jail else "no namespaces",
            f"landlock {self.landlock}" if self.landlock else "no landlock",
            "seccomp" if self.has_seccomp else "no seccomp",
            "own user id per session" if self.has_own_uid else "user id shared by sessions",
        )
        return (*held, *(f"readable: {share}" for share in self.shares))


def enter(
    isolation: Isolation, *, session: int, box: str, box_mb: int, max_files: int
) -> Isolation:
    """Confine this process for good and return the layers that hold.

    Args:
        isolation: what the fork server itself has.
        session: number of the session.
        box: working folder outside a jail; empty inside, where each session gets its own.
        box_mb: size of the box inside a jail, MiB.
        max_files: files and folders that such a box holds.

    Raises:
        OSError: a layer that this machine has could not be put on.
    """
    is_root = os.getuid() == 0 and linux_root()
    uid = _FIRST_UID + session % _NUM_UIDS if is_root and _can_reach(isolation) else 0
    if isolation.has_jail:
        jail.enter_box(uid=uid, box_mb=box_mb, max_files=max_files)
        box = jail.BOX
    elif uid:
        os.chown(box, uid, uid)
    os.chdir(box)
    has_own_uid = _become(uid, is_root=is_root, isolation=isolation)
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    # Last change of identity is behind us: such a change would clear the death signal.
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    readable = [*jail.readable_paths(), *isolation.shares]
    abi = landlock.restrict(readable=readable, devices=jail.DEVICES, writable=box)
    _point_to(box)
    has_seccomp = seccomp.is_supported()
    if has_seccomp:
        seccomp.restrict(has_private_files=isolation.has_jail, own_pid=os.getpid())
    return replace(isolation, landlock=abi, has_seccomp=has_seccomp, has_own_uid=has_own_uid)


def linux_root() -> bool:
    """Return whether user 0 here is user 0 of the machine, not of a user namespace of ours."""
    return os.environ.get("AGENTIC_SANDBOX_START_UID", "0") == "0"


def _can_reach(isolation: Isolation) -> bool:
    # Inside a jail, mounts make a Python below a private home reachable for everybody.
    if isolation.has_jail:
        return True
    folder = sys.base_prefix
    while folder != "/":
        if not os.stat(folder).st_mode & 0o001:
            return False
        folder = os.path.dirname(folder)
    return True


def _become(uid: int, *, is_root: bool, isolation: Isolation) -> bool:
    if uid:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError:
            # A container that maps a few ids only.
            return False
        # Another fork server on this machine hands the same ids out; threads are counted for this
        # session alone in a user namespace of its own, which a container may refuse.
        with contextlib.suppress(OSError):
            linux.unshare(linux.CLONE_NEWUSER)
        return True
    if isolation.has_jail and not is_root:
        # Without a map no id can be taken on, and threads are counted for this session alone.
        linux.unshare(linux.CLONE_NEWUSER)
        return True
    return False


def _point_to(box: str) -> None:
    tempfile.tempdir = None
    random.seed(0)
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
        os.environ[name] = box
