"""The start of a fork server: libraries are loaded, then the jail is built round it.

It is executed fresh with a clean environment, so that neither secrets nor reference answers are in
its memory.
"""

import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from agentic_vlm.sandbox import confine, jail, linux
from agentic_vlm.sandbox.server import Boxes, Server

# numpy loads `random` only when it is first used, which would cost every session 10 ms.
_PRELOADED = (
    "agentic_vlm.sandbox.kernel",
    "numpy.random",
    "PIL.ImageDraw",
    "PIL.ImageEnhance",
    "PIL.ImageFilter",
    "PIL.ImageFont",
    "PIL.ImageOps",
)
_GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz 0123456789 .,:;%()-+="


def main(control_fd: int, box_mb: int, max_files: int, lists: str) -> None:
    """Serve until the host hangs up.

    Args:
        control_fd: descriptor of the socket to the host.
        box_mb: disk of a session, MiB.
        max_files: files and folders of a session.
        lists: JSON object of `modules`, to import beside numpy, Pillow and matplotlib, and of
            `shares`, folders of the host that sessions may read.
    """
    control = socket.socket(fileno=control_fd)
    with own_folder() as base:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        _serve(control, box_mb, max_files, json.loads(lists), base)


def _serve(
    control: socket.socket, box_mb: int, max_files: int, wanted: dict[str, list[str]], base: str
) -> None:
    shares = tuple(wanted["shares"])
    # The font cache stays in memory; a temporary folder keeps it out of the user's home.
    with tempfile.TemporaryDirectory(dir=base) as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            preload(wanted["modules"])
        except ImportError as error:
            control.send(json.dumps({"event": "failed", "error": str(error)}).encode())
            return
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        # When memory runs out, sessions go first, never the trainer.
        file.write("1000")
    os.environ["AGENTIC_SANDBOX_START_UID"] = str(os.getuid())
    base_bytes = _address_space()
    has_jail = jail.is_possible(shares)
    # A file of the host, which no session may reach; it is there during the self-test only.
    descriptor, canary = tempfile.mkstemp(prefix="canary-", dir=base)
    os.close(descriptor)
    # Kept by descriptor: the jail covers the path for this process too.
    folder_fd = os.open(base, os.O_PATH)
    reader, writer = os.pipe()
    if has_jail:
        jail.leave_host()
        child = os.fork()
        if child:
            control.close()
            os.close(writer)
            os.read(reader, 1)
            os.unlink(os.path.basename(canary), dir_fd=folder_fd)
            os.waitpid(child, 0)
            return
        os.close(folder_fd)
        jail.build_root(shares)
    boxes = Boxes("" if has_jail else base, box_mb=box_mb, max_files=max_files)
    isolation = confine.Isolation(has_jail=has_jail, shares=shares)
    server = Server(control, isolation, boxes, base_bytes=base_bytes)
    is_safe = server.start(canary)
    os.close(reader)
    os.close(writer)
    if not has_jail:
        os.unlink(canary)
    if is_safe:
        server.serve()


@contextlib.contextmanager
def own_folder() -> Iterator[str]:
    """Give a folder that is removed when this process and all that it forked have ended.

    A killed process cleans nothing up; a child that outlives it for that moment does.
    """
    folder = tempfile.mkdtemp(prefix="sandbox-")
    # Sessions with a user id of their own pass through it to their boxes.
    os.chmod(folder, 0o711)
    reader, writer = os.pipe()
    cleaner = os.fork()
    if cleaner == 0:
        _remove_at_end(folder, reader)
    os.close(reader)
    try:
        yield folder
    finally:
        os.close(writer)
        # Process 1 of a jail comes by here too; the cleaner is no child of it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(cleaner, 0)


def _remove_at_end(folder: str, reader: int) -> NoReturn:
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # Whatever else is open belongs to the fork server: others notice its end by that.
        os.dup2(reader, 0)
        os.closerange(1, 1 << 16)
        os.read(0, 1)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)


def preload(modules: list[str]) -> None:
    """Import and warm up what sessions use, in this one thread.

    Raises:
        ImportError: one of the modules is not installed.
    """
    for name in (*_PRELOADED, *modules):
        importlib.import_module(name)
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image

    Image.init()
    np.random.seed(0)
    figure = plt.figure()
    figure.gca().plot([0, 1], label="warm")
    figure.gca().set_title(_GLYPHS)
    figure.canvas.draw()
    plt.close(figure)
    np.linalg.svd(np.eye(3))
    gc.collect()
    gc.freeze()


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
