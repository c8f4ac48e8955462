"""Grade answers by hand: JSON rows {answer, reference} in, verdicts with their reasons out."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentic_vlm.errors import RecordError
from agentic_vlm.grading.extract import extract_answer
from agentic_vlm.grading.rules import grade_answer
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import AnswerType

_FIX = 'give rows like {"answer": "12", "reference": "12"}, with "aliases": [...] where needed'


@dataclass(frozen=True, slots=True)
class _Reference:
    answer: str
    aliases: tuple[str, ...]
    answer_type: AnswerType | None


def main(argv: list[str] | None = None) -> int:
    """Grade the rows of standard input; the exit status is 1 where a row is no row."""
    arguments = _parser().parse_args(argv)
    rule = None if arguments.rule == "guess" else AnswerType(arguments.rule)
    params = GradingParams(float_tolerance=arguments.float_tolerance)
    try:
        for verdict in _grade_rows(sys.stdin, rule, params, should_extract=arguments.extract):
            print(json.dumps(verdict))
    except RecordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.grading",
        description="Grade JSON rows of standard input by one rule.",
        epilog="""example: echo '{"answer": "1,234", "reference": "1234"}' """
        "| python -m agentic_vlm.grading integer",
    )
    rules = ["guess", *(kind.value for kind in AnswerType)]
    parser.add_argument("rule", choices=rules, help="which rule; `guess` looks at the reference")
    parser.add_argument("--extract", action="store_true", help="answers are whole replies")
    parser.add_argument(
        "--float-tolerance",
        type=float,
        default=GradingParams().float_tolerance,
        help="relative tolerance of the rule `float`",
    )
    return parser


def _grade_rows(
    lines: Iterable[str], rule: AnswerType | None, params: GradingParams, *, should_extract: bool
) -> Iterator[dict[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        answer, reference = _parse_row(line, rule, where=f"standard input, row {number}")
        if should_extract and answer is not None:
            answer = extract_answer(answer)
        grade = grade_answer(answer, reference, params=params)
        yield {"verdict": grade.verdict.value, "rule": grade.rule, "reason": grade.reason}


def _parse_row(line: str, rule: AnswerType | None, *, where: str) -> tuple[str | None, _Reference]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RecordError(where, f"no JSON: {error}", _FIX) from error
    if not isinstance(row, dict) or not isinstance(row.get("reference"), str):
        raise RecordError(where, "no text in field 'reference'", _FIX)
    answer, aliases = row.get("answer"), row.get("aliases", [])
    if answer is not None and not isinstance(answer, str):
        raise RecordError(where, "field 'answer' is neither text nor null", _FIX)
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise RecordError(where, "field 'aliases' is no list of texts", _FIX)
    return answer, _Reference(row["reference"], tuple(aliases), rule)


if __name__ == "__main__":
    sys.exit(main())
