"""Multiple choice: options in columns, gold letters, the prompt that VLMEvalKit builds."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt, option_aliases
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.schema import AnswerType

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHOICE_RULE = "the one option letter, else the one option text that the answer holds, else a judge"


def read_options(row: Row) -> dict[str, str]:
    """Return the columns A, B, C and so on that the row fills, in order."""
    found = ((letter, row.maybe(letter, f"choice_{letter}")) for letter in LETTERS)
    return {letter: text for letter, text in found if text is not None}


def choice_item(
    row: Row,
    *,
    item_id: str,
    question: str,
    options: Mapping[str, str],
    labels: Mapping[str, str],
    answer: str | None = None,
    images: tuple[bytes, ...] | None = None,
    rule: str = "choice",
) -> SuiteItem:
    """Return a multiple-choice item; the gold letter may stand in brackets.

    Raises:
        RecordError: the gold letter is no option of a row that lists its options.
    """
    gold = row.text("answer") if answer is None else answer
    letter = gold.strip().strip("().[]: ").upper()
    if options and letter not in options:
        raise row.fault("answer", f"{letter!r} is none of the options {', '.join(options)}")
    # A row without options may ask for a text, as TreeBench's OCR questions do.
    is_letter = len(letter) == 1
    return SuiteItem(
        item_id=item_id,
        question=question,
        answer=letter if is_letter else gold,
        answer_type=AnswerType.CHOICE if is_letter else AnswerType.TEXT,
        rule=rule if is_letter else "",
        options=tuple(options.values()),
        aliases=option_aliases(options, letter),
        images=read_pictures(row, "image_path", "image") if images is None else images,
        labels={name: value for name, value in labels.items() if value},
    )


def iter_lettered(path: Path) -> Iterator[SuiteItem]:
    """Yield the rows of a TSV with one column per option, asked as VLMEvalKit does."""
    for row in iter_rows(path):
        options = read_options(row)
        prompt = fill_prompt("choices", question=row.text("question"), options=options)
        hint = row.maybe("hint")
        yield choice_item(
            row,
            item_id=row.text("index", "question_id"),
            question=f"Hint: {hint}\n{prompt}" if hint else prompt,
            options=options,
            labels={
                "category": row.maybe("category", "question_image_type") or "",
                "l2": row.maybe("l2-category") or "",
            },
        )
