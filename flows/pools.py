"""Stages on other machines: a Prefect work pool runs them, the run cache of DVC carries results.

The machine that owns the run pushes what the stage reads, a worker of the pool runs it in its own
checkout and pushes the result with its entry of the run cache. The owner then repeats the stage,
finds the result there, and writes dvc.lock as if it had run here. Where code or inputs differ, the
entry does not match and the stage simply runs here.
"""

import subprocess
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_client, get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.states import Cancelling, Crashed

from flows import show
from flows.dag import Node
from flows.proc import FlowEnds, ending_children, ending_with_worker, waits_until_ending
from flows.repro import StageFailed, reproduce_stage, run_dvc
from flows.settings import prepare_environment
from flows.workspace import claim_workspace

_ASK_EVERY_S = 1.0
# Prefect's server takes a worker for lost after as many.
_NUM_BEATS = 3
_BEAT_S = 30
"""Time between two beats of a worker that does not say how long it is."""


def find_pools(nodes: Iterable[Node]) -> frozenset[str]:
    """Return the work pools of these stages that the server has; other stages run here."""
    names = sorted({node.pool for node in nodes} - {""})
    if not names:
        return frozenset()
    wanted = WorkPoolFilter(name=WorkPoolFilterName(any_=names))
    with get_client(sync_client=True) as client:
        return frozenset(pool.name for pool in client.read_work_pools(work_pool_filter=wanted))


def run_elsewhere(
    node: Node, root: Path, *, is_forced: bool, on_line: Callable[[str], None]
) -> None:
    """Let the pool of a stage run it and push the result to the remote.

    Raises:
        StageFailed: the inputs could not be pushed, or the stage failed there.
    """
    if node.upstream:
        run_dvc("push", *node.upstream, root=root, on_line=lambda line: None)
    on_line(f"{node.name}: waits for a worker of the pool {node.pool}")
    lock = root / "dvc.lock"
    run = run_deployment(
        f"stage/{node.pool}",
        parameters={
            "name": node.name,
            "upstream": list(node.upstream),
            "params": (root / "params.yaml").read_text(encoding="utf-8"),
            "lock": lock.read_text(encoding="utf-8") if lock.exists() else "",
            "revision": revision_of(root),
            "force": is_forced,
        },
        timeout=0,
        flow_run_name=node.name,
    )
    assert isinstance(run, FlowRun)
    state = _wait(run)
    if not state.is_completed():
        what = f"{state.name}: {state.message}"
        raise StageFailed(f"{node.name}: ended in the pool {node.pool} as {what}")
    on_line(f"{node.name}: ran in the pool {node.pool}, run {run.name}")


def _wait(run: FlowRun) -> State[Any]:
    """Return the final state of a run; cancel it when this flow is being ended.

    Raises:
        FlowEnds: this flow is being ended.
        StageFailed: its worker has been silent for too long, as on a machine that has died.
    """
    pulse = _Pulse()
    with get_client(sync_client=True) as client:
        while True:
            run = client.read_flow_run(run.id)
            if run.state is not None and run.state.is_final():
                return run.state
            pulse.check(client, run)
            if waits_until_ending(_ASK_EVERY_S):
                client.set_flow_run_state(run.id, Cancelling(), force=True)
                raise FlowEnds(f"{run.name}: cancelled with this flow")


class _Pulse:
    """What is known of the worker that has a run, by the beats that it sends to the server.

    A run whose process dies is reported by its worker; nobody reports a machine that dies.
    """

    def __init__(self) -> None:
        self._beat: datetime | None = None
        self._felt_s = time.monotonic()

    def check(self, client: SyncPrefectClient, run: FlowRun) -> None:
        """Take the run for dead where its worker has been silent for three beats, that is 90 s.

        Raises:
            StageFailed: it has.
        """
        name = run.labels.get("prefect.worker.name")
        if name is None or run.work_pool_name is None:
            return
        workers = client.read_workers_for_work_pool(run.work_pool_name)
        worker = next((one for one in workers if one.name == name), None)
        # A beat is compared with the one before, so clocks of different machines may differ.
        if worker is None or worker.last_heartbeat_time != self._beat:
            self._beat = worker.last_heartbeat_time if worker else None
            self._felt_s = time.monotonic()
            return
        patience_s = _NUM_BEATS * (worker.heartbeat_interval_seconds or _BEAT_S)
        if time.monotonic() - self._felt_s > patience_s:
            what = f"nothing was heard from {name} for {patience_s} s"
            client.set_flow_run_state(run.id, Crashed(message=what), force=True)
            raise StageFailed(
                f"{run.name}: taken for dead in the pool {run.work_pool_name}: {what}"
            )


@flow(name="stage")
def stage(
    name: str, upstream: list[str], params: str, lock: str, revision: str, force: bool = False
) -> None:
    """Run one stage in the checkout of a worker and push what it wrote.

    params.yaml, dvc.lock and the data of this checkout are replaced by those of the sender.

    Args:
        name: address of the stage.
        upstream: stages whose outputs it reads.
        params: text of the sender's params.yaml.
        lock: text of the sender's dvc.lock; empty where it has none.
        revision: commit of the sender; another one here is told, not refused.
        force: run it, whatever is known about it.

    Raises:
        StageFailed: DVC ended with another status than 0.
    """
    prepare_environment()
    root = Path.cwd()
    logger = get_run_logger()
    if revision != revision_of(root):
        logger.warning("this checkout is at %s, the sender at %s", revision_of(root), revision)
    with (
        ending_with_worker(),
        claim_workspace(root, say=logger.warning),
        ending_children(),
        show.showing_lines(name, "in a checkout of its pool") as on_line,
    ):
        (root / "params.yaml").write_text(params, encoding="utf-8")
        # DVC takes an empty lock for a broken one.
        if lock:
            (root / "dvc.lock").write_text(lock, encoding="utf-8")
        else:
            (root / "dvc.lock").unlink(missing_ok=True)
        if upstream:
            run_dvc("pull", "--force", *upstream, root=root, on_line=on_line)
        reproduce_stage(name, root, is_forced=force, should_pull=True, on_line=on_line)
        run_dvc("push", "--run-cache", name, root=root, on_line=on_line)


def revision_of(root: Path) -> str:
    """Return the commit of a checkout; empty outside of git."""
    words = ["git", "rev-parse", "HEAD"]
    result = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    return result.stdout.strip()
