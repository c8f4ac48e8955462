"""The process sandbox: hostile code is contained, and nothing stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from agentic_vlm.errors import SandboxUnavailable
from agentic_vlm.params.parts import SandboxParams
from agentic_vlm.sandbox import CellResult, CellStatus
from agentic_vlm.sandbox.confine import Isolation
from agentic_vlm.sandbox.fork_server import refusal
from agentic_vlm.sandbox.process import RESTARTED, ProcessSandbox
from agentic_vlm.sandbox.source import Template

T = TypeVar("T")
PARAMS = SandboxParams(
    cell_cpu_s=0.3,
    session_cpu_s=0.4,
    cell_wall_s=1.0,
    memory_mb=150,
    max_output_chars=400,
    num_spares=1,
)

PATIENT = PARAMS.model_copy(update={"cell_wall_s": 10.0, "cell_cpu_s": 10.0, "session_cpu_s": 30.0})


@cache
def place(params: SandboxParams) -> tuple[asyncio.Runner, ProcessSandbox]:
    return asyncio.Runner(), ProcessSandbox(params)


@pytest.fixture(autouse=True, scope="module")
def _closed_places() -> Iterator[None]:
    yield
    for params in (PARAMS, PATIENT):
        runner, sandbox = place(params)
        runner.run(sandbox.close())
        runner.close()


def with_sandbox(
    scene: Callable[[ProcessSandbox], Coroutine[None, None, T]], params: SandboxParams = PARAMS
) -> T:
    runner, sandbox = place(params)
    return runner.run(scene(sandbox))


def run_cells(
    *codes: str, images: list[Image.Image] | None = None, params: SandboxParams = PARAMS
) -> list[CellResult]:
    async def scene(sandbox: ProcessSandbox) -> list[CellResult]:
        session = await sandbox.open(images or [], seed=7)
        return [await session.run_cell(code) for code in codes]

    return with_sandbox(scene, params)


def descendants(pid: int) -> set[int]:
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


async def until_gone(pids: set[int]) -> set[int]:
    # Long, because a busy machine lets a process wait before it can die; how soon all are gone
    # where a core is free is what the attacks and the soak look at.
    deadline_s = time.monotonic() + 60.0
    alive = pids
    while alive and time.monotonic() < deadline_s:
        alive = {pid for pid in alive if _is_alive(pid)}
        await asyncio.sleep(0.01)
    return alive


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_an_endless_loop_times_out_and_its_variables_are_kept() -> None:
    stopped, after = run_cells("x = 41\nwhile True: pass", "x + 1")
    assert stopped.status is CellStatus.TIMEOUT
    assert stopped.error_class == "TimeoutError"
    assert not stopped.is_session_lost
    assert after.value == "42"


def test_code_that_swallows_the_interrupt_is_ended() -> None:
    code = "import signal; signal.signal(signal.SIGPROF, print)\nwhile True: pass"
    (stopped,) = run_cells(code)
    assert stopped.status is CellStatus.TIMEOUT
    assert stopped.is_session_lost


def test_a_sleeping_cell_is_ended_by_the_wall_clock_and_its_variables_are_kept() -> None:
    slept, after = run_cells("import time; x = 5; time.sleep(60)", "x")
    assert slept.status is CellStatus.TIMEOUT
    assert not slept.is_session_lost
    assert slept.stderr.endswith(
        "TimeoutError: the cell was stopped after 1 s; its variables are kept\n"
    )
    assert after.value == "5"


def test_a_cell_that_mostly_sleeps_is_ended_by_the_wall_clock_too() -> None:
    slept, after = run_cells("import time; x = 5\nwhile True: time.sleep(0.05)", "x")
    assert slept.status is CellStatus.TIMEOUT
    assert "the cell was stopped after 1 s" in slept.stderr
    assert after.value == "5"


def test_a_sleeping_cell_that_takes_no_signal_is_killed_and_what_it_printed_is_kept() -> None:
    code = (
        "import signal, time; print('before'); signal.signal(2, signal.SIG_IGN)\n"
        "while True: time.sleep(1)"
    )
    slept, after = run_cells(code, "1")
    assert slept.status is CellStatus.TIMEOUT
    assert slept.is_session_lost
    assert slept.stdout == "before\n"
    assert after.stderr.startswith(RESTARTED)


def test_a_session_that_used_up_its_cpu_time_gets_no_more() -> None:
    results = run_cells(*["while True: pass"] * 3)
    assert [result.status for result in results] == [CellStatus.TIMEOUT] * 3
    assert results[2].cpu_s < 0.2
    assert "of this session are used up" in results[2].stderr


@pytest.mark.parametrize(
    "code",
    [
        "rows = []\nwhile True: rows.append(bytearray(1 << 20))",
        "import numpy as np; np.zeros((200000, 200000))",
        "from PIL import Image; Image.new('RGB', (100000, 100000))",
    ],
)
def test_a_memory_bomb_is_a_memory_error(code: str) -> None:
    bomb, after = run_cells(code, "rows = None; 1 + 1", params=PATIENT)
    assert (bomb.status, bomb.error_class) == (CellStatus.ERROR, "MemoryError")
    assert after.value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true') == 0 and 1 / 0; os.execv('/usr/bin/true', ['true'])",
        "import multiprocessing as m; m.Process(target=print).start()",
        "import os; os.kill(os.getppid(), 9)",
        "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"
        "c.unshare(1 << 28) and exec('raise PermissionError(ctypes.get_errno())')",
    ],
)
def test_processes_signals_and_sockets_are_refused(code: str) -> None:
    refused, after = run_cells(code, "1 + 1")
    assert (refused.status, refused.error_class) == (CellStatus.ERROR, "PermissionError")
    assert after.value == "2"


def test_the_files_of_the_project_are_out_of_reach() -> None:
    (result,) = run_cells(f"open({str(Path(__file__).resolve())!r}).read()")
    assert result.error_class in ("FileNotFoundError", "PermissionError")


def test_secrets_of_the_host_are_not_in_the_environment() -> None:
    os.environ["AGENTIC_TEST_SECRET"] = "hunter2"
    try:
        (result,) = run_cells("import os; 'hunter2' in str(dict(os.environ))")
    finally:
        del os.environ["AGENTIC_TEST_SECRET"]
    assert result.value == "False"


def test_files_of_one_session_are_no_concern_of_another() -> None:
    async def scene(sandbox: ProcessSandbox) -> str:
        first = await sandbox.open([], seed=0)
        second = await sandbox.open([], seed=0)
        await first.run_cell("open('note.txt', 'w').write('x'); import os; os.getcwd()")
        return (await second.run_cell("import os; os.listdir('.')")).value

    assert with_sandbox(scene) == "[]"


@pytest.mark.parametrize(
    "code",
    ["import os; os._exit(3)", "import ctypes; ctypes.string_at(0)", "import os; os.abort()"],
)
def test_a_crash_is_a_result_and_the_next_cell_runs_in_a_fresh_kernel(code: str) -> None:
    image = Image.new("RGB", (5, 4), "blue")
    _, crashed, after, later = run_cells("x = 1", code, "image_1.size", "2", images=[image])
    assert crashed.status is CellStatus.CRASHED
    assert crashed.is_session_lost
    assert not crashed.stderr.startswith(RESTARTED)
    assert after.stderr.startswith(RESTARTED)
    assert after.value == "(5, 4)"
    assert later.stderr == ""


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.write(3, b'\\xff' * 64)",
        "import os; os.write(3, (300000).to_bytes(4, 'big') + b'[' * 300000)",
        "import os, json; m = json.dumps({'id': 1, 'status': 'ok', 'stdout': '', 'stderr': '',"
        "'value': '', 'error_class': '', 'sizes': [[9000, 9000]], 'num_dropped_chars': 0,"
        "'num_dropped_images': 0, 'cpu_s': 0}).encode()\n"
        "os.write(3, len(m).to_bytes(4, 'big') + m)",
        "import os; os.close(3)",
    ],
)
def test_a_forged_answer_ends_the_kernel_only(code: str) -> None:
    forged, after = run_cells(code, "1 + 1")
    assert forged.status is CellStatus.CRASHED
    assert after.value == "2"


FORGE = (
    "import os, json\ndef forge(number, value):\n"
    "    m = json.dumps({'id': number, 'status': 'ok', 'stdout': '', 'stderr': '', 'value': value,"
    "'error_class': '', 'sizes': [[200, 150]], 'num_dropped_chars': 0, 'num_dropped_images': 0,"
    "'cpu_s': 0}).encode()\n    os.write(3, len(m).to_bytes(4, 'big') + m + bytes(90000))\n"
)


@pytest.mark.parametrize("pause", ["", "import time; time.sleep(0.2); "])
def test_a_session_that_forges_a_good_answer_stays_in_step(pause: str) -> None:
    _, forged, after, last = run_cells(
        FORGE, f"forge(2, 'forged'); {pause}'true'", "1 + 1", "2 + 2", params=PATIENT
    )
    assert (forged.status, forged.value) == (CellStatus.OK, "forged")
    assert [image.size for image in forged.images] == [(200, 150)]
    assert (after.status, after.value, after.images) == (CellStatus.OK, "2", ())
    assert (last.status, last.value) == (CellStatus.OK, "4")


def test_a_session_that_floods_the_host_with_late_answers_is_ended() -> None:
    _, flood, after = run_cells(FORGE, "while True: forge(1, '')", "1 + 1", params=PATIENT)
    assert flood.status is CellStatus.CRASHED
    assert "too many answers to earlier requests" in flood.stderr
    assert after.value == "2"


def test_a_dead_fork_server_is_unavailable_and_the_next_open_recovers() -> None:
    async def scene(sandbox: ProcessSandbox) -> str:
        session = await sandbox.open([], seed=0)
        assert sandbox.server_pid is not None
        os.kill(sandbox.server_pid, signal.SIGKILL)
        with pytest.raises(SandboxUnavailable):
            await session.run_cell("import time; time.sleep(5)")
        fresh = await sandbox.open([], seed=0)
        return (await fresh.run_cell("6 * 7")).value

    assert with_sandbox(scene) == "42"


def test_a_cancelled_cell_leaves_no_process() -> None:
    async def scene(sandbox: ProcessSandbox) -> tuple[set[int], CellResult]:
        await (await sandbox.open([], seed=0)).close()
        while not sandbox.has_spare:
            await asyncio.sleep(0.01)
        # Only this sandbox's processes count. A kernel that has just been forked has a parent that
        # is about to end, and is nobody's descendant for a moment.
        server = sandbox.server_pid
        assert server is not None
        before = descendants(server)
        while not {kernel.pid for kernel in sandbox._spares} <= before:
            await asyncio.sleep(0.01)
            before = descendants(server)
        session = await sandbox.open([], seed=0)
        cell = asyncio.create_task(session.run_cell("import time; time.sleep(60)"))
        while session._num_requests == 0:
            await asyncio.sleep(0)
        cell.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cell
        after = await session.run_cell("1")
        await session.close()
        # One spare kernel is warm before and after; whoever was there in between is gone.
        deadline_s = time.monotonic() + 60.0
        while len(left := descendants(server)) > len(before):
            if time.monotonic() > deadline_s:
                break
            await asyncio.sleep(0.01)
        assert sandbox.server_pid == server
        assert len(left) <= len(before)
        return left, after

    _, after = with_sandbox(scene)
    assert after.stderr.startswith(RESTARTED)


def test_closing_leaves_no_process() -> None:
    async def scene() -> set[int]:
        sandbox = ProcessSandbox(PARAMS)
        for seed in range(3):
            await sandbox.open([], seed=seed)
        assert sandbox.server_pid is not None
        pids = descendants(sandbox.server_pid)
        assert len(pids) >= 4
        await sandbox.close()
        return await until_gone(pids)

    assert asyncio.run(scene()) == set()


def test_a_killed_host_leaves_no_process() -> None:
    program = (
        "import asyncio, os\n"
        "from agentic_vlm.params.parts import SandboxParams\n"
        "from agentic_vlm.sandbox import build\n"
        "async def main():\n"
        "    sandbox = build(SandboxParams())\n"
        "    session = await sandbox.open([], seed=0)\n"
        "    print(sandbox.server_pid, flush=True)\n"
        "    await session.run_cell('import time; time.sleep(60)')\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[3]
    host = subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE)
    assert host.stdout is not None
    server = int(host.stdout.readline())
    pids = descendants(server)
    host.kill()
    host.wait()
    host.stdout.close()
    assert asyncio.run(until_gone(pids)) == set()


def test_sixty_four_sessions_run_at_the_same_time_and_share_nothing() -> None:
    async def scene(sandbox: ProcessSandbox) -> list[str]:
        async def episode(number: int) -> str:
            session = await sandbox.open([], seed=number)
            await session.run_cell(f"mine = {number}")
            await asyncio.sleep(0)
            value = (await session.run_cell("mine * 10")).value
            await session.close()
            return value

        return list(await asyncio.gather(*(episode(number) for number in range(64))))

    assert with_sandbox(scene, PATIENT) == [str(number * 10) for number in range(64)]


def test_one_sandbox_serves_two_event_loops_in_turn() -> None:
    sandbox = ProcessSandbox(PARAMS)

    async def scene() -> str:
        session = await sandbox.open([], seed=0)
        return (await session.run_cell("1 + 1")).value

    assert asyncio.run(scene()) == "2"
    assert asyncio.run(scene()) == "2"
    asyncio.run(sandbox.close())


def test_the_isolation_is_named_and_the_self_test_found_no_hole() -> None:
    async def scene(sandbox: ProcessSandbox) -> tuple[int, str, tuple[str, ...]]:
        await sandbox.open([], seed=0)
        return len(sandbox.isolation), sandbox.tier, sandbox.holes

    num_notes, tier, holes = with_sandbox(scene)
    assert num_notes >= 4
    assert tier in ("A", "B")
    assert holes == ()


def test_large_pictures_that_come_again_are_shared_and_not_painted_on() -> None:
    image = Image.new("RGB", (1000, 800), "white")

    async def scene(sandbox: ProcessSandbox) -> list[tuple[str, bool]]:
        seen = []
        for code in ("1", "image_1.paste(0, (0, 0, 9, 9))", "image_1.getpixel((5, 5))"):
            session = await sandbox.open([image], seed=0)
            is_shared = isinstance(session._source, Template)
            seen.append(((await session.run_cell(code)).value, is_shared))
            await session.close()
        return seen

    assert with_sandbox(scene, PATIENT) == [
        ("1", False),
        ("", True),
        ("(255, 255, 255)", True),
    ]


def test_a_shared_folder_is_readable_and_not_writable(tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text("hello")
    tmp_path.chmod(0o755)
    path = str(tmp_path / "seen.txt")

    async def scene() -> list[CellResult]:
        sandbox = ProcessSandbox(PATIENT, shares=[str(tmp_path)])
        session = await sandbox.open([], seed=0)
        codes = (f"open({path!r}).read()", f"open({path!r}, 'w')", f"open({path + 'x'!r}, 'w')")
        results = [await session.run_cell(code) for code in codes]
        await sandbox.close()
        return results

    read, written, made = asyncio.run(scene())
    assert read.value == "'hello'"
    assert written.status is made.status is CellStatus.ERROR
    assert os.listdir(tmp_path) == ["seen.txt"]


@pytest.mark.parametrize(
    ("isolation", "holes", "words"),
    [
        (Isolation(has_jail=True, landlock=7), [], "cannot confine model code"),
        (Isolation(has_jail=False, has_seccomp=True), [], "cannot confine model code"),
        (Isolation(has_jail=True, has_seccomp=True), ["mount"], "found holes: mount"),
    ],
)
def test_a_machine_that_cannot_confine_code_is_refused(
    isolation: Isolation, holes: list[str], words: str
) -> None:
    assert words in refusal(isolation, holes)


def test_both_tiers_are_enough() -> None:
    for isolation in (
        Isolation(has_jail=True, has_seccomp=True),
        Isolation(has_jail=False, landlock=1, has_seccomp=True),
    ):
        assert refusal(isolation, []) == ""
