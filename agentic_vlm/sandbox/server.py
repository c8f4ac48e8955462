"""The loop of the fork server: it forks confined sessions and never sees what they do.

The host sends sockets for each session; code and pictures go through those.
"""

import dataclasses
import fcntl
import gc
import json
import os
import select
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from agentic_vlm.sandbox import confine, linux, seccomp, selftest

if TYPE_CHECKING:
    from PIL import Image

_CHANNEL_FD, _ARENA_FD = 3, 4


@dataclass(frozen=True, slots=True)
class Boxes:
    """The folders that sessions write to."""

    folder: str
    """Where they are made; empty where each is a mount of its session, and vanishes with it."""
    box_mb: int
    """Size of one, MiB."""
    max_files: int
    """Files and folders in one."""

    def make(self) -> str:
        """Return a new folder; empty where the session mounts its own."""
        return tempfile.mkdtemp(prefix="box-", dir=self.folder) if self.folder else ""


@dataclass(frozen=True, slots=True)
class _Child:
    number: int
    box: str
    is_template: bool = False


class Server:
    """The loop of the fork server, and of a template: a server that holds pictures."""

    def __init__(
        self,
        control: socket.socket,
        isolation: confine.Isolation,
        boxes: Boxes,
        *,
        base_bytes: int,
        pictures: "tuple[Image.Image, ...]" = (),
    ) -> None:
        self._control = control
        self._isolation = isolation
        self._boxes = boxes
        self._base_bytes = base_bytes
        self._pictures = pictures
        self._children: dict[int, _Child] = {}
        self._own_pidfd = os.pidfd_open(os.getpid())

    def start(self, canary: str) -> bool:
        """Find out what holds on this machine, tell the host, and say whether it worked."""
        if self._isolation.has_jail:
            seccomp.program(has_private_files=True, own_pid=1)
        try:
            isolation, holes = self._try_out(canary)
        except OSError as error:
            self._tell({"event": "failed", "error": str(error)})
            return False
        self._isolation = isolation
        self._tell({"event": "ready", "isolation": dataclasses.asdict(isolation), "holes": holes})
        return True

    def serve(self) -> None:
        """Answer the host, and report every session that ends."""
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        while True:
            readable, _, _ = select.select([self._control.fileno(), wake_reader], [], [])
            if wake_reader in readable:
                os.read(wake_reader, 4096)
                self._reap()
            if self._control.fileno() in readable and not self._obey():
                break
        for pid, child in self._children.items():
            os.kill(pid, signal.SIGKILL)
            shutil.rmtree(child.box or "/nowhere", ignore_errors=True)

    def _try_out(self, canary: str) -> tuple[confine.Isolation, list[str]]:
        """Confine a trial session and attack from inside it, before any model code runs."""
        reader, writer = os.pipe()
        box = self._boxes.make()
        pid = self._fork_apart()
        if pid == 0:
            report: dict[str, object] = {}
            try:
                held = self._enter(0, box)
                report = {"isolation": dataclasses.asdict(held), "holes": selftest.run(canary)}
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
        if "isolation" not in answer:
            raise OSError(f"a trial session could not be confined: {answer}")
        return confine.Isolation(**answer["isolation"]), list(answer["holes"])

    def _fork_apart(self) -> int:
        """Fork a child that is process 1 of a space of its own, where namespaces are to be had."""
        if not self._isolation.has_jail:
            return os.fork()
        linux.unshare(linux.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            # Else the next fork would be refused: a space of processes is entered once only.
            linux.setns(self._own_pidfd, linux.CLONE_NEWPID)
        return pid

    def _enter(self, session: int, box: str) -> confine.Isolation:
        return confine.enter(
            self._isolation,
            session=session,
            box=box,
            box_mb=self._boxes.box_mb,
            max_files=self._boxes.max_files,
        )

    def _obey(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 3)
        except ConnectionResetError:
            # The host died with events unread.
            return False
        if not message:
            return False
        order = json.loads(message)
        if order["op"] == "fork":
            self._fork(int(order["id"]), descriptors)
        elif order["op"] == "template":
            self._fork_template(int(order["id"]), descriptors)
        return True

    def _fork(self, number: int, descriptors: list[int]) -> None:
        try:
            box = self._boxes.make()
            pid = self._fork_apart()
            if pid == 0:
                self._become_session(number, descriptors, box)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._tell({"event": "exit", "id": number, "code": None, "error": str(error)})
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._children[pid] = _Child(number, box)
        self._tell({"event": "started", "id": number, "box": box}, pidfd)
        os.close(pidfd)

    def _become_session(self, number: int, descriptors: list[int], box: str) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            # Moved out of the way first: dup2 onto itself would keep close-on-exec.
            wanted = [null, descriptors[1], descriptors[1], descriptors[0], descriptors[2]]
            moved = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in wanted]
            for target, source in enumerate(moved):
                os.dup2(source, target)
            os.closerange(_ARENA_FD + 1, 1 << 20)
            self._enter(number, box)
            # Loaded by `preload`; at the top of the module it would come before the font cache.
            from agentic_vlm.sandbox import kernel

            kernel.run(
                socket.socket(fileno=_CHANNEL_FD),
                arena_fd=_ARENA_FD,
                base_bytes=self._base_bytes,
                has_own_processes=self._isolation.has_own_uid,
                pictures=self._pictures,
            )
        finally:
            os._exit(125)

    def _fork_template(self, number: int, descriptors: list[int]) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = _Child(number, "", is_template=True)
            for descriptor in descriptors:
                os.close(descriptor)
            return
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            self._control.close()
            from agentic_vlm.sandbox import kernel

            with socket.socket(fileno=descriptors[1]) as stream:
                pictures = kernel.receive_pictures(stream)
                gc.freeze()
                template = Server(
                    socket.socket(fileno=descriptors[0]),
                    self._isolation,
                    self._boxes,
                    base_bytes=_grown(self._base_bytes, pictures),
                    pictures=pictures,
                )
                stream.sendall(b"\n")
            template.serve()
        finally:
            os._exit(0)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None or child.is_template:
                continue
            if child.box:
                shutil.rmtree(child.box, ignore_errors=True)
            code = os.waitstatus_to_exitcode(status)
            self._tell({"event": "exit", "id": child.number, "code": code, "error": ""})

    def _tell(self, event: dict[str, object], *descriptors: int) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(event).encode()], descriptors)
        except OSError:
            os._exit(0)


def _grown(base_bytes: int, pictures: "tuple[Image.Image, ...]") -> int:
    # PIL keeps four bytes per pixel.
    return base_bytes + sum(4 * picture.width * picture.height for picture in pictures)
