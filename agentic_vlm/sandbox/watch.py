"""The host's clock over a cell: it ends what the session does not end by itself.

CPU time is the verdict, so that load never turns into a timeout; wall time is the safety net for
code that sleeps.
"""

import asyncio
import os
import signal
import time

from agentic_vlm.sandbox.base import CellStatus
from agentic_vlm.sandbox.child import Kernel
from agentic_vlm.sandbox.limits import Limits

# A cell that got this share of a core is computing on a busy machine, not sleeping: its CPU time
# ends it. So is one that spent this share waiting for a core, where the kernel counts that.
_CPU_SHARE = 0.02
_RUNNABLE_SHARE = 0.5
# What the session's own timer needs to interrupt a cell, then to give up on it.
_CPU_GRACE_S = 0.75
_WALL_GRACE_S = 0.5
_MIN_WAIT_S = 0.05
# A box that is a plain folder has no size limit of its own.
_SCAN_EVERY_S = 0.2


class Watch:
    """Watches one cell of a session until it is cancelled."""

    def __init__(self, kernel: Kernel, limits: Limits) -> None:
        self.verdict = ""
        """Why the session was killed; empty where it was not."""
        self.status = CellStatus.TIMEOUT
        self._kernel = kernel
        self._limits = limits
        self._cpu_begin_s = self._cpu_window_s = kernel.cpu_s()
        self._window_s = time.monotonic()
        self._runnable_s = self._runnable_since_s = -1.0
        self._is_interrupted = False
        # Most cells end before the first look, and so cost no reading of clocks.
        self._rearm(min(limits.cell_wall_s / 4, limits.cell_cpu_s + _CPU_GRACE_S))

    def _rearm(self, wait_s: float) -> None:
        if self._kernel.box:
            wait_s = min(wait_s, _SCAN_EVERY_S)
        self._timer = asyncio.get_running_loop().call_later(max(wait_s, _MIN_WAIT_S), self._look)

    def cancel(self) -> None:
        """The cell has ended."""
        self._timer.cancel()

    def _look(self) -> None:
        limits, cpu_s, now_s = self._limits, self._kernel.cpu_s(), time.monotonic()
        if is_box_full(self._kernel, limits):
            self._kill(f"more than {limits.box_mb} MiB on disk", CellStatus.CRASHED)
            return
        if cpu_s - self._cpu_begin_s >= limits.cell_cpu_s + _CPU_GRACE_S:
            self._kill(f"more than {limits.cell_cpu_s:g} s of CPU time")
            return
        if self._runnable_s < 0.0:
            self._runnable_s, self._runnable_since_s = self._kernel.runnable_s(), now_s
        window_s = _WALL_GRACE_S if self._is_interrupted else limits.cell_wall_s
        if now_s >= self._window_s + window_s:
            if not self._is_busy(cpu_s, now_s):
                if self._is_interrupted:
                    self._kill(f"no answer within {limits.cell_wall_s:g} s")
                    return
                self._is_interrupted = True
                self._kernel.signal(signal.SIGINT)
                window_s = _WALL_GRACE_S
            self._window_s, self._cpu_window_s = now_s, cpu_s
        cpu_left_s = limits.cell_cpu_s + _CPU_GRACE_S - (cpu_s - self._cpu_begin_s)
        self._rearm(min(self._window_s + window_s - now_s, cpu_left_s))

    def _is_busy(self, cpu_s: float, now_s: float) -> bool:
        runnable_s = self._kernel.runnable_s()
        waited_s, watched_s = runnable_s - self._runnable_s, now_s - self._runnable_since_s
        self._runnable_s, self._runnable_since_s = runnable_s, now_s
        is_computing = cpu_s - self._cpu_window_s >= _CPU_SHARE * (now_s - self._window_s)
        return is_computing or waited_s >= _RUNNABLE_SHARE * watched_s

    def _kill(self, verdict: str, status: CellStatus = CellStatus.TIMEOUT) -> None:
        self.verdict, self.status = verdict, status
        self._kernel.signal(signal.SIGKILL)


def is_box_full(kernel: Kernel, limits: Limits) -> bool:
    """Return whether a folder box holds more than the session may write."""
    if not kernel.box:
        return False
    left_bytes, left_files = limits.box_mb << 20, limits.max_box_files
    folders = [kernel.box]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left_files -= 1
                    left_bytes -= 512 * entry.stat(follow_symlinks=False).st_blocks
                    if left_bytes < 0 or left_files < 0:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            continue
    return False
