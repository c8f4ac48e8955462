"""`python -m flows.lock_check`: does dvc.lock describe every stage? Runs nothing, needs no data."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_STALE = "Running stage '"


def find_stale(root: Path) -> list[str]:
    """Return the stages that DVC would run again, from what it says; its exit status is 0 anyway.

    Raises:
        CalledProcessError: DVC could not say; `output` holds why.
    """
    words = ["-m", "dvc", "repro", "--allow-missing", "--dry"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(_STALE)]
    # Below a stale stage DVC misses data that only a run would make, and ends with a fault.
    if done.returncode and not lines:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout)
    return [line.removeprefix(_STALE).partition("'")[0] for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Name the stale stages and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.lock_check",
        description="Name the stages that dvc.lock does not describe. Stages below them may be "
        "stale too: DVC knows only once these have run.",
        epilog="Example: python -m flows.lock_check",
    )
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    options = parser.parse_args(arguments)
    try:
        stale = find_stale(options.root)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{error.output}\nDVC could not compare dvc.lock with the project\n")
        return 1
    if stale:
        sys.stderr.write(f"dvc.lock is stale: {', '.join(stale)}\n")
        fix = "make reproduce; or `dvc commit -f STAGE` after an edit that changes no result"
        sys.stderr.write(f"  fix: {fix}\n")
        return 1
    sys.stdout.write("dvc.lock describes every stage\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
