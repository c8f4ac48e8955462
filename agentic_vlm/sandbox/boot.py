"""The start of a fork server: libraries are loaded, then the jail is built round it.

It is executed fresh with a clean environment, so that neither secrets nor reference answers are in
its memory.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import tempfile

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
    wanted = json.loads(lists)
    shares = tuple(wanted["shares"])
    control = socket.socket(fileno=control_fd)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The font cache stays in memory; a temporary folder keeps it out of the user's home.
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
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
    descriptor, canary = tempfile.mkstemp(prefix="sandbox-canary-")
    os.close(descriptor)
    # Kept by descriptor: the jail covers the path for this process too.
    folder_fd = os.open(os.path.dirname(canary), os.O_PATH)
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
    boxes = Boxes(is_private=has_jail, box_mb=box_mb, max_files=max_files)
    isolation = confine.Isolation(has_jail=has_jail, shares=shares)
    server = Server(control, isolation, boxes, base_bytes=base_bytes)
    is_safe = server.start(canary)
    os.close(reader)
    os.close(writer)
    if not has_jail:
        os.unlink(canary)
    if is_safe:
        server.serve()


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
