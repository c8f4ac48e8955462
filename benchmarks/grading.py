"""Verdicts per second of our mathematics against Math-Verify called plainly, on the same pairs.

Both grade the mathematical part of the labelled set, `--repeats` times, with a changed number in
every repeat, so that nothing is answered from memory. They take turns, repeat by repeat, so that
what else the machine does falls on both; the ratio is the median over the repeats. LaTeX outside of
dollars is not LaTeX to Math-Verify, which then has little to do and is often wrong, so it is also
timed on the same texts in dollars: that is the work which a right verdict needs. The last line is
JSON. The full size:

    python benchmarks/grading.py --repeats 7
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from math_verify import parse, verify

from agentic_vlm.grading import Reference, Rule, grade_by_rule
from agentic_vlm.grading.labelled import read_labelled
from agentic_vlm.grading.labelled.measure import mathematical

Pair = tuple[str, str]


def make_pairs(repeat: int) -> list[Pair]:
    """Return pairs of reference and answer; each repeat adds a term, so that all are distinct."""
    rows = [row for row in mathematical(read_labelled()) if row.answer.strip()]
    suffix = f" + {repeat}" if repeat else ""
    return [(f"{row.reference}{suffix}", f"{row.answer}{suffix}") for row in rows]


def by_rule(pair: Pair) -> bool:
    """Grade with the rule `math`: numbers and layout first, the pool for the rest."""
    return grade_by_rule(Rule.MATH, pair[1], Reference(pair[0])).verdict.value == "correct"


def by_math_verify(pair: Pair) -> bool:
    """Grade as Math-Verify's README shows."""
    return bool(verify(parse(pair[0]), parse(pair[1])))


def by_math_verify_in_dollars(pair: Pair) -> bool:
    """Grade with Math-Verify, the texts in dollars, so that it reads all of them."""
    return bool(verify(parse(f"${pair[0]}$"), parse(f"${pair[1]}$")))


def rate(grade: Callable[[Pair], bool], pairs: Sequence[Pair], *, num_threads: int = 1) -> float:
    """Return verdicts per second of wall time."""
    start = time.perf_counter()
    if num_threads == 1:
        for pair in pairs:
            grade(pair)
    else:
        with ThreadPoolExecutor(num_threads) as threads:
            list(threads.map(grade, pairs))
    return len(pairs) / (time.perf_counter() - start)


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description="Verdicts per second against plain Math-Verify.")
    parser.add_argument("--repeats", type=int, default=3)
    num_repeats = parser.parse_args().repeats
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    # Both build grammars with the first pair; the pool starts its process with it.
    warm = ("x + x^2", "x^2 + x")
    by_rule(warm)
    by_math_verify(warm)
    ours: list[float] = []
    plain: list[float] = []
    dollars: list[float] = []
    both: list[float] = []
    for repeat in range(num_repeats):
        pairs = make_pairs(repeat)
        ours.append(rate(by_rule, pairs))
        plain.append(rate(by_math_verify, pairs))
        dollars.append(rate(by_math_verify_in_dollars, pairs))
        # The pool has two processes; Math-Verify's own time limit works in the main thread only.
        # Other pairs than before: the pool remembers what it compared.
        both.append(rate(by_rule, make_pairs(num_repeats + repeat), num_threads=2))
    report = {
        "benchmark": "grading",
        "pairs_per_repeat": len(pairs),
        "repeats": num_repeats,
        "ours_per_s": round(median(ours), 1),
        "ours_two_threads_per_s": round(median(both), 1),
        "math_verify_per_s": round(median(plain), 1),
        "math_verify_in_dollars_per_s": round(median(dollars), 1),
        "ratio": round(median(a / b for a, b in zip(ours, plain, strict=True)), 2),
        "ratio_in_dollars": round(median(a / b for a, b in zip(ours, dollars, strict=True)), 2),
        "ratio_two_threads": round(median(a / b for a, b in zip(both, plain, strict=True)), 2),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
