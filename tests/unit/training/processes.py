"""Work done by several processes together, with gloo; forked, so that nothing is imported twice."""

import datetime
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState

_TIMEOUT = datetime.timedelta(minutes=10)


def run_ranks(
    work: Callable[[int], Any],
    folder: Path,
    *,
    num_ranks: int = 2,
    environment: dict[str, str] | None = None,
) -> list[Any]:
    """Run `work(rank)` in processes of one group and return what each gave back, by rank.

    They meet at a file in `folder`, which must be fresh: no port is taken.
    """
    folder.mkdir()
    children = []
    for rank in range(num_ranks):
        child = os.fork()
        if child == 0:
            _be_rank(work, folder, rank, num_ranks, environment or {})
        children.append(child)
    status = 0
    for child in children:
        _, ended = os.waitpid(child, 0)
        status = status or ended
        if ended:
            # Its peers would wait for it.
            for other in children:
                _kill(other)
    errors = "\n".join(path.read_text() for path in sorted(folder.glob("*.err")))
    assert status == 0, errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(num_ranks)]


def _be_rank(
    work: Callable[[int], Any], folder: Path, rank: int, size: int, environment: dict[str, str]
) -> None:
    status = 1
    try:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(size),
            LOCAL_WORLD_SIZE=str(size),
            MASTER_ADDR="127.0.0.1",
            OMP_NUM_THREADS="1",
            **environment,
        )
        AcceleratorState._reset_state(reset_partial_state=True)
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=size,
            timeout=_TIMEOUT,
        )
        torch.save(work(rank), folder / f"{rank}.pt")
        status = 0
    except BaseException:
        (folder / f"{rank}.err").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(status)


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return
