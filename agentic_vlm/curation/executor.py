"""Where the shards of a data stage run: in this process, or on the workers of a Ray cluster.

The environment chooses the place and never the result: `AGENTIC_EXECUTOR` is `local` (the default)
or `ray`. With `RAY_ADDRESS` Ray joins that cluster and takes this package along; without, it starts
one on this machine with `AGENTIC_RAY_WORKERS` workers, as many as there are cores where unset.
"""

import importlib.util
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agentic_vlm.errors import InfrastructureError, ParamsError

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[tuple[T, ...]], list[R]]
"""Turns a shard into results. A module-level function: workers import it by name."""

# How often a shard moves to another worker when the one that has it dies. More deaths than this
# are no accident: the shard itself may be what kills them, by its size for example.
_MAX_MOVES = 4
# Waiting shards per worker: enough to hide the way to the worker, and a bound on what is in memory.
_QUEUED_PER_WORKER = 2


def map_shards(
    work: Work[T, R],
    items: Iterable[T],
    *,
    shard_size: int,
    on_done: Callable[[int], None] | None = None,
) -> Iterator[R]:
    """Yield the results of all shards in the order of the items, wherever they were made.

    A worker that dies loses nothing: its shard is run again elsewhere, and each shard counts once.

    Args:
        work: pure; it may run twice where a worker dies.
        items: read as workers become free, so that few shards are in memory at a time.
        shard_size: items per shard.
        on_done: takes the number of results each time that a shard is done.

    Raises:
        ParamsError: AGENTIC_EXECUTOR names no executor, or ray is not installed.
        InfrastructureError: workers die again and again on the same shard.
    """
    for results in _run(work, _batched(items, shard_size)):
        if on_done is not None:
            on_done(len(results))
        yield from results


def executor_name() -> str:
    """Return the executor that the environment chooses.

    Raises:
        ParamsError: it is unknown, or ray is not installed.
    """
    name = os.environ.get("AGENTIC_EXECUTOR") or "local"
    where = f"AGENTIC_EXECUTOR={name}"
    if name not in ("local", "ray"):
        raise ParamsError(where, "no executor of this name", "set it to local or ray")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise ParamsError(where, "ray is not installed", "pip install 'agentic-vlm[ray]'")
    return name


def _run(work: Work[T, R], shards: Iterator[tuple[T, ...]]) -> Iterator[list[R]]:
    if executor_name() == "local":
        yield from map(work, shards)
        return
    with _cluster() as num_workers:
        yield from _run_on_ray(work, shards, max_queued=num_workers * _QUEUED_PER_WORKER)


def _run_on_ray(
    work: Work[T, R], shards: Iterator[tuple[T, ...]], *, max_queued: int
) -> Iterator[list[R]]:
    import ray

    remote = ray.remote(max_retries=_MAX_MOVES, num_cpus=1)(_run_shard)
    queued: deque[Any] = deque()
    for shard in itertools.chain(shards, [None]):
        if shard is not None:
            queued.append(remote.remote(work, shard))
        while queued and (shard is None or len(queued) >= max_queued):
            yield _take(queued.popleft())


def _run_shard(work: Work[T, R], shard: tuple[T, ...]) -> list[R]:
    """Run one shard; under this name workers show up in the list of processes."""
    return work(shard)


def _take(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as fault:
        # The fault of the work itself, as it would be raised in this process.
        raise fault.cause from fault
    except ray.exceptions.RayError as fault:
        raise InfrastructureError(
            "executor ray",
            f"no worker finished a shard, in {_MAX_MOVES + 1} tries: {str(fault).splitlines()[0]}",
            "look at the memory of the workers, or run without AGENTIC_EXECUTOR",
        ) from fault


@contextmanager
def _cluster() -> Iterator[int]:
    """Join or start a cluster and give the number of its workers; one that runs is left alone."""
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(**_settings(), log_to_driver=False, include_dashboard=False)
    try:
        yield max(int(ray.cluster_resources().get("CPU", 1)), 1)
    finally:
        if is_ours:
            ray.shutdown()


def _settings() -> dict[str, Any]:
    if os.environ.get("RAY_ADDRESS"):
        package = Path(__file__).parents[1]
        return {"runtime_env": {"py_modules": [str(package)]}}
    workers = os.environ.get("AGENTIC_RAY_WORKERS")
    return {"address": "local", "num_cpus": int(workers) if workers else None}


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rows = iter(items)
    while shard := tuple(itertools.islice(rows, size)):
        yield shard
