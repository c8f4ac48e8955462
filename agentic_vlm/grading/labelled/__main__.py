"""Prints how the rules, Math-Verify called plainly, or a judge agree with the labelled answers."""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agentic_vlm.errors import AgenticError
from agentic_vlm.grading.judges import ModelJudge, open_judge
from agentic_vlm.grading.labelled.agreement import judged_rows, measure_judge
from agentic_vlm.grading.labelled.measure import (
    Agreement,
    grade_by_bare_math_verify,
    grade_row,
    mathematical,
    measure,
)
from agentic_vlm.grading.labelled.pairs import LabelledAnswer, read_labelled
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.params import GradingParams, JudgeOptions

_HEAD = f"{'':24}{'rows':>6}{'right':>8}{'passed wrong':>14}{'failed right':>14}{'undecided':>11}"


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit status is 1 where a rule passes a wrong answer."""
    arguments = _parser().parse_args(argv)
    # Math-Verify logs every expression that it cannot read.
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    rows = read_labelled()
    if arguments.judge is None:
        return _show_rules(rows, names_wrong=arguments.wrong)
    options = JudgeOptions(prompt=arguments.prompt, max_calls=arguments.max_calls)
    params = GradingParams(
        judge=arguments.judge, judge_model=arguments.model, judge_options=options
    )
    try:
        return asyncio.run(_show_judge(judged_rows(rows), params, names_wrong=arguments.wrong))
    except AgenticError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.grading.labelled",
        description="Measure the rules, or a judge, on the labelled answers.",
        epilog="example: AGENTIC_JUDGE_URL=http://127.0.0.1:8000/v1 "
        "python -m agentic_vlm.grading.labelled --judge openai --model Qwen/Qwen2.5-72B-Instruct",
    )
    parser.add_argument("--wrong", action="store_true", help="name the rows that are not right")
    parser.add_argument(
        "--judge",
        choices=["openai", "local", "replay"],
        help="measure a judge: a server, a checkpoint folder, or known verdicts only",
    )
    parser.add_argument("--model", default="judge", help="name of the judge at its server")
    parser.add_argument("--prompt", default=JudgeOptions().prompt, help="its system prompt")
    parser.add_argument("--max-calls", type=int, help="most requests of this run")
    return parser


def _show_rules(rows: Sequence[LabelledAnswer], *, names_wrong: bool) -> int:
    print(_HEAD)
    for rule in Rule:
        print(_line(rule.value, measure([row for row in rows if row.rule is rule], grade_row)))
    total = measure(rows, grade_row)
    ours = measure(mathematical(rows), grade_row)
    bare = measure(mathematical(rows), grade_by_bare_math_verify)
    print(_line("all", total))
    print(_line("mathematics, ours", ours))
    print(_line("mathematics, bare", bare))
    for row in rows if names_wrong else ():
        verdict = grade_row(row)
        if verdict not in (row.label, row.verdict):
            print(f"{row.id}: {row.answer!r} for {row.reference!r}: {verdict}, not {row.label}")
    print(json.dumps({"all": asdict(total), "math": asdict(ours), "math_verify": asdict(bare)}))
    return int(total.num_passed_wrong > 0)


async def _show_judge(
    rows: Sequence[LabelledAnswer], params: GradingParams, *, names_wrong: bool
) -> int:
    async with open_judge(params, root=Path.cwd()) as judge:
        agreement, others = await measure_judge(judge, rows)
    print(_HEAD)
    print(_line(f"judge {params.judge_model}"[:24], agreement))
    for row, verdict in others if names_wrong else ():
        print(f"{row.id}: {row.answer!r} for {row.reference!r}: {verdict}, not {row.label}")
    counts = asdict(judge.counts) if isinstance(judge, ModelJudge) else {}
    print(json.dumps({"judge": params.judge_model, **asdict(agreement), "counts": counts}))
    return 0


def _line(name: str, agreement: Agreement) -> str:
    return (
        f"{name:24}{agreement.num_rows:6}{agreement.share_right:8.1%}"
        f"{agreement.num_passed_wrong:14}{agreement.num_failed_right:14}{agreement.num_undecided:11}"
    )


if __name__ == "__main__":
    sys.exit(main())
