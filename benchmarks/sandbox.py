"""Time this sandbox beside a Jupyter kernel and beside one Python process per call.

    python benchmarks/sandbox.py [--quick]

All three run in one process, one after the other, on the same machine. The last line is JSON:
seconds (p50, p95, number of repetitions) per quantity and engine, and ratios. The Jupyter part
needs `pip install -e .[bench]`; without it, it is left out and says so.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from process_tree import private_mib

from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox.base import Session
from agentic_vlm.sandbox.process import ProcessSandbox

ROOT = Path(__file__).resolve().parents[1]
NOISE = (
    "import numpy as np; from PIL import Image; "
    "im = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype='u1'))"
)
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); plt.title('A title'); plt.show()"
# What the released protocol has a model do most: look at a part of the picture.
CROP = "image_1.crop((100, 100, 700, 500)).resize((600, 400))"

Figures = dict[str, float]


def describe(seconds: list[float]) -> Figures:
    """Return median, 95th percentile and number of repetitions."""
    ordered = sorted(seconds)
    return {
        "p50": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "n": len(ordered),
    }


async def repeat(num: int, act: Callable[[], Awaitable[object]]) -> Figures:
    """Time an action so many times."""
    seconds = []
    for _ in range(num):
        begin_s = time.perf_counter()
        await act()
        seconds.append(time.perf_counter() - begin_s)
    return describe(seconds)


def params(**changes: object) -> SandboxParams:
    """Return the defaults, with as many pictures as a benchmark shows."""
    return SandboxParams(max_images_per_session=10**6, session_cpu_s=10**4, **changes)


async def measure_own(scale: float) -> dict[str, Figures]:
    """Time this engine with one live session at a time."""
    found: dict[str, Figures] = {}
    begin_s = time.perf_counter()
    sandbox = ProcessSandbox(params(num_spares=0))
    session = await sandbox.open([], seed=0)
    found["service start"] = describe([time.perf_counter() - begin_s])
    await session.run_cell("x = 1")
    found["exec"] = await repeat(int(2000 * scale), lambda: session.run_cell("x = 1"))
    await session.run_cell(NOISE)
    found["1 MP image back"] = await repeat(int(100 * scale), lambda: session.run_cell("im"))
    found["plt.show()"] = await repeat(int(30 * scale), lambda: session.run_cell(PLOT))
    await session.close()

    async def open_and_run(*images: Image.Image) -> None:
        opened = await sandbox.open(images, seed=0)
        await opened.run_cell("1 + 1")
        closing.append(opened)

    closing: list[Session] = []

    async def starts(num: int, *images: Image.Image) -> Figures:
        seconds = []
        for _ in range(num):
            begin_s = time.perf_counter()
            await open_and_run(*images)
            seconds.append(time.perf_counter() - begin_s)
            await closing.pop().close()
        return describe(seconds)

    found["fresh start"] = await starts(int(40 * scale))
    large = Image.new("RGB", (4000, 3000), "white")
    await starts(2, large)
    found["start, template of 12 MP"] = await starts(int(30 * scale), large)
    await sandbox.close()
    found["hot start"] = await measure_hot(int(40 * scale))
    return found


async def measure_hot(num: int) -> Figures:
    """Time starts that find a spare kernel waiting."""
    sandbox = ProcessSandbox(params(num_spares=1))
    await (await sandbox.open([], seed=0)).close()
    seconds = []
    for _ in range(num):
        while not sandbox.has_spare:
            await asyncio.sleep(0.01)
        # A spare that has just been forked still builds its jail.
        await asyncio.sleep(0.05)
        begin_s = time.perf_counter()
        session = await sandbox.open([], seed=0)
        await session.run_cell("1 + 1")
        seconds.append(time.perf_counter() - begin_s)
        await session.close()
    await sandbox.close()
    return describe(seconds)


async def measure_throughput(scale: float) -> Figures:
    """Count isolated image calls, and sessions, per second and per core used."""
    sandbox = ProcessSandbox(params(num_spares=4))
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    await (await sandbox.open([image], seed=0)).close()

    async def call() -> None:
        session = await sandbox.open([image], seed=0)
        result = await session.run_cell(CROP)
        assert result.images, result.stderr
        await session.close()

    async def worker(num: int) -> None:
        for _ in range(num):
            await call()

    num_each = max(4, int(25 * scale))
    begin_s, cpu_s = time.perf_counter(), _cpu_of_machine()
    await asyncio.gather(*(worker(num_each) for _ in range(4)))
    wall_s, cpu_s = time.perf_counter() - begin_s, _cpu_of_machine() - cpu_s
    await sandbox.close()
    cores = os.cpu_count() or 1
    return {
        "isolated image calls per second": 4 * num_each / wall_s,
        "isolated image calls per second and core": 4 * num_each / wall_s / cores,
        "share of the machine in use": cpu_s / wall_s / cores,
    }


def _cpu_of_machine() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])
    return (sum(map(int, fields[:8])) - idle) / os.sysconf("SC_CLK_TCK")


async def measure_memory(num: int) -> Figures:
    """Return the private memory of an idle session while so many are open, MiB."""
    sandbox = ProcessSandbox(params(num_spares=0))
    begin_s = time.perf_counter()
    sessions = [await sandbox.open([], seed=n) for n in range(num)]
    wall_s = time.perf_counter() - begin_s
    for session in sessions:
        await session.run_cell("x = 1")
    private = [private_mib(session.pid) for session in sessions]
    echo = await repeat(200, lambda: sessions[num // 2].run_cell("x = 1"))
    await sandbox.close()
    return {
        "sessions": num,
        "opened per second": num / wall_s,
        "private MiB each": statistics.median(private),
        "exec p50 beside them": echo["p50"],
    }


async def measure_jupyter(scale: float) -> dict[str, Figures] | str:
    """Time one kernel through jupyter_client, as existing sandboxes use it."""
    try:
        import ipykernel  # noqa: F401  # only whether it is there
        from jupyter_client.manager import AsyncKernelManager
    except ImportError as error:
        return f"left out: {error}"

    async def start() -> tuple[Any, Any]:
        manager = AsyncKernelManager(kernel_name="python3")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        await client.execute_interactive("1 + 1", timeout=60, output_hook=lambda _message: None)
        return manager, client

    starts = []
    for _ in range(max(2, int(5 * scale))):
        begin_s = time.perf_counter()
        manager, client = await start()
        starts.append(time.perf_counter() - begin_s)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    manager, client = await start()

    async def run(code: str) -> None:
        await client.execute_interactive(code, timeout=60, output_hook=lambda _message: None)

    await run("%matplotlib inline")
    await run(NOISE)
    await run(PLOT)
    found = {
        "fresh start": describe(starts),
        "exec": await repeat(int(200 * scale), lambda: run("x = 1")),
        "1 MP image back": await repeat(max(3, int(10 * scale)), lambda: run("im")),
        "plt.show()": await repeat(max(3, int(10 * scale)), lambda: run(PLOT)),
    }
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    return found


async def measure_python_per_call(scale: float) -> dict[str, Figures]:
    """Time a new Python with the same libraries for every call."""
    code = "import numpy, PIL.Image, matplotlib.pyplot; x = 1"

    async def call() -> None:
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)

    figures = await repeat(max(3, int(10 * scale)), call)
    return {"fresh start": figures, "exec": figures}


async def main() -> None:
    """Measure, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(epilog="example: python benchmarks/sandbox.py --quick")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    scale = 0.1 if parser.parse_args().quick else 1.0
    own = await measure_own(scale)
    engines: dict[str, dict[str, Figures] | str] = {
        "this engine": own,
        "jupyter kernel": await measure_jupyter(scale),
        "python per call": await measure_python_per_call(scale),
    }
    for engine, figures in engines.items():
        if isinstance(figures, str):
            print(f"{engine:16} {figures}")
            continue
        for name, one in figures.items():
            print(f"{engine:16} {name:26} {1e3 * one['p50']:10.3f} ms  n={one['n']:.0f}")
    throughput = await measure_throughput(scale)
    memory = await measure_memory(20 if scale < 1 else 200)
    for name, value in (throughput | memory).items():
        print(f"{'this engine':16} {name:42} {value:10.4f}")
    ratios = {
        f"{engine}: {name}": figures[name]["p50"] / own[name]["p50"]
        for engine, figures in engines.items()
        if not isinstance(figures, str) and engine != "this engine"
        for name in figures
    }
    record = {"engines": engines, "throughput": throughput, "memory": memory, "ratios": ratios}
    print(json.dumps(record))


if __name__ == "__main__":
    asyncio.run(main())
