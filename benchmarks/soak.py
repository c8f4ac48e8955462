"""Keep many sessions open for minutes, one in ten hostile, and look for leaks.

    python benchmarks/soak.py --sessions 500 --seconds 300

Capacity is measured first, with the same mix of cells; then cells are offered at half of it. At
the end a second host with as many sessions, some of them busy, is ended by SIGKILL. The last line
is JSON; the exit status is 1 where something leaked or a bar was missed.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from process_tree import children, descendants, is_alive, num_descriptors, private_mib, rss_mib

from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, CellStatus
from agentic_vlm.sandbox.process import ProcessSandbox, ProcessSession

MAX_P99_S = 2.0
MAX_LEFT_S = 1.0
# Between the two looks good sessions come to hold at most the libraries and the values of their
# cells, hostile ones what their limit allows; growth beyond this share is a leak.
MAX_GROWTH = 0.25
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
PARAMS = SandboxParams(
    cell_cpu_s=0.5,
    cell_wall_s=2.0,
    session_cpu_s=10_000.0,
    # What a memory bomb leaves behind in its variables; 50 hostile sessions hold it at once.
    memory_mb=64,
    box_mb=16,
    file_mb=16,
    max_images_per_session=10**6,
    max_running_cells=max(2, 2 * (os.cpu_count() or 1)),
    num_spares=0,
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

    async def wake(self) -> None:
        """Run a cell in every hostile session: those that ended start anew only then.

        Without it the number of processes is that of the sessions that happen to be alive.
        """
        for session in self._sessions[: self._num_hostile]:
            await session.run_cell("1")

    async def check_state(self) -> None:
        """Ask every good session that was used for its own variable."""
        for number in range(self._num_hostile, len(self._sessions)):
            result = await self._sessions[number].run_cell(f"globals().get('mine', {number})")
            if result.value != str(number):
                self.faults.append(f"session {number} holds {result.value!r}")


def take_stock(sandbox: ProcessSandbox, boxes: Path | None) -> dict[str, float]:
    """Count what could leak; `boxes` holds the folders of sessions where they are no mounts."""
    server = sandbox.server_pid or 0
    tree = descendants(os.getpid())
    return {
        "processes": len(tree),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "host MiB": rss_mib(os.getpid()),
        "fork server descriptors": num_descriptors(children(server) | {server}) if server else 0,
        "session MiB": sum(private_mib(pid) for pid in tree - {os.getpid()}),
        "boxes": 0 if boxes is None or not boxes.exists() else len(os.listdir(boxes)),
    }


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


async def hold(num_sessions: int) -> None:
    """Open sessions, let one in ten compute, say so, and wait to be killed."""
    sandbox = ProcessSandbox(PARAMS)
    sessions = [await sandbox.open([], seed=n) for n in range(num_sessions)]
    busy = [asyncio.create_task(one.run_cell("while True: pass")) for one in sessions[::10]]
    print(_folder_of_boxes(sessions) or "", flush=True)
    await asyncio.gather(*busy)
    await asyncio.Event().wait()


def _folder_of_boxes(sessions: list[ProcessSession]) -> Path | None:
    """Return where a fork server of tier B makes boxes; in tier A they are mounts."""
    kernel = sessions[0]._kernel
    return Path(kernel.box).parent if kernel is not None and kernel.box else None


def kill_host(num_sessions: int) -> dict[str, float]:
    """Kill a host that holds sessions, and return when the last of its processes was gone."""
    host = subprocess.Popen(
        [sys.executable, __file__, "--hold", "--sessions", str(num_sessions)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert host.stdout is not None
    boxes = host.stdout.readline().decode().strip()
    tree = descendants(host.pid) - {host.pid}
    begin_s = time.monotonic()
    host.kill()
    left = tree
    while left and time.monotonic() < begin_s + 60.0:
        time.sleep(0.01)
        left = {pid for pid in left if is_alive(pid)}
    gone_s = time.monotonic() - begin_s
    host.wait()
    host.stdout.close()
    return {
        "processes": len(tree),
        "gone_s": gone_s,
        "left": len(left),
        "boxes left": int(bool(boxes) and os.path.exists(boxes)),
    }


def find_leaks(
    before: dict[str, float], after: dict[str, float], left: dict[str, float]
) -> dict[str, list[float]]:
    """Return what grew while cells ran, and what is left after the end."""
    slacks = {
        "processes": 0.0,
        "descriptors": 8.0,
        "fork server descriptors": 8.0,
        "boxes": 0.0,
        "host MiB": 64.0,
        "session MiB": MAX_GROWTH * before["session MiB"],
    }
    leaks = {
        name: [before[name], after[name]]
        for name, slack in slacks.items()
        if after[name] > before[name] + slack
    }
    if left["processes"] > 1:
        leaks["processes after close"] = [1, left["processes"]]
    return leaks


async def soak(arguments: argparse.Namespace) -> int:
    """Run, print a record, and return the exit status."""
    params = PARAMS
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
    boxes = _folder_of_boxes(sessions)
    await load.wake()
    before = take_stock(sandbox, boxes)
    await offer(load, arguments.seconds, rate / 2)
    await load.wake()
    after = take_stock(sandbox, boxes)
    await load.check_state()
    await sandbox.close()
    left = take_stock(sandbox, boxes)
    leaks = find_leaks(before, after, left)
    killed = kill_host(arguments.sessions)
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
        "killed_host": killed,
    }
    print(json.dumps(record))
    is_left = killed["gone_s"] > MAX_LEFT_S or killed["boxes left"]
    return int(bool(leaks or load.faults or is_left or record["good_p99_s"] > MAX_P99_S))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(epilog="example: python benchmarks/soak.py --sessions 50")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--hostile-share", type=float, default=0.1)
    parser.add_argument("--hold", action="store_true", help="only hold sessions until killed")
    arguments = parser.parse_args()
    if arguments.hold:
        asyncio.run(hold(arguments.sessions))
        return 0
    return asyncio.run(soak(arguments))


if __name__ == "__main__":
    sys.exit(main())
