"""Children of the flow do not outlive it."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.proc import kill_children, run_child

ROOT = Path(__file__).parents[3]
TETHER = [sys.executable, "-I", "-S", str(ROOT / "flows" / "tether.py")]
PR_SET_CHILD_SUBREAPER = 36

# A child that starts a child of its own, as DVC does, and says who it is.
NESTED = (
    "import subprocess, sys\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(inner.pid, flush=True)\n"
    "inner.wait()\n"
)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def comes_true(condition: Callable[[], bool]) -> bool:
    """Wait up to a minute, which only a fault or a machine full of other work needs."""
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def no_init() -> Iterator[None]:
    """Let this process take in orphans and collect none of them, as the first one of a container.

    A dead one then stays in the table of processes, unless somebody between collects it.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_lines_and_status_of_a_child_are_passed_on(tmp_path):
    lines: list[str] = []
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert run_child([sys.executable, "-u", "-c", code], cwd=tmp_path, on_line=lines.append) == 3
    assert lines == ["out", "err"]


def test_killing_reaches_what_a_child_has_started(tmp_path):
    pids: list[int] = []
    command = [sys.executable, "-c", NESTED]
    run = threading.Thread(
        target=run_child,
        args=(command,),
        kwargs={"cwd": tmp_path, "on_line": lambda line: pids.append(int(line))},
    )
    run.start()
    while not pids:
        time.sleep(0.02)
    kill_children()
    run.join(timeout=60)
    assert not run.is_alive()
    assert comes_true(lambda: not is_running(pids[0]))


def test_a_child_ends_with_a_flow_that_is_killed_and_leaves_the_table_of_processes(no_init):
    code = (
        "import sys, flows.proc, pathlib\n"
        "inner = [sys.executable, '-c', "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(60)']\n"
        "show = lambda line: print(line, flush=True)\n"
        "flows.proc.run_child(inner, cwd=pathlib.Path(), on_line=show)"
    )
    flow = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert flow.stdout is not None
    child = int(flow.stdout.readline())
    os.kill(flow.pid, signal.SIGKILL)
    flow.wait()
    assert comes_true(lambda: not Path(f"/proc/{child}").exists())


def test_what_ignores_the_polite_signal_ends_with_a_flow_that_is_killed():
    stubborn = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if not os.fork(): os.setsid()\n"
        # One write each: the two would mix what print writes in parts.
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "time.sleep(60)\n"
    )
    command = [*TETHER, "0.1", sys.executable, "-c", stubborn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tether:
        assert tether.stdout is not None
        pids = [int(tether.stdout.readline()) for _ in range(2)]
        tether.terminate()
        assert tether.wait() == 128 + signal.SIGKILL
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_a_command_leaves_behind_ends_with_it():
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    command = [*TETHER, "0.1", sys.executable, "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_a_command_that_does_not_exist_is_named():
    command = [*TETHER, "1", "no-such-command"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (127, "no-such-command: No such file or directory\n")
