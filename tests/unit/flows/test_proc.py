"""Children of the flow do not outlive it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from flows.proc import kill_children, run_child

ROOT = Path(__file__).parents[3]

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


def ends(pid: int) -> bool:
    """Wait up to five seconds for the end of a process."""
    for _ in range(250):
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


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
    run.join(timeout=20)
    assert not run.is_alive()
    assert ends(pids[0])


def test_a_child_ends_with_a_flow_that_is_killed(tmp_path):
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
    assert ends(child)
