"""What the kernel tells about a process and those below it."""

import os
from collections.abc import Iterable
from pathlib import Path


def children(pid: int) -> set[int]:
    """Return the processes that a process started; none of one that is gone."""
    try:
        return {int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def descendants(pid: int) -> set[int]:
    """Return a process and everything below it."""
    found, queue = {pid}, [pid]
    while queue:
        for child in children(queue.pop()) - found:
            found.add(child)
            queue.append(child)
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rss_mib(pid: int) -> float:
    """Return the memory of a process that is in use, shared or not, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def private_mib(pid: int) -> float:
    """Return the memory that a process shares with none, MiB; 0 where it is gone or not ours."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def num_descriptors(pids: Iterable[int]) -> int:
    """Return how many descriptors these processes hold; those of others' processes count as 0."""
    return sum(_num_descriptors(pid) for pid in pids)


def _num_descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
