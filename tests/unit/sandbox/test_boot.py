"""The start of a fork server, as far as it needs no jail."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os
from agentic_vlm.sandbox.boot import own_folder
with own_folder() as folder:
    os.makedirs(f"{folder}/box/deep")
    print(folder, flush=True)
    %s
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise SystemExit", "pass"])
def test_the_folder_of_a_fork_server_is_gone_after_any_end_of_it(end: str) -> None:
    root = Path(__file__).resolve().parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM % end],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    folder = Path(ended.stdout.strip())
    assert folder.name.startswith("sandbox-"), ended.stderr
    deadline_s = time.monotonic() + 60.0
    while folder.exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not folder.exists()
