"""The flow: each stage of the graph as one Prefect task.

DVC decides what is out of date and keeps the results, Prefect decides when a stage starts. A task
asks first whether anything changed; only then does it pay for a process. It ends as `Cached`
(nothing to do), `Restored` (taken from the run cache), `Completed` (ran) or `Failed`.
"""

import contextlib
import json
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.dag import Node, is_up_to_date, load_nodes
from flows.proc import kill_children, run_child

_RESTORED = "is cached - skipping run"
# Two open DVC repositories in one process disturb each other.
_probe = threading.Lock()
# A slot of a killed flow comes back after this time; Prefect's own default is 300 s.
_LEASE_S = 60
_RETRY_DELAY_S = 10


class StageFailed(RuntimeError):
    """DVC ended a stage with another status than 0; raised, so that Prefect retries."""


@task(task_run_name="{node.name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(node: Node, *, root: Path, is_forced: bool = False) -> State[Any]:
    """Bring one stage up to date and say how.

    Raises:
        StageFailed: the stage failed; its last lines are in the message.
    """
    if not is_forced:
        with _probe:
            is_cached = is_up_to_date(root, node.name)
        if is_cached:
            return Completed(name="Cached", message="up to date")
    slots = (
        concurrency(list(node.slots), occupy=1, lease_duration=_LEASE_S)
        if node.slots
        else contextlib.nullcontext()
    )
    with slots:
        is_restored = _reproduce(node, root, is_forced=is_forced)
    _show_metrics(node, root)
    return Completed(name="Restored" if is_restored else "Completed")


@flow(name="pipeline", validate_parameters=False)
def pipeline(
    *, root: Path, targets: Sequence[str] = (), is_forced: bool = False
) -> State[Any] | dict[str, str]:
    """Run the stages in the order of the graph; a failed one stops only what needs it.

    Args:
        root: root of the project.
        targets: stages to run with everything upstream of them; empty for all.
        is_forced: run every stage, up to date or not.

    Returns:
        The name of the final state per stage, or a failed state that names what did not complete.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    try:
        for node in load_nodes(root, targets=targets):
            stage = run_stage.with_options(
                retries=node.retries, retry_delay_seconds=_RETRY_DELAY_S, description=node.desc
            )
            futures[node.name] = stage.submit(
                node,
                root=root,
                is_forced=is_forced,
                return_state=False,
                wait_for=[futures[name] for name in node.upstream],
            )
        for future in futures.values():
            future.wait()
    except BaseException:
        # Cancellation arrives here as an exception; without this the stages would go on alone.
        kill_children()
        raise
    names = {name: str(future.state.name) for name, future in futures.items()}
    failed = [name for name, future in futures.items() if not future.state.is_completed()]
    if failed:
        return Failed(message=f"not completed: {', '.join(failed)}")
    return names


def with_jobs(num_jobs: int) -> Any:
    """Return the flow with room for so many stages at once."""
    runner: Any = ThreadPoolTaskRunner(max_workers=num_jobs)
    return pipeline.with_options(task_runner=runner)


def _reproduce(node: Node, root: Path, *, is_forced: bool) -> bool:
    """Run DVC on one stage and tell whether the run cache had the result."""
    logger = get_run_logger()
    last: list[str] = []
    is_restored = False

    def on_line(line: str) -> None:
        nonlocal is_restored
        is_restored = is_restored or _RESTORED in line
        last.append(line)
        del last[:-20]
        logger.info("%s", line)

    # --wait-for-lock: stages that run at the same time share the lock of the repository.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]
    command += ["--force"] if is_forced else []
    status = run_child([*command, node.name], cwd=root, on_line=on_line)
    if status:
        raise StageFailed(f"{node.name}: dvc ended with status {status}\n" + "\n".join(last))
    return is_restored


def _show_metrics(node: Node, root: Path) -> None:
    rows = []
    for name in node.metrics:
        path = root / name
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            rows += [{"figure": key, "value": json.dumps(value)} for key, value in content.items()]
    if rows:
        key = re.sub("[^a-z0-9]+", "-", node.name)
        create_table_artifact(key=f"metrics-{key}", table=rows, description=node.desc)
