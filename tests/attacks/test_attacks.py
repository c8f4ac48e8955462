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

HERE = Path(__file__).parent
TIERS = {"root_a": "A", "user_a": "A", "user_b": "B", "no_landlock": "A"}


def is_possible(mode: str) -> bool:
    """Return whether this machine offers what the mode is about."""
    if mode == "root_a":
        return os.getuid() == 0
    # Both need to become an ordinary user, who can make namespaces.
    return mode == "user_b" or Path("/proc/self/ns/user").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", TIERS)
def test_every_attack_is_contained_and_nobody_else_is_touched(mode: str, tmp_path: Path) -> None:
    if sys.platform != "linux" or not is_possible(mode):
        pytest.skip(f"{mode} needs Linux, and root to give rights up")
    is_whole = os.environ.get("AGENTIC_ATTACKS") == "all"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    host = subprocess.run(
        [sys.executable, str(HERE / "host.py"), mode, *([] if is_whole else ["chosen"])],
        env=environment,
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
