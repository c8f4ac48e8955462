"""The graph of stages as DVC knows it.

`get_active_graph`, `plan_repro` and `collect_stages` are no public interface of DVC; this is the
only module that uses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

from agentic_vlm.errors import ParamsError


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of the graph."""

    name: str
    """Address in DVC, such as `curate` or `evaluate@base`."""
    upstream: tuple[str, ...]
    """Stages whose outputs it reads."""
    metrics: tuple[str, ...]
    """Its metrics files, relative to the root."""
    desc: str
    """What it does."""
    slots: tuple[str, ...]
    """Names of the concurrency limits that it takes one place of."""
    retries: int
    """New tries after a failure."""
    pool: str
    """Work pool whose machines run it where the server has that pool; empty for this machine."""
    outputs: tuple[str, ...]
    """What it writes, relative to the root; metrics and plots are among them."""
    params: tuple[str, ...] = ()
    """Keys of params.yaml that it depends on."""
    is_frozen: bool = False
    """Whether DVC leaves it as it is, whatever it depends on."""


def load_nodes(root: Path, *, targets: Sequence[str] = ()) -> list[Node]:
    """Return the stages in an order in which they can run, upstream first.

    Args:
        root: root of the project, with dvc.yaml.
        targets: stages to run with everything upstream of them; empty for all.

    Raises:
        ParamsError: DVC cannot read the graph, or a target is unknown.
    """
    # A bare name would be looked up in the folder from which this process was started.
    addresses = [f"{root / 'dvc.yaml'}:{target}" for target in targets]
    try:
        with Repo(str(root)) as repo:
            graph = get_active_graph(repo.index.graph)
            wanted = collect_stages(repo, addresses) if targets else None
            planned = [stage for stage in plan_repro(graph, wanted) if stage.cmd]
            names = {stage.name for stage in planned}
            return [
                Node(
                    name=stage.name,
                    upstream=tuple(sorted({one.name for one in graph.successors(stage)} & names)),
                    metrics=tuple(sorted(out.def_path for out in stage.outs if out.metric)),
                    desc=stage.desc or "",
                    slots=tuple((stage.meta or {}).get("slots", ())),
                    retries=int((stage.meta or {}).get("retries", 0)),
                    pool=str((stage.meta or {}).get("pool", "")),
                    outputs=tuple(sorted(out.def_path for out in stage.outs)),
                    params=tuple(
                        str(key)
                        for one in stage.deps
                        if isinstance(one, ParamsDependency)
                        for key in one.params
                    ),
                    is_frozen=bool(stage.frozen),
                )
                for stage in planned
            ]
    except DvcException as fault:
        fix = "`dvc stage list` names the stages"
        raise ParamsError("dvc.yaml", str(fault), fix) from fault


def is_up_to_date(root: Path, name: str) -> bool:
    """Tell whether dvc.lock describes a stage; False where another process holds a lock."""
    try:
        with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
            (stage,) = repo.stage.collect(f"{root / 'dvc.yaml'}:{name}")
            return not stage.changed()
    except LockError:
        return False
