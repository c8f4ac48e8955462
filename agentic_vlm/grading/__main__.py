"""Grade answers by hand: JSON rows {answer, reference} in, verdicts with their reasons out."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentic_vlm.errors import RecordError
from agentic_vlm.grading.extract import extract_answer, extract_as_released
from agentic_vlm.grading.findings import Grade, Reference
from agentic_vlm.grading.modes import ALL_DEFECTS, DEFECTS, Defect, Mode
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.grading.rules import grade_by_rule, guess_answer_type
from agentic_vlm.params import GradingParams

_FIX = 'give rows like {"answer": "12", "reference": "12"}, with "aliases": [...] where needed'
_GUESS = "guess"


class _Row(BaseModel):
    """A row of standard input; fields that are not named here are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    answer: str | None
    reference: str
    aliases: list[str] = []
    options: list[str] = []
    precision: int | None = None
    min_iou: float = Field(0.5, gt=0.0, le=1.0)
    question: str = ""

    @property
    def wanted(self) -> Reference:
        return Reference(
            self.reference,
            tuple(self.aliases),
            options=tuple(self.options),
            precision=self.precision,
            min_iou=self.min_iou,
            question=self.question,
        )


@dataclass(frozen=True, slots=True)
class _Grader:
    rule: Rule | None
    mode: Mode
    defects: frozenset[Defect]
    should_extract: bool
    params: GradingParams

    def grade(self, row: _Row) -> Grade:
        answer = row.answer
        if self.should_extract and answer is not None:
            is_released = self.mode is Mode.PAPER and Defect.FIRST_TAG in self.defects
            answer = extract_as_released(answer) if is_released else extract_answer(answer)
        rule = self.rule or Rule(guess_answer_type(row.reference).value)
        return grade_by_rule(
            rule, answer, row.wanted, params=self.params, mode=self.mode, defects=self.defects
        )


def main(argv: list[str] | None = None) -> int:
    """Grade the rows of standard input; the exit status is 1 where a row is no row."""
    arguments = _parser().parse_args(argv)
    if arguments.rule == "defects":
        for defect, meaning in DEFECTS.items():
            print(f"{defect.value:20} {meaning}")
        return 0
    grader = _Grader(
        rule=None if arguments.rule == _GUESS else Rule(arguments.rule),
        mode=Mode(arguments.mode),
        defects=ALL_DEFECTS - {Defect(name) for name in arguments.without},
        should_extract=arguments.extract,
        params=GradingParams(float_tolerance=arguments.float_tolerance),
    )
    try:
        for verdict in _grade_rows(sys.stdin, grader):
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
    rules = [_GUESS, *(rule.value for rule in Rule), "defects"]
    parser.add_argument(
        "rule",
        choices=rules,
        help="which rule; `guess` looks at the reference, `defects` lists those of mode paper",
    )
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.STRICT.value,
        help="whose rules: ours, the benchmark authors', or the released evaluation's",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=[defect.value for defect in Defect],
        help="switch off one defect of mode paper; may be given several times",
    )
    parser.add_argument("--extract", action="store_true", help="answers are whole replies")
    parser.add_argument(
        "--float-tolerance",
        type=float,
        default=GradingParams().float_tolerance,
        help="relative tolerance of the rule `float`",
    )
    return parser


def _grade_rows(lines: Iterable[str], grader: _Grader) -> Iterator[dict[str, object]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        grade = grader.grade(_parse_row(line, where=f"standard input, row {number}"))
        row: dict[str, object] = {
            "verdict": grade.verdict.value,
            "rule": grade.rule,
            "reason": grade.reason,
        }
        yield row if grade.score is None else {**row, "score": grade.score}


def _parse_row(line: str, *, where: str) -> _Row:
    try:
        return _Row.model_validate(_without_lone_surrogates(json.loads(line)))
    except ValidationError as fault:
        first = fault.errors()[0]
        field = ".".join(map(str, first["loc"])) or "row"
        raise RecordError(where, f"field {field!r}: {first['msg'][:200]}", _FIX) from fault
    except (ValueError, RecursionError) as error:
        raise RecordError(where, f"no JSON: {error}", _FIX) from error


def _without_lone_surrogates(value: object) -> object:
    """Replace halves of signs, which cut-off model output holds and UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(key): _without_lone_surrogates(part) for key, part in value.items()}
    return [_without_lone_surrogates(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
