"""A git worktree per run: several runs of one project at once, with one cache."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agentic_vlm.errors import AgenticError

_DVC = (sys.executable, "-m", "dvc")


class ExperimentFailed(AgenticError):
    """DVC or git ended an experiment; whoever runs several goes on with the next one."""


def open_worktree(root: Path, place: Path, *, revision: str) -> None:
    """Bring a worktree to a commit and let it use the cache of the project.

    What git ignores stays, such as the scratch work of a run that was killed.

    Args:
        root: root of the project, a git and DVC repository.
        place: folder of the worktree; made where it is missing.
        revision: commit to check out.

    Raises:
        ExperimentFailed: git or DVC refused.
    """
    ask(["git", "worktree", "prune"], cwd=root)
    if (place / ".git").exists():
        ask(["git", "checkout", "--quiet", "--force", "--detach", revision], cwd=place)
    else:
        ask(["git", "worktree", "add", "--quiet", "--detach", str(place), revision], cwd=root)
    cache = ask([*_DVC, "cache", "dir"], cwd=root)
    ask([*_DVC, "cache", "dir", "--local", str((root / cache).resolve())], cwd=place)


def close_worktree(root: Path, place: Path) -> None:
    """Remove a worktree with everything in it; what DVC has recorded stays in the cache."""
    ask(["git", "worktree", "remove", "--force", str(place)], cwd=root)


def ask(command: Sequence[str], *, cwd: Path) -> str:
    """Run a command of git or DVC and return what it says.

    Raises:
        ExperimentFailed: it ended with another status than 0.
    """
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        what = f"`{' '.join(command)}` failed: {result.stderr.strip()}"
        raise ExperimentFailed(str(cwd), what, "the project must be a git and DVC repository")
    return result.stdout.strip()
