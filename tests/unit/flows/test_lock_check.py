"""Which stages does dvc.lock not describe? On a DVC project of two stages, without its data."""

import shutil
import subprocess
import sys

from flows.lock_check import main

PIPELINE = """
stages:
  first:
    cmd: cp given.txt first.txt
    deps: [given.txt]
    outs: [first.txt]
  last:
    cmd: cp first.txt last.txt
    deps: [first.txt]
    outs: [last.txt]
"""


def test_stale_stages_are_named_and_a_current_lock_needs_no_data(tmp_path, capsys):
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "given.txt").write_text("given")
    subprocess.run([*dvc, "repro", "-q"], cwd=tmp_path, check=True)
    for name in ("first.txt", "last.txt"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "dvc.lock describes every stage\n"
    (tmp_path / "given.txt").write_text("changed")
    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "dvc.lock is stale: first\n"
        "  fix: make reproduce; or `dvc commit -f STAGE` after an edit that changes no result\n"
    )
