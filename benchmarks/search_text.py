"""Text search measured: recall of real questions among distractors, speed, size and memory."""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from figures import measure_each, report
from passages import Passage, Question, read_xquad, with_distractors
from text_engines import Built, installed_engines


def measure_quality(arguments: argparse.Namespace) -> None:
    """Print recall and mean reciprocal rank of the real questions among distractors."""
    real, questions = read_xquad(arguments.xquad)
    questions = questions[:: arguments.every]
    passages = with_distractors(real, arguments.passages)
    for name, build in installed_engines(arguments.engines):
        with tempfile.TemporaryDirectory() as folder:
            built = build(passages, Path(folder))
            ranks = [_rank(built.find(one.text), one.answer_id) for one in questions]
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

    Each engine has a process of its own, so that its memory is its own.
    """
    real, questions = read_xquad(arguments.xquad)
    passages = with_distractors(real, arguments.passages)
    forking = multiprocessing.get_context("fork")
    for name, build in installed_engines(arguments.engines):
        one = forking.Process(
            target=_measure_engine, args=(name, build, passages, questions[: arguments.queries])
        )
        one.start()
        one.join()
        if one.exitcode:
            report(engine=name, passages=len(passages), failed=one.exitcode)


def _measure_engine(
    name: str,
    build: Callable[[Sequence[Passage], Path], Built],
    passages: Sequence[Passage],
    questions: Sequence[Question],
) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        started, started_cpu = time.perf_counter(), time.process_time()
        built = build(passages, Path(folder))
        build_s, build_cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        build_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, figures = measure_each(lambda one: built.find(one.text), questions)
    report(
        engine=name,
        passages=len(passages),
        queries=len(questions),
        build_s=build_s,
        build_cpu_s=build_cpu_s,
        index_mb=built.size_mb,
        build_memory_mb=(build_kb - before_kb) / 1e3,
        **figures,
    )
