"""Figures of benchmarks: lines of JSON, and the size of a folder."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")


def report(**row: object) -> None:
    """Print a row as one JSON object."""
    rounded = {key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()}
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


def finish(figures: Mapping[str, object], out: Path | None) -> None:
    """Print all figures as one line of JSON, the last of a benchmark, and write it to a file."""
    line = json.dumps(figures) + "\n"
    sys.stdout.write(line)
    if out is not None:
        out.write_text(line, encoding="utf-8")


def folder_mb(folder: Path) -> float:
    """Return the size of all files below a folder, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure_each(work: Callable[[T], R], things: Iterable[T]) -> tuple[list[R], dict[str, float]]:
    """Do the work once per thing; return what came of it, and how long single calls took.

    CPU time is told beside the time on the clock: other programs on the machine hardly change it.
    """
    results, wall, cpu = [], [], []
    for thing in things:
        started, started_cpu = time.perf_counter(), time.process_time()
        results.append(work(thing))
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    return results, {
        "p50_ms": 1e3 * statistics.median(wall),
        "p99_ms": 1e3 * float(np.percentile(wall, 99)),
        "cpu_p50_ms": 1e3 * statistics.median(cpu),
        "cpu_p99_ms": 1e3 * float(np.percentile(cpu, 99)),
        "per_second": len(wall) / sum(wall),
        "per_cpu_second": len(cpu) / sum(cpu),
    }
