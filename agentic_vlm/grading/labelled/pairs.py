"""Reads the labelled answers that ship with the package."""

from pathlib import Path

from pydantic import ValidationError

from agentic_vlm.errors import RecordError
from agentic_vlm.grading.extract import extract_answer
from agentic_vlm.grading.findings import Reference
from agentic_vlm.grading.rule_names import Rule
from agentic_vlm.schema import Record, Verdict

FOLDER = Path(__file__).parent


class LabelledAnswer(Record):
    """An answer, what a person says about it, and what a rule without a judge may say."""

    id: str
    """Rule and number."""
    rule: Rule
    """The rule that grades it."""
    question: str
    """What was asked."""
    reference: str
    """The right answer."""
    aliases: tuple[str, ...] = ()
    """Other right answers."""
    options: tuple[str, ...] = ()
    """Texts of the options; empty where the answer is not chosen."""
    precision: int | None = None
    """Decimals that count; absent where none are asked for."""
    reply: bool = False
    """Whether `answer` is a whole reply, from which the answer must be extracted."""
    answer: str
    """What a model said."""
    label: Verdict
    """What a person says: correct or incorrect."""
    verdict: Verdict | None = None
    """`ungraded` where a rule should leave it to a judge; absent: the label."""
    official: Verdict | None = None
    """Verdict of the benchmark authors' rule, where it is pinned; else absent."""
    paper: Verdict | None = None
    """Verdict of the released fork's rule, where it is pinned; else absent."""
    why: str
    """What the row is about."""

    @property
    def given(self) -> str | None:
        """The answer, extracted where the row is a whole reply."""
        return extract_answer(self.answer) if self.reply else self.answer

    @property
    def wanted(self) -> Reference:
        """What the rule compares with."""
        return Reference(
            self.reference,
            self.aliases,
            options=self.options,
            precision=self.precision,
            question=self.question,
        )


def read_labelled(folder: Path = FOLDER) -> list[LabelledAnswer]:
    """Read every `*.jsonl` file of a folder, in the order of their names.

    Raises:
        RecordError: a row is no labelled answer; names file, row (from 1) and field.
    """
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                rows.append(LabelledAnswer.model_validate_json(line))
            except ValidationError as fault:
                first = fault.errors()[0]
                where = f"{path.name}, row {number}, field {'.'.join(map(str, first['loc']))!r}"
                fix = "see docs/grading.md for the form of a row"
                raise RecordError(where, first["msg"], fix) from fault
    return rows
