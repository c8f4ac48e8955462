"""Keep many sessions open for minutes, one in ten hostile, and look for leaks.

    python benchmarks/soak.py --sessions 500 --seconds 300

Capacity is measured first, with the same mix of cells; then cells are offered at half of it. The
last line is JSON; the exit status is 1 where something leaked or a bar was missed.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, CellStatus
from agentic_vlm.sandbox.process import ProcessSandbox, ProcessSession

MAX_P99_S = 2.0
GOOD = (
    "x = sum(range(10_000)); x",
    "import numpy as np; float(np.linalg.norm(np.arange(1000.0)))",
    "from PIL import Image; Image.new('RGB', (200, 100), 'red')",
    "print('line\\n' * 50)",
    "1 / 0",
    "text = 'abc' * 1000; len(text)",
)
HOSTILE = (
    "while True: pass",
    "rows = []\nwhile True: rows.append(bytearray(1 << 20))",
    "import os\nfor _ in range(100): os.fork()",
    "import os; os._exit(3)",
    "import os\nfor _ in range(999):\n  try: os.write(1, b'B' * 65536)\n  except OSError: pass",
    "for i in range(99): open(f'f{i}', 'wb').write(bytes(8 << 20))",
    "import threading as t; e = t.Event()\nfor _ in range(99): t.Thread(target=e.wait).start()",
    "import os; os.write(3, b'\\xff' * 64)",
    "import ctypes; ctypes.string_at(0)",
    "try:\n  while True: pass\nexcept BaseException:\n  while True: pass",
    "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "print('A' * 10**7)",
)


class Load:
    """Sessions and what their cells took."""

    def __init__(self, sandbox: ProcessSandbox, sessions: list[ProcessSession], share: float):
        self.good_s: list[float] = []
        self.queued_s: list[float] = []
        self.faults: list[str] = []
        self.num_cells = 0
        self._sandbox = sandbox
        self._num_hostile = int(share * len(sessions))
        self._sessions = sessions
        self._busy: set[int] = set()
        self._random = random.Random(0)

    async def run_one(self) -> None:
        """Run a cell in a session that is free."""
        free = [n for n in range(len(self._sessions)) if n not in self._busy]
        number = self._random.choice(free)
        is_hostile = number < self._num_hostile
        self._busy.add(number)
        try:
            session = self._sessions[number]
            code = self._random.choice(HOSTILE if is_hostile else GOOD)
            if not is_hostile:
                code = f"mine = globals().get('mine', {number})\n{code}"
            result = await session.run_cell(code)
            self.num_cells += 1
            if not is_hostile:
                self._check(number, code, result)
        finally:
            self._busy.discard(number)

    def _check(self, number: int, code: str, result: CellResult) -> None:
        self.good_s.append(result.wall_s)
        self.queued_s.append(result.queued_s)
        wanted = CellStatus.ERROR if "1 / 0" in code else CellStatus.OK
        if result.status is not wanted or result.is_session_lost:
            self.faults.append(
                f"session {number}: {code!r}: {result.status} {result.stderr[-200:]}"
            )

    async def check_state(self) -> None:
        """Ask every good session that was used for its own variable."""
        for number in range(self._num_hostile, len(self._sessions)):
            result = await self._sessions[number].run_cell(f"globals().get('mine', {number})")
            if result.value != str(number):
                self.faults.append(f"session {number} holds {result.value!r}")


def take_stock(sandbox: ProcessSandbox) -> dict[str, float]:
    """Count what could leak."""
    server = sandbox.server_pid or 0
    boxes = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("sandbox-")]
    return {
        "processes": len(_descendants(os.getpid())),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "host MiB": _rss_mib(os.getpid()),
        "fork server descriptors": sum(
            len(os.listdir(f"/proc/{pid}/fd")) for pid in _children(server) | {server} if pid
        )
        if server and os.getuid() == 0
        else 0,
        "folders": len(boxes),
    }


def _children(pid: int) -> set[int]:
    try:
        return {int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def _descendants(pid: int) -> set[int]:
    found, queue = {pid}, [pid]
    while queue:
        for child in _children(queue.pop()) - found:
            found.add(child)
            queue.append(child)
    return found


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def measure_capacity(load: Load, seconds: float, num_at_once: int) -> float:
    """Return how many cells of this mix end per second when there is always one more."""
    end_s = time.monotonic() + seconds

    async def worker() -> None:
        while time.monotonic() < end_s:
            await load.run_one()

    before, begin_s = load.num_cells, time.monotonic()
    await asyncio.gather(*(worker() for _ in range(num_at_once)))
    return (load.num_cells - before) / (time.monotonic() - begin_s)


async def offer(load: Load, seconds: float, rate: float) -> None:
    """Start cells at a steady rate, whether earlier ones have ended or not."""
    running: set[asyncio.Task[None]] = set()
    begin_s = time.monotonic()
    number = 0
    while time.monotonic() < begin_s + seconds:
        task = asyncio.create_task(load.run_one())
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        await asyncio.sleep(max(0.0, begin_s + number / rate - time.monotonic()))
    await asyncio.gather(*running)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def soak(arguments: argparse.Namespace) -> int:
    """Run, print a record, and return the exit status."""
    params = SandboxParams(
        cell_cpu_s=0.5,
        cell_wall_s=2.0,
        session_cpu_s=10_000.0,
        memory_mb=256,
        box_mb=16,
        file_mb=16,
        max_images_per_session=10**6,
        max_running_cells=max(2, 2 * (os.cpu_count() or 1)),
        num_spares=0,
    )
    sandbox = ProcessSandbox(params)
    await (await sandbox.open([], seed=0)).close()
    begin_s = time.monotonic()
    sessions = [await sandbox.open([], seed=n) for n in range(arguments.sessions)]
    opened_s = time.monotonic() - begin_s
    load = Load(sandbox, sessions, arguments.hostile_share)
    rate = await measure_capacity(load, arguments.seconds / 10, params.max_running_cells)
    load.good_s.clear()
    load.queued_s.clear()
    gc.collect()
    before = take_stock(sandbox)
    await offer(load, arguments.seconds, rate / 2)
    after = take_stock(sandbox)
    await load.check_state()
    await sandbox.close()
    left = take_stock(sandbox)
    leaks = {
        name: [before[name], after[name]]
        for name, slack in (("processes", 0), ("descriptors", 8), ("folders", 0), ("host MiB", 64))
        if after[name] > before[name] + slack
    }
    if left["processes"] > 1:
        leaks["processes after close"] = [1, left["processes"]]
    record = {
        "sessions": arguments.sessions,
        "seconds": arguments.seconds,
        "opened_per_s": arguments.sessions / opened_s,
        "capacity_cells_per_s": rate,
        "cells": load.num_cells,
        "good_p50_s": quantile(load.good_s, 0.5),
        "good_p99_s": quantile(load.good_s, 0.99),
        "queued_p99_s": quantile(load.queued_s, 0.99),
        "before": before,
        "after": after,
        "after_close": left,
        "leaks": leaks,
        "faults": load.faults[:10],
        "num_faults": len(load.faults),
    }
    print(json.dumps(record))
    return int(bool(leaks or load.faults or record["good_p99_s"] > MAX_P99_S))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(epilog="example: python benchmarks/soak.py --sessions 50")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--hostile-share", type=float, default=0.1)
    return asyncio.run(soak(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
