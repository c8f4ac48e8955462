"""The host's end of a fork server and of its templates."""

import asyncio
import contextlib
import json
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from agentic_vlm.sandbox.channel import BadFrameError, send_opening
from agentic_vlm.sandbox.confine import Isolation
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.source import KernelSource, Template, unavailable
from agentic_vlm.sandbox.wire import MAX_REQUEST_BYTES, encode_frame

logger = logging.getLogger(__name__)

# Loading the libraries takes a second of CPU time, of which a starved machine gives a hundredth.
_START_S = 300.0
_STOP_S = 2.0
_ROOT = Path(__file__).resolve().parents[2]
# The folder of the package leaves the path again: it is out of reach of sessions.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from agentic_vlm.sandbox import boot; "
    "del sys.path[0]; boot.main(*map(int, sys.argv[2:5]), sys.argv[5])"
)
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


class ForkServer(KernelSource):
    """One fork server process."""

    def __init__(
        self, limits: Limits, *, modules: Sequence[str] = (), shares: Sequence[str] = ()
    ) -> None:
        self.isolation: Isolation | None = None
        self.holes: list[str] = []
        _allow_many_descriptors()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(ours, max_output_chars=limits.max_output_chars)
        self._ready: asyncio.Future[None] = self.loop.create_future()
        numbers = (theirs.fileno(), limits.box_mb, limits.max_box_files)
        lists = json.dumps({"modules": list(modules), "shares": list(shares)})
        arguments = [str(_ROOT), *map(str, numbers), lists]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-s", "-P", "-B", "-c", _BOOT, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the fork server."""
        return self._process.pid

    async def wait_ready(self) -> None:
        """Wait until it can fork.

        Raises:
            SandboxUnavailable: it failed to start, or this machine cannot confine sessions.
        """
        if self._ready.done():
            self._ready.result()
            return
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self.kill()
            raise unavailable(f"the fork server did not start within {_START_S:g} s") from None

    async def make_template(self, images: Sequence[Image.Image]) -> Template:
        """Return a child of this server that holds these pictures."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stream, far_end = socket.socketpair()
        stream.setblocking(False)
        with theirs, far_end, stream:
            self._num_started += 1
            await self._order("template", self._num_started, [theirs.fileno(), far_end.fileno()])
            far_end.close()
            sizes: dict[str, object] = {"sizes": [list(image.size) for image in images]}
            try:
                await send_opening(stream, encode_frame(sizes, max_bytes=MAX_REQUEST_BYTES), images)
            except BadFrameError as error:
                ours.close()
                raise unavailable(f"a template is gone: {error}") from error
        return Template(ours, max_output_chars=self._max_output_chars)

    def kill(self) -> None:
        """End the fork server; its sessions die with it."""
        self._process.kill()
        self.bury("it was ended")

    async def close(self) -> None:
        """End the fork server and all its sessions, and wait until they are gone."""
        self.bury("it was closed")
        await asyncio.shield(self.loop.run_in_executor(None, self._stop))
        self._control.close()

    def abandon(self) -> None:
        """End the fork server of an event loop that is gone."""
        self.bury("its event loop is gone")
        self._stop()
        self._control.close()

    def _stop(self) -> None:
        # It removes the boxes of its sessions when the host hangs up.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self, event: dict[str, object], descriptors: list[int]) -> None:
        match event["event"]:
            case "ready":
                self.holes = [str(hole) for hole in event["holes"]]  # type: ignore[attr-defined]  # sent by our own server
                self._begin(Isolation(**event["isolation"]))  # type: ignore[arg-type]  # same
            case "failed":
                self.bury(str(event["error"]))
            case _:
                super()._hear(event, descriptors)

    def _begin(self, isolation: Isolation) -> None:
        self.isolation = isolation
        why = refusal(isolation, self.holes)
        if why:
            self.bury(why)
            self._process.kill()
            return
        logger.info("fork server %d: %s", self.pid, "; ".join(isolation.notes))
        if not self._ready.done():
            self._ready.set_result(None)

    def bury(self, why: str) -> None:
        """Note that the process is gone, and tell everybody who waits."""
        if not self.is_dead and not self.loop.is_closed() and not self._ready.done():
            self._ready.set_exception(unavailable(f"the fork server is gone: {why}"))
            self._ready.exception()
        super().bury(why)


def refusal(isolation: Isolation, holes: Sequence[str]) -> str:
    """Say why model code must not run under these layers; empty where it may."""
    if not isolation.tier:
        layers = "; ".join(isolation.notes)
        return (
            f"this machine cannot confine model code ({layers}); needed are seccomp and, beside "
            "it, namespaces or Landlock"
        )
    if holes:
        return f"the self-test found holes: {', '.join(holes)}"
    return ""


def _allow_many_descriptors() -> None:
    # A session takes three descriptors of the host; the usual soft limit of 1024 is for programs
    # that call select(), which asyncio does not.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
