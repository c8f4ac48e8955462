"""The jail of a fork server: own processes, network and an almost empty, read-only root."""

import os
import signal
import sys
import sysconfig
from collections.abc import Sequence

from agentic_vlm.sandbox import linux

BOX = "/box"
"""The only folder that a session may write to, inside the jail."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

_SPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)


def readable_paths() -> list[str]:
    """Return what Python and its libraries need to read, and nothing else.

    The folder of the project, home and data folders are not among it: reading the reference
    answers would be the cheapest way to a reward.
    """
    wanted = {"/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", sys.base_prefix}
    wanted |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    wanted = {os.path.realpath(path) for path in wanted if os.path.exists(path)} | wanted
    return sorted(path for path in wanted if os.path.exists(path))


def is_possible(shares: Sequence[str]) -> bool:
    """Try the whole jail in a process of its own: some systems refuse half way through."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            leave_host()
            status = _inner_status(shares)
        except OSError:
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _inner_status(shares: Sequence[str]) -> int:
    inner = os.fork()
    if inner == 0:
        status = 1
        try:
            build_root(shares)
            status = 0
        except OSError:
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(inner, 0)
    return 0 if status == 0 else 1


def leave_host() -> None:
    """Leave the host's namespaces; the next child is process 1 of the jail."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        linux.unshare(linux.CLONE_NEWUSER)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    linux.unshare(_SPACES)


def build_root(shares: Sequence[str]) -> None:
    """Replace the root by one that holds `readable_paths`, shares, devices and an empty box."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # Opened first: the new root is mounted over a folder that may hold some of them.
    sources = {path: os.open(path, os.O_PATH) for path in (*readable_paths(), *shares)}
    devices = {path: os.open(path, os.O_PATH) for path in DEVICES}
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    root = "/tmp"
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID, "size=1m,mode=755")
    os.mkdir(f"{root}{BOX}", 0o755)
    for path, descriptor in (sources | devices).items():
        _bind(descriptor, f"{root}{path}")
    linux.pivot_root(root)
    linux.make_read_only("/")
    for descriptor in (*sources.values(), *devices.values()):
        os.close(descriptor)


def _bind(descriptor: int, target: str) -> None:
    source = f"/proc/self/fd/{descriptor}"
    is_folder = os.path.isdir(source)
    if os.path.exists(target):
        # A part of something that is bound already, such as /usr/lib of /usr.
        return
    os.makedirs(target if is_folder else os.path.dirname(target), mode=0o755, exist_ok=True)
    if not is_folder:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.mount(source, target, "", linux.MS_BIND | linux.MS_REC)


def enter_box(*, uid: int, box_mb: int, max_files: int) -> None:
    """Give this session a private box that vanishes with it."""
    linux.unshare(linux.CLONE_NEWNS)
    options = f"size={box_mb}m,nr_inodes={max_files},mode=700,uid={uid}"
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("tmpfs", BOX, "tmpfs", flags, options)
    os.chdir(BOX)
