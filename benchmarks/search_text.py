"""Text search measured: recall of real questions among distractors, speed, size and memory."""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from confined import Confined, run_confined
from figures import folder_mb, measure_each, report
from passages import Passage, Question, read_xquad, with_distractors
from process_tree import private_mib
from text_engines import ENGINES, installed_engines


def measure_quality(arguments: argparse.Namespace) -> None:
    """Print recall and mean reciprocal rank of the real questions among distractors."""
    real, questions = read_xquad(arguments.xquad)
    questions = questions[:: arguments.every]
    passages = with_distractors(real, arguments.passages)
    for name, engine in installed_engines(arguments.engines):
        with tempfile.TemporaryDirectory() as scratch:
            engine.build(passages, Path(scratch))
            find = engine.open(Path(scratch))
            ranks = [_rank(find(one.text), one.answer_id) for one in questions]
        report(
            engine=name,
            passages=len(passages),
            questions=len(questions),
            recall_at_1=statistics.mean(rank == 1 for rank in ranks),
            recall_at_5=statistics.mean(0 < rank <= 5 for rank in ranks),
            mrr_at_10=statistics.mean(1 / rank if rank else 0.0 for rank in ranks),
        )


def _rank(found: Sequence[str], wanted: str) -> int:
    return found.index(wanted) + 1 if wanted in found else 0


def measure_speed(arguments: argparse.Namespace) -> None:
    """Print build time, index size, memory and latency of single queries, one after the other.

    Each engine builds in one process and answers in another, so that its memory is its own and
    what it holds while it answers is not what it held while it built. An engine that takes longer
    or holds more than it may is stopped and named.
    """
    real, questions = read_xquad(arguments.xquad)
    questions = [questions[at % len(questions)] for at in range(arguments.queries)]
    passages = with_distractors(real, arguments.passages)
    limits = {"max_s": 60 * arguments.max_minutes, "max_mb": 1e3 * arguments.max_gb}
    for name, _ in installed_engines(arguments.engines):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            built = run_confined("fork", _build, name, passages, folder, **limits)
            asked = Confined()
            if not built.stopped:
                asked = run_confined("spawn", _ask, name, folder, questions, **limits)
        steps = {"build_stopped": built.stopped, "queries_stopped": asked.stopped}
        report(
            engine=name,
            passages=len(passages),
            queries=len(questions),
            **{step: why for step, why in steps.items() if why},
            **built.figures,
            **asked.figures,
        )


def _build(name: str, passages: Sequence[Passage], folder: Path) -> dict[str, float]:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, started_cpu = time.perf_counter(), time.process_time()
    ENGINES[name].build(passages, folder)
    return {
        "build_s": time.perf_counter() - started,
        "build_cpu_s": time.process_time() - started_cpu,
        "build_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1e3,
        "index_mb": folder_mb(folder / ENGINES[name].index),
    }


def _ask(name: str, folder: Path, questions: Sequence[Question]) -> dict[str, float]:
    """Return what it takes to open an index and to ask it; memory without that of the imports."""
    before_mib = private_mib(os.getpid())
    started = time.perf_counter()
    find = ENGINES[name].open(folder)
    open_s = time.perf_counter() - started
    _, figures = measure_each(lambda one: find(one.text), questions)
    memory_mb = (private_mib(os.getpid()) - before_mib) * 1.048576
    return {"open_s": open_s, "memory_mb": memory_mb, **figures}
