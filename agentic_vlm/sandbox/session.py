"""One episode's Python on this machine."""

import asyncio
import dataclasses
import signal
import time
from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.sandbox.arena import Arena
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.channel import (
    BadFrameError,
    HungUpError,
    clean_text,
    send_opening,
)
from agentic_vlm.sandbox.child import Kernel
from agentic_vlm.sandbox.limits import Limits
from agentic_vlm.sandbox.output import cut_middle
from agentic_vlm.sandbox.source import KernelSource, unavailable
from agentic_vlm.sandbox.timer import TIMEOUT_EXIT_CODE
from agentic_vlm.sandbox.watch import Watch, is_box_full
from agentic_vlm.sandbox.wire import MAX_REQUEST_BYTES, encode_frame

RESTARTED = "[the kernel was restarted: variables of earlier cells are lost]\n"


class KernelPool(Protocol):
    """Where a session gets its kernels."""

    @property
    def limits(self) -> Limits:
        """Limits of every kernel."""
        ...

    @property
    def slots(self) -> asyncio.Semaphore:
        """What a cell holds while it runs."""
        ...

    async def take_kernel(
        self, images: Sequence[Image.Image]
    ) -> tuple[KernelSource, Kernel, Sequence[Image.Image]]:
        """Return a kernel, where it came from, and the pictures that it still lacks."""
        ...

    def forget(self, session: "ProcessSession") -> None:
        """Stop keeping track of a session."""
        ...


class ProcessSession:
    """A kernel, and the pictures from which a fresh one can be opened."""

    def __init__(self, pool: KernelPool, images: tuple[Image.Image, ...], seed: int) -> None:
        self._pool = pool
        self._images = images
        self._seed = seed
        self._source: KernelSource | None = None
        self._kernel: Kernel | None = None
        self._num_requests = 0
        self._num_images = 0
        self._has_lost_variables = False
        self._is_closed = False
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Process id of the kernel on this machine; 0 where there is none."""
        return 0 if self._kernel is None else self._kernel.pid

    async def start(self) -> None:
        """Take a kernel and send it the pictures."""
        self._source, self._kernel, lacking = await self._pool.take_kernel(self._images)
        kernel = self._kernel
        opening: dict[str, object] = {
            "seed": self._seed,
            "limits": dataclasses.asdict(self._pool.limits),
            "sizes": [list(image.size) for image in lacking],
        }
        frame = encode_frame(opening, max_bytes=MAX_REQUEST_BYTES)
        try:
            await send_opening(kernel.channel, frame, lacking)
            await asyncio.shield(kernel.started)
        except BadFrameError as error:
            self.discard()
            raise unavailable(f"a fresh session is gone: {error}") from error
        except (asyncio.CancelledError, SandboxUnavailable):
            self.discard()
            raise

    async def run_cell(self, code: str) -> CellResult:
        """Run a cell; see `Session`."""
        async with self._turn:
            if self._is_closed:
                raise unavailable("the session is closed")
            if self._kernel is None:
                await self.start()
            is_restarted, self._has_lost_variables = self._has_lost_variables, True
            asked_s = time.monotonic()
            async with self._pool.slots:
                begin_s = time.monotonic()
                result = await self._run(code)
            result = dataclasses.replace(
                result, wall_s=time.monotonic() - begin_s, queued_s=begin_s - asked_s
            )
            self._has_lost_variables = result.is_session_lost
            result = self._within_episode(result)
            if is_restarted:
                result = dataclasses.replace(result, stderr=RESTARTED + result.stderr)
            return result

    async def _run(self, code: str) -> CellResult:
        source, kernel = self._source, self._kernel
        if source is None or kernel is None:
            raise unavailable("the session was closed while its cell waited")
        self._num_requests += 1
        request: dict[str, object] = {"id": self._num_requests, "code": code}
        try:
            frame = encode_frame(request, max_bytes=MAX_REQUEST_BYTES)
        except ValueError:
            return CellResult(
                CellStatus.ERROR,
                stderr=f"ValueError: a cell has at most {MAX_REQUEST_BYTES} bytes\n",
                error_class="ValueError",
            )
        try:
            return await self._exchange(source, kernel, frame)
        except (asyncio.CancelledError, SandboxUnavailable):
            # Nobody will read the answer, so the kernel is of no more use.
            self.discard()
            raise

    async def _exchange(self, source: KernelSource, kernel: Kernel, frame: bytes) -> CellResult:
        limits = self._pool.limits
        kernel.go()
        watch = Watch(kernel, limits)
        try:
            try:
                await asyncio.get_running_loop().sock_sendall(kernel.channel, frame)
            except OSError as error:
                raise HungUpError(str(error)) from error
            result = await kernel.answers.receive(limits, number=self._num_requests)
        except BadFrameError as error:
            return await self._explain_death(source, kernel, watch, error)
        finally:
            watch.cancel()
        if is_box_full(kernel, limits):
            return await self._end_full_box(source, kernel, result)
        kernel.stop_soon()
        return _with_raw(result, kernel.take_raw_output(), limits)

    def _within_episode(self, result: CellResult) -> CellResult:
        left = max(0, self._pool.limits.max_images_per_session - self._num_images)
        self._num_images += len(result.images)
        num_over = len(result.images) - left
        if num_over <= 0:
            return result
        note = f"[{num_over} more pictures were not shown: no session may show more]\n"
        return dataclasses.replace(
            result,
            images=result.images[:left],
            num_dropped_images=result.num_dropped_images + num_over,
            stderr=result.stderr + note,
        )

    async def _explain_death(
        self, source: KernelSource, kernel: Kernel, watch: Watch, error: BadFrameError
    ) -> CellResult:
        # A kernel that hung up is ending by itself; one that sent nonsense has to be ended.
        if isinstance(error, HungUpError) and not watch.verdict:
            await asyncio.wait([kernel.exit], timeout=1.0)
        was_ours = not kernel.exit.done()
        kernel.signal(signal.SIGKILL)
        code = await asyncio.shield(kernel.exit)
        limits = self._pool.limits
        raw = kernel.take_raw_output()
        printed = kernel.take_printed(max_chars=limits.max_output_chars)
        await self._end_kernel()
        if watch.verdict:
            lost = _lost(watch.status, watch.verdict)
        elif was_ours:
            lost = _lost(CellStatus.CRASHED, f"the kernel broke its connection ({error})")
        elif code == TIMEOUT_EXIT_CODE:
            lost = _lost(CellStatus.TIMEOUT, f"more than {limits.cell_cpu_s:g} s of CPU time")
        else:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            lost = _lost(CellStatus.CRASHED, f"the kernel died with {how}")
        return _with_raw(_with_partial(lost, printed), raw, limits)

    async def _end_full_box(
        self, source: KernelSource, kernel: Kernel, result: CellResult
    ) -> CellResult:
        await self._end_kernel()
        limits = self._pool.limits
        lost = _lost(CellStatus.CRASHED, f"more than {limits.box_mb} MiB on disk")
        return dataclasses.replace(lost, stdout=result.stdout, stderr=result.stderr + lost.stderr)

    async def _end_kernel(self) -> None:
        source, kernel = self._source, self._kernel
        self._kernel = None
        if source is not None and kernel is not None:
            await source.end(kernel)

    def discard(self) -> None:
        """Kill the kernel without waiting."""
        if self._kernel is not None:
            self._kernel.release()
        self._kernel = None

    async def close(self) -> None:
        """End the session; see `Session`."""
        self._is_closed = True
        self._pool.forget(self)
        await self._end_kernel()


def _with_partial(lost: CellResult, printed: Arena) -> CellResult:
    """Add what the session had printed before it died."""
    stdout, num_stdout = printed.stdout.read()
    stderr, num_stderr = printed.stderr.read()
    return dataclasses.replace(
        lost,
        stdout=clean_text(stdout),
        stderr=clean_text(stderr) + lost.stderr,
        num_dropped_chars=num_stdout + num_stderr,
    )


def _with_raw(result: CellResult, raw: str, limits: Limits) -> CellResult:
    if not raw:
        return result
    shown = clean_text(raw)
    text, num_dropped = cut_middle(shown, max_chars=limits.max_output_chars)
    return dataclasses.replace(
        result,
        stdout=result.stdout + text,
        num_dropped_chars=result.num_dropped_chars + num_dropped,
    )


def _lost(status: CellStatus, why: str) -> CellResult:
    error_class = "TimeoutError" if status is CellStatus.TIMEOUT else "KernelDied"
    return CellResult(
        status,
        stderr=f"{error_class}: {why}; the kernel was ended and its variables are lost\n",
        error_class=error_class,
        is_session_lost=True,
    )
