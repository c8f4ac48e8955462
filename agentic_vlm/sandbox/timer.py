"""CPU time ends a cell, so that a result does not depend on how busy the machine is."""

import contextlib
import math
import os
import resource
import signal
from types import FrameType

from agentic_vlm.sandbox.limits import Limits

# Code that catches the interrupt is interrupted again this often, then the process ends.
_AGAIN_S = 0.05
_MAX_INTERRUPTS = 10

TIMEOUT_EXIT_CODE = 124
"""Exit code of a kernel whose cell would not be interrupted."""


class CellTimeout(KeyboardInterrupt):
    """The cell used up its CPU time. No Exception, so that `except Exception` lets it pass."""


# Shown in tracebacks under a name that every model knows.
CellTimeout.__name__ = CellTimeout.__qualname__ = "TimeoutError"
CellTimeout.__module__ = "builtins"


class CpuTimer:
    """Interrupts a cell by signal; native code that never returns is ended by the host."""

    def __init__(self, limits: Limits) -> None:
        self.cell_cpu_s = 0.0
        self._limits = limits
        self._is_running = False
        self._num_interrupts = 0
        self._begin_s = 0.0
        # The seconds that preloading and forking cost are not the session's.
        self._session_end_s = _cpu_s() + limits.session_cpu_s
        last_s = math.ceil(self._session_end_s) + 4
        resource.setrlimit(resource.RLIMIT_CPU, (last_s, last_s))

    def begin_cell(self) -> None:
        """Arm the limits. What is left of the session may be less than a cell's share."""
        self._begin_s = _cpu_s()
        self._num_interrupts = 0
        left_s = max(0.01, min(self._limits.cell_cpu_s, self._session_end_s - self._begin_s))
        # Set anew for each cell: model code may have changed them.
        signal.signal(signal.SIGPROF, self._interrupt)
        signal.signal(signal.SIGINT, self._end_by_host)
        self._is_running = True
        signal.setitimer(signal.ITIMER_PROF, left_s, _AGAIN_S)

    def end_cell(self) -> None:
        """Disarm the limits."""
        self._is_running = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        self.cell_cpu_s = _cpu_s() - self._begin_s

    def make_sure_it_is_off(self) -> None:
        """Disarm once more: an interrupt may have come while `end_cell` began."""
        while self._is_running:
            with contextlib.suppress(CellTimeout):
                self.end_cell()

    def _end_by_host(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_running:
            raise CellTimeout(
                f"the cell was stopped after {self._limits.cell_wall_s:g} s; its variables are kept"
            )

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._is_running:
            return
        self._num_interrupts += 1
        if self._num_interrupts > _MAX_INTERRUPTS:
            os._exit(TIMEOUT_EXIT_CODE)
        limit_s = self._limits.cell_cpu_s
        if _cpu_s() >= self._session_end_s:
            raise CellTimeout(
                f"the {self._limits.session_cpu_s:g} s of CPU time of this session are used up"
            )
        raise CellTimeout(
            f"the cell was stopped after {limit_s:g} s of CPU time; its variables are kept"
        )


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
