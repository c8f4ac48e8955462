"""One stage, run by DVC in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import tenacity

from flows.proc import run_child, waits_until_ending

_RESTORED = "is cached - skipping run"
_NUM_LAST_LINES = 20
_BUSY = "is busy, it is being blocked by"
_PATIENCE_S = 30.0
"""How long a stage waits for files that DVC holds: --wait-for-lock waits for the repository only,
and a killed DVC holds its files until the system has forgotten its process."""


class StageFailed(RuntimeError):
    """DVC ended a stage with another status than 0; raised, so that Prefect retries."""


class StageBusy(StageFailed):
    """Another DVC holds files of the stage; raised once patience has run out."""


def run_dvc(*words: str, root: Path, on_line: Callable[[str], None]) -> list[str]:
    """Run a DVC command and return its last lines; wait where another one holds its files.

    Raises:
        StageFailed: it ended with another status than 0; its last lines are in the message.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StageBusy),
        stop=tenacity.stop_after_delay(_PATIENCE_S),
        wait=tenacity.wait_fixed(1.0),
        sleep=_pause,
        reraise=True,
    )
    return attempts(_run_once, words, root, on_line)


def _pause(seconds: float) -> None:
    waits_until_ending(seconds)


def _run_once(words: tuple[str, ...], root: Path, on_line: Callable[[str], None]) -> list[str]:
    last: list[str] = []

    def keep(line: str) -> None:
        last.append(line)
        del last[:-_NUM_LAST_LINES]
        on_line(line)

    # --wait-for-lock: stages that run at the same time share the lock of the repository.
    status = run_child(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *words], cwd=root, on_line=keep
    )
    if status:
        said = "\n".join(last)
        fault = StageBusy if _BUSY in said else StageFailed
        raise fault(f"dvc {' '.join(words)}: ended with status {status}\n{said}")
    return last


def reproduce_stage(
    name: str,
    root: Path,
    *,
    is_forced: bool = False,
    should_pull: bool = False,
    on_line: Callable[[str], None],
) -> bool:
    """Bring one stage up to date and tell whether the run cache had its result.

    Args:
        name: address of the stage, such as `evaluate@base`.
        root: root of the project.
        is_forced: run it, up to date or not.
        should_pull: look for its result in the remote too.
        on_line: takes each line that DVC and the stage write.

    Raises:
        StageFailed: the stage failed; its last lines are in the message.
    """
    is_restored = False

    def watch(line: str) -> None:
        nonlocal is_restored
        is_restored = is_restored or _RESTORED in line
        on_line(line)

    options = ["--force"] if is_forced else []
    options += ["--pull"] if should_pull else []
    run_dvc("repro", "--single-item", *options, name, root=root, on_line=watch)
    return is_restored
