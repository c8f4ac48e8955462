"""The flow: each stage of the graph as one Prefect task.

DVC decides what is out of date and keeps the results, Prefect decides when a stage starts. A task
asks first whether anything changed; only then does it pay for a process. It ends as `Cached`
(nothing to do), `Restored` (taken from the run cache), `Completed` (ran) or `Failed`.
"""

import contextlib
import threading
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from agentic_vlm.params import load_params
from flows import show
from flows.dag import Node, is_up_to_date, load_nodes
from flows.params import write_params
from flows.pools import find_pools, run_elsewhere
from flows.proc import ending_children, ending_with_worker, waits_until_ending
from flows.repro import StageFailed, reproduce_stage
from flows.services import Services
from flows.settings import prepare_environment
from flows.workspace import claim_workspace

# Two open DVC repositories in one process disturb each other.
_probe = threading.Lock()
# A slot of a killed flow comes back after this time; Prefect's own default is 300 s.
_LEASE_S = 60
_RETRY_DELAY_S = 10
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=4)


@task(task_run_name="{node.name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(
    node: Node,
    *,
    root: Path,
    is_forced: bool = False,
    services: Services,
    pools: frozenset[str] = frozenset(),
    pages: frozenset[str] = frozenset(),
) -> State[Any]:
    """Bring one stage up to date and say how.

    Args:
        node: the stage.
        root: root of the project.
        is_forced: run it, up to date or not.
        services: servers that must answer before it runs.
        pools: work pools that the server has.
        pages: keys of the artifacts that the server has; what `dvc repro` has run is shown once.

    Raises:
        StageFailed: the stage failed; its last lines are in the message.
    """
    if not is_forced:
        with _probe:
            is_cached = is_up_to_date(root, node.name)
        if is_cached:
            if not show.is_shown(node, pages):
                show.show_stage(node, root)
            # Prefect's own line about the state does not name the stage in the log of the flow.
            get_run_logger().info("%s: up to date", node.name)
            return Completed(name="Cached", message="up to date")
    slots = (
        concurrency(list(node.slots), occupy=1, lease_duration=_LEASE_S)
        if node.slots
        else contextlib.nullcontext()
    )
    with slots, show.showing_lines(node.name, node.desc) as on_line:
        services.ensure(say=get_run_logger().info)
        if node.pool in pools:
            run_elsewhere(node, root, is_forced=is_forced, on_line=on_line)
        is_restored = reproduce_stage(
            node.name,
            root,
            is_forced=is_forced and node.pool not in pools,
            should_pull=node.pool in pools,
            on_line=on_line,
        )
    show.show_stage(node, root)
    if node.pool in pools and is_restored:
        return Completed(name="Completed", message=f"ran in the pool {node.pool}")
    return Completed(name="Restored" if is_restored else "Completed")


@flow(name="pipeline", task_runner=_RUNNER)
def pipeline(
    recipe: str = "",
    overrides: list[str] | None = None,
    targets: list[str] | None = None,
    force: bool = False,
    root: Path = Path(),
) -> State[Any] | dict[str, str]:
    """Run the stages in the order of the graph; a failed one stops only what needs it.

    Args:
        recipe: name of a recipe to lay over params.yaml, which is written anew; empty for none.
        overrides: values to set in params.yaml, such as `train_rl.num_steps=3`.
        targets: stages to run with everything upstream of them; none for all.
        force: run every stage, up to date or not.
        root: root of the project.

    Returns:
        The name of the final state per stage, or a failed state that names what did not complete.
    """
    prepare_environment()
    root = root.resolve()
    logger = get_run_logger()
    with ending_with_worker(), claim_workspace(root, say=logger.warning):
        if recipe or overrides:
            write_params(root / "params.yaml", recipe=recipe, overrides=overrides or ())
        nodes = load_nodes(root, targets=targets or ())
        # A project without params.yaml needs no services.
        has_params = (root / "params.yaml").exists()
        needs = load_params(root / "params.yaml").model_dump() if has_params else {}
        with Services.of(needs, root=root) as services, ending_children():
            return _run_nodes(nodes, root, is_forced=force, services=services)


def with_jobs(num_jobs: int) -> Any:
    """Return the flow with room for so many stages at once."""
    runner: Any = ThreadPoolTaskRunner(max_workers=num_jobs)
    return pipeline.with_options(task_runner=runner)


def _run_nodes(
    nodes: list[Node], root: Path, *, is_forced: bool, services: Services
) -> State[Any] | dict[str, str]:
    pools, pages = find_pools(nodes), show.find_pages()
    futures: dict[str, PrefectFuture[Any]] = {}
    for node in nodes:
        stage = run_stage.with_options(
            retries=node.retries,
            retry_delay_seconds=_RETRY_DELAY_S,
            retry_condition_fn=_may_retry,
            description=node.desc,
        )
        futures[node.name] = stage.submit(
            node,
            root=root,
            is_forced=is_forced,
            services=services,
            pools=pools,
            pages=pages,
            return_state=False,
            wait_for=[futures[name] for name in node.upstream],
        )
    for future in futures.values():
        future.wait()
    endings = {name: str(future.state.name) for name, future in futures.items()}
    show.show_summary(nodes, endings, root)
    failed = [name for name, future in futures.items() if not future.state.is_completed()]
    if failed:
        return Failed(message=f"not completed: {', '.join(failed)}")
    return endings


def _may_retry(task: Any, run: Any, state: State[Any]) -> bool:
    """Tell Prefect not to try again what was killed with its flow: it would wait for nothing."""
    return not waits_until_ending(0.0)


__all__ = ["StageFailed", "pipeline", "run_stage", "with_jobs"]
