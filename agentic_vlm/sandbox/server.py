"""The fork server: a warm Python that forks confined sessions and never sees what they do.

It is executed fresh with a clean environment, so that neither secrets nor reference answers are in
its memory. The host sends a socket for each session; code and pictures go through that socket.
"""

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time

from agentic_vlm.sandbox import confine, jail, linux

_SESSION_FD = 3
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


def main(control_fd: int, file_mb: int) -> None:
    """Serve until the host hangs up."""
    control = socket.socket(fileno=control_fd)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The font cache stays in memory; a temporary folder keeps it out of the user's home.
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        preload()
    base_bytes = _address_space()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        # When memory runs out, sessions go first, never the trainer.
        file.write("1000")
    os.environ["AGENTIC_SANDBOX_START_UID"] = str(os.getuid())
    has_jail = jail.is_possible()
    if has_jail:
        jail.leave_host()
        child = os.fork()
        if child:
            control.close()
            os.waitpid(child, 0)
            return
        jail.build_root()
    server = _Server(control, base_bytes, file_mb, confine.Isolation(has_jail=has_jail))
    server.serve()


def preload() -> None:
    """Import and warm up what sessions use, in this one thread."""
    for name in _PRELOADED:
        importlib.import_module(name)
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image

    Image.preinit()
    np.random.seed(0)
    figure = plt.figure()
    figure.gca().plot([0, 1], label="warm")
    figure.gca().set_title("0123456789 abc")
    figure.canvas.draw()
    plt.close(figure)
    np.linalg.svd(np.eye(3))
    gc.collect()
    gc.freeze()


class _Server:
    def __init__(
        self, control: socket.socket, base_bytes: int, file_mb: int, isolation: confine.Isolation
    ) -> None:
        self._control = control
        self._base_bytes = base_bytes
        self._file_mb = file_mb
        self._isolation = isolation
        self._pids: dict[int, int] = {}
        self._sessions: dict[int, int] = {}
        self._boxes: dict[int, str] = {}

    def serve(self) -> None:
        """Answer the host, and report every session that ends."""
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        try:
            isolation = self._measure_isolation()
        except OSError as error:
            self._tell({"event": "failed", "error": str(error)})
            return
        self._tell({"event": "ready", "isolation": dataclasses.asdict(isolation)})
        self._isolation = isolation
        while True:
            readable, _, _ = select.select([self._control.fileno(), wake_reader], [], [])
            if wake_reader in readable:
                os.read(wake_reader, 4096)
                self._reap()
            if self._control.fileno() in readable and not self._obey():
                break
        for pid in self._sessions:
            os.kill(pid, signal.SIGKILL)
        for box in self._boxes.values():
            shutil.rmtree(box, ignore_errors=True)

    def _measure_isolation(self) -> confine.Isolation:
        """Confine a trial session, so that a layer that cannot be put on is known at the start."""
        reader, writer = os.pipe()
        box = self._new_box()
        pid = os.fork()
        if pid == 0:
            report: dict[str, object] = {}
            try:
                held = confine.enter(self._isolation, session=0, box=box, file_mb=self._file_mb)
                report = dataclasses.asdict(held)
            except OSError as error:
                report = {"error": str(error)}
            finally:
                os.write(writer, json.dumps(report).encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            answer = json.loads(file.read() or "{}")
        os.waitpid(pid, 0)
        if box:
            shutil.rmtree(box, ignore_errors=True)
        if "has_jail" not in answer:
            raise OSError(f"a trial session could not be confined: {answer}")
        return confine.Isolation(**answer)

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 1)
        if not message:
            return False
        order = json.loads(message)
        session = int(order["id"])
        pid = self._pids.get(session)
        if order["op"] == "fork":
            self._fork(session, descriptors[0])
        elif pid is not None and order["op"] == "kill":
            os.kill(pid, signal.SIGKILL)
        elif order["op"] == "cpu":
            used_s = _cpu_s(pid) if pid is not None else 0.0
            self._tell({"event": "cpu", "id": session, "cpu_s": used_s})
        return True

    def _fork(self, session: int, descriptor: int) -> None:
        try:
            box = self._new_box()
            pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._tell({"event": "exit", "id": session, "code": None, "error": str(error)})
            return
        if pid == 0:
            self._become_session(session, descriptor, box)
        os.close(descriptor)
        self._pids[session] = pid
        self._sessions[pid] = session
        self._boxes[session] = box

    def _become_session(self, session: int, descriptor: int, box: str) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            # Moved out of the way first: dup2 onto itself would keep close-on-exec.
            channel_fd = os.dup(descriptor)
            for target in (0, 1, 2):
                os.dup2(null, target)
            os.dup2(channel_fd, _SESSION_FD)
            os.closerange(_SESSION_FD + 1, 4096)
            confine.enter(self._isolation, session=session, box=box, file_mb=self._file_mb)
            # Loaded by `preload`; at the top of the module it would come before the font cache.
            from agentic_vlm.sandbox import kernel

            kernel.run(
                socket.socket(fileno=_SESSION_FD),
                base_bytes=self._base_bytes,
                has_own_processes=self._isolation.has_own_uid,
            )
        finally:
            os._exit(125)

    def _new_box(self) -> str:
        return "" if self._isolation.has_jail else tempfile.mkdtemp(prefix="sandbox-")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            session = self._sessions.pop(pid, None)
            if session is None:
                continue
            del self._pids[session]
            if box := self._boxes.pop(session):
                shutil.rmtree(box, ignore_errors=True)
            code = os.waitstatus_to_exitcode(status)
            self._tell({"event": "exit", "id": session, "code": code, "error": ""})

    def _tell(self, event: dict[str, object]) -> None:
        try:
            self._control.send(json.dumps(event).encode())
        except OSError:
            os._exit(0)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process by its clock (man clock_getcpuclockid), so no /proc is needed."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
