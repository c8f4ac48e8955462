"""The flow on a project of three stages, with the server that Prefect starts for itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  first:
    matrix: {part: [a, b]}
    meta: {slots: [cpu]}
    cmd: echo ${item.part} > first-${item.part}.txt
    outs: ["first-${item.part}.txt"]
  middle:
    cmd: cat first-a.txt first-b.txt > middle.txt
    deps: [first-a.txt, first-b.txt]
    outs: [middle.txt]
  broken:
    cmd: echo gone wrong && exit 3
    deps: [first-a.txt]
    outs: [broken.txt]
"""


def reproduce(root: Path, *stages: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    return subprocess.run(
        [sys.executable, "-m", "flows.reproduce", *stages, "--root", str(root)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_flow_runs_what_changed_and_stops_only_what_a_failure_needs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True
    )
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    first = reproduce(tmp_path, "middle")
    assert first.stdout.split()[1::2] == ["Completed"] * 3, first.stderr
    again = reproduce(tmp_path, "middle")
    assert again.stdout.split()[1::2] == ["Cached"] * 3, again.stderr
    broken = reproduce(tmp_path)
    assert broken.returncode == 1
    assert "not completed: broken\n" in broken.stderr
    assert "gone wrong" in broken.stderr
