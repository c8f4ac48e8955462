"""Prints how the rules, and bare Math-Verify beside them, agree with the labelled answers."""

import argparse
import json
import logging
import sys
from dataclasses import asdict

from agentic_vlm.grading.labelled.measure import (
    Agreement,
    grade_by_bare_math_verify,
    grade_row,
    mathematical,
    measure,
)
from agentic_vlm.grading.labelled.pairs import read_labelled
from agentic_vlm.grading.rule_names import Rule

_HEAD = f"{'':24}{'rows':>6}{'right':>8}{'passed wrong':>14}{'failed right':>14}{'undecided':>11}"


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit status is 1 where a wrong answer is passed as correct."""
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.grading.labelled",
        description="Measure the rules on the labelled answers.",
        epilog="example: python -m agentic_vlm.grading.labelled --wrong",
    )
    parser.add_argument("--wrong", action="store_true", help="name the rows that are not right")
    arguments = parser.parse_args(argv)
    # Math-Verify logs every expression that it cannot read.
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    rows = read_labelled()
    print(_HEAD)
    for rule in Rule:
        print(_line(rule.value, measure([row for row in rows if row.rule is rule], grade_row)))
    total = measure(rows, grade_row)
    ours = measure(mathematical(rows), grade_row)
    bare = measure(mathematical(rows), grade_by_bare_math_verify)
    print(_line("all", total))
    print(_line("mathematics, ours", ours))
    print(_line("mathematics, bare", bare))
    if arguments.wrong:
        for row in rows:
            verdict = grade_row(row)
            if verdict not in (row.label, row.verdict):
                print(f"{row.id}: {row.answer!r} for {row.reference!r}: {verdict}, not {row.label}")
    print(json.dumps({"all": asdict(total), "math": asdict(ours), "math_verify": asdict(bare)}))
    return int(total.num_passed_wrong > 0)


def _line(name: str, agreement: Agreement) -> str:
    return (
        f"{name:24}{agreement.num_rows:6}{agreement.share_right:8.1%}"
        f"{agreement.num_passed_wrong:14}{agreement.num_failed_right:14}{agreement.num_undecided:11}"
    )


if __name__ == "__main__":
    sys.exit(main())
