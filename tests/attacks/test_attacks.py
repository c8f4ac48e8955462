"""The acceptance suite of the sandbox, run as root and as a user, with and without each layer.

A slow run makes the cases in `cases.CHOSEN` four ways; AGENTIC_ATTACKS=all makes all of them:

    AGENTIC_ATTACKS=all python -m pytest -m slow tests/attacks
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_vlm.sandbox import landlock

HERE = Path(__file__).parent
TIERS = {"root_a": "A", "user_a": "A", "user_b": "B", "no_landlock": "A"}


AS_ROOT = """
from agentic_vlm.sandbox import linux
linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET)
linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
"""
AS_USER = """
import os
from agentic_vlm.sandbox import linux
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(54321, 54321, 54321)
    os.setresuid(54321, 54321, 54321)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)
uid = os.getuid()
linux.unshare(linux.CLONE_NEWUSER)
with open("/proc/self/uid_map", "w") as file:
    file.write(f"0 {uid} 1")
linux.unshare(linux.CLONE_NEWNS)
linux.mount("none", "/tmp", "tmpfs", 0)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}


def is_possible(mode: str) -> bool:
    """Return whether this machine offers what the mode is about, tried without the sandbox."""
    if mode == "root_a" and os.getuid() != 0:
        return False
    if mode == "user_b":
        return landlock.version() > 0
    trial = [sys.executable, "-c", AS_ROOT if mode == "root_a" else AS_USER]
    done = subprocess.run(
        trial, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", TIERS)
def test_every_attack_is_contained_and_nobody_else_is_touched(mode: str, tmp_path: Path) -> None:
    if sys.platform != "linux" or not is_possible(mode):
        pytest.skip(f"{mode} needs Linux, and root to give rights up")
    is_whole = os.environ.get("AGENTIC_ATTACKS") == "all"
    host = subprocess.run(
        [sys.executable, str(HERE / "host.py"), mode, *([] if is_whole else ["chosen"])],
        env=ENVIRONMENT,
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    lines = [json.loads(line) for line in host.stdout.splitlines()]
    assert lines, host.stderr[-3000:]
    if "refused" in lines[-1]:
        pytest.skip(f"this machine does not offer {mode}: {lines[-1]['refused']}")
    assert [line for line in lines[:-1] if line["faults"]] == []
    assert lines[-1]["num_failed"] == 0, host.stderr[-3000:]
    assert lines[-1]["num_cases"] == len(lines) - 1 >= 20
    assert lines[-1]["tier"] == TIERS[mode]
