"""Work in a process of its own, which is stopped where it takes too long or holds too much."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from process_tree import private_mib

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Confined:
    """What came of it."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """What the work returned; empty where it was stopped."""
    stopped: str = ""
    """Why there are no figures."""


def run_confined(
    start: str,
    work: Callable[..., Mapping[str, float]],
    *arguments: Any,
    max_s: float,
    max_mb: float,
) -> Confined:
    """Do the work in a process of its own.

    Args:
        start: `fork` inherits what this process holds, `spawn` starts with nothing.
        work: returns figures.
        arguments: for the work; pickled only where it is spawned.
        max_s: seconds that it may take.
        max_mb: memory of its own that it may hold, MB.
    """
    context: Any = multiprocessing.get_context(start)
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(its, work, *arguments))
    process.start()
    its.close()
    deadline = time.monotonic() + max_s
    stopped = ""
    while not mine.poll(_LOOK_S) and process.is_alive() and not stopped:
        if time.monotonic() > deadline:
            stopped = f"not done after {max_s / 60:g} minutes"
        elif (held_mb := private_mib(process.pid) * 1.048576) > max_mb:
            stopped = f"it held {held_mb:.0f} MB of memory, more than {max_mb:.0f}"
    figures: Mapping[str, float] = {}
    if stopped:
        process.kill()
    elif mine.poll():
        try:
            figures = mine.recv()
        except EOFError:
            stopped = "it ended without figures"
    else:
        stopped = "it ended without figures"
    process.join()
    return Confined(figures, stopped)


def _work(
    connection: Connection, work: Callable[..., Mapping[str, float]], *arguments: Any
) -> None:
    connection.send(work(*arguments))
