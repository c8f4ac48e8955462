"""Attacks that take more than one session, or a host of their own."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from agentic_vlm.sandbox import CellStatus
from agentic_vlm.sandbox.process import ProcessSandbox

ROOT = Path(__file__).resolve().parents[2]


async def forty_busy_sessions(sandbox: ProcessSandbox) -> list[str]:
    """All are interrupted by their own CPU time and keep their variables."""

    async def one(number: int) -> str:
        session = await sandbox.open([], seed=number)
        try:
            busy = await session.run_cell(f"x = {number}\nwhile True: pass")
            after = await session.run_cell("x")
        finally:
            await session.close()
        if busy.status is CellStatus.TIMEOUT and after.value == str(number):
            return ""
        return f"session {number}: {busy.status} {busy.stderr!r}, then {after.value!r}"

    return [fault for fault in await asyncio.gather(*map(one, range(40))) if fault]


async def input_untouched(sandbox: ProcessSandbox) -> list[str]:
    """A session that paints on the template's picture paints on its own copy."""
    image = Image.new("RGB", (1200, 1000), "white")
    seen = []
    for code in ("1", "image_1.paste(0, (0, 0, 900, 900))", "image_1.getpixel((5, 5))"):
        session = await sandbox.open([image], seed=0)
        seen.append((await session.run_cell(code)).value)
        await session.close()
    return [] if seen[-1] == "(255, 255, 255)" else [f"the third session saw {seen[-1]}"]


async def seeds(sandbox: ProcessSandbox) -> list[str]:
    """Equal seeds give equal numbers, others do not."""
    code = "import random, numpy as np\n(random.random(), float(np.random.rand()))"
    values = []
    for seed in (1, 1, 2):
        session = await sandbox.open([], seed=seed)
        values.append((await session.run_cell(code)).value)
        await session.close()
    return [] if values[0] == values[1] != values[2] else [f"{values}"]


async def threads_of_others(sandbox: ProcessSandbox) -> list[str]:
    """Sessions of two hosts on one machine do not take each other's threads."""
    code = (
        "import threading\nevent, n = threading.Event(), 0\ntry:\n  while n < 20:\n"
        "    threading.Thread(target=event.wait, daemon=True).start(); n += 1\n"
        "except RuntimeError: pass\nn"
    )
    values = []
    ours = ProcessSandbox(sandbox._params)
    theirs = ProcessSandbox(sandbox._params)
    try:
        # The first session of each: their ids are equal.
        for one in (ours, theirs):
            session = await one.open([], seed=0)
            values.append((await session.run_cell(code)).value)
    finally:
        await ours.close()
        await theirs.close()
    return [] if values == ["20", "20"] else [f"threads that could be started: {values}"]


async def stopped_threads(sandbox: ProcessSandbox) -> list[str]:
    """A thread that computes between cells gets no time."""
    session = await sandbox.open([], seed=0)
    await session.run_cell(
        "import threading\ndef f():\n  while True: pass\n"
        "threading.Thread(target=f, daemon=True).start()"
    )
    kernel = session._kernel
    assert kernel is not None
    deadline = time.monotonic() + 20.0
    used_s = -1.0
    while time.monotonic() < deadline and used_s != kernel.cpu_s():
        used_s = kernel.cpu_s()
        await asyncio.sleep(0.3)
    is_idle = used_s == kernel.cpu_s()
    after = await session.run_cell("1 + 1")
    await session.close()
    if is_idle and after.value == "2":
        return []
    return [f"a background thread went on to {used_s} s; then {after}"]


async def host_killed(_sandbox: ProcessSandbox) -> list[str]:
    """SIGKILL of a host leaves no process of its tree, and no folder."""
    program = (
        "import asyncio, sys\n"
        "from agentic_vlm.params.parts import SandboxParams\n"
        "from agentic_vlm.sandbox import build\n"
        "async def main():\n"
        "    sandbox = build(SandboxParams())\n"
        "    sessions = [await sandbox.open([], seed=n) for n in range(5)]\n"
        "    print(sandbox.server_pid, sessions[0]._kernel.box, flush=True)\n"
        "    await asyncio.gather(*(one.run_cell('while True: pass') for one in sessions))\n"
        "asyncio.run(main())\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert host.stdout is not None
    server, _, box = host.stdout.readline().decode().rstrip("\n").partition(" ")
    tree = descendants(int(server))
    waited_s = {pid: waited_for_a_core_s(pid) for pid in tree}
    before_s = sum(waited_s.values())
    begin_s = time.monotonic()
    host.kill()
    left = tree
    while left and time.monotonic() < begin_s + 60.0:
        await asyncio.sleep(0.01)
        left = {pid for pid in left if is_alive(pid)}
        waited_s |= {pid: waited_for_a_core_s(pid) for pid in left}
    gone_s = time.monotonic() - begin_s
    host.wait()
    host.stdout.close()
    # A process needs a core to die, for which it may have to wait on a busy machine.
    excused_s = sum(waited_s.values()) - before_s
    faults = [f"the box {box} is left"] if box and Path(box).exists() else []
    if gone_s > 1.0 + excused_s:
        faults.append(f"{len(left)} of {len(tree)} processes are left after {gone_s:.1f} s")
    return faults


def waited_for_a_core_s(pid: int) -> float:
    """Return for how long the first thread of a process was ready to run but did not."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def descendants(pid: int) -> set[int]:
    """Return a process and everything below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


TESTS = (
    forty_busy_sessions,
    input_untouched,
    seeds,
    threads_of_others,
    stopped_threads,
    host_killed,
)
