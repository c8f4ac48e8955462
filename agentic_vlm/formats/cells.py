"""Rows of tables whose columns have names: which column means what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentic_vlm.formats.pictures import pictures_of
from agentic_vlm.formats.row import (
    FaultKind,
    PublishedRow,
    RowFault,
    answers_of,
    strip_markers,
    text_of,
    texts_of,
)
from agentic_vlm.schema import AnswerType

Cells = Mapping[str, object]
"""One row of a table, by column."""

# Columns under which published sets keep what we ask for; the first that exists counts.
_KNOWN: dict[str, tuple[str, ...]] = {
    "question": ("question", "query", "problem", "text", "instruction"),
    "answer": ("answer", "answers", "label", "gt_answer", "ground_truth", "number"),
    "options": ("options", "choices", "multi-choice options"),
    "image": ("image", "images", "decoded_image", "query_image", "file_name"),
    "id": ("id", "index", "pid", "question_id", "data_id", "sample_id", "idx"),
    "aliases": ("aliases", "alternative_gt_answers", "candidate_answers"),
    "family": ("family",),
    "answer_type": ("answer_type",),
}
_LETTERS = "ABCDEFGHIJ"
_FAMILIES = ("perception", "reasoning", "search", "integration", "text")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file holds which field."""

    named: Mapping[str, str] = field(default_factory=dict)
    """Column by field; fields that are not named are looked for under the usual names."""

    def of(self, name: str, cells: Cells) -> str | None:
        """Return the column of a field; None where the row has none.

        Raises:
            RowFault: the column that the source names does not exist.
        """
        if name in self.named:
            column = self.named[name]
            if column not in cells:
                raise RowFault(column, f"no such column; the file has {', '.join(cells)}"[:300])
            return column
        return next((column for column in _KNOWN[name] if column in cells), None)

    def value(self, name: str, cells: Cells) -> object:
        """Return the cell of a field; None where the row has no such column."""
        column = self.of(name, cells)
        return None if column is None else cells[column]


def row_of_cells(cells: Cells, columns: Columns) -> PublishedRow:
    """Return the row that the cells hold.

    Raises:
        RowFault: a field is absent or wrong.
    """
    image = columns.of("image", cells) or "image"
    pictures = pictures_of(cells.get(image), image)
    own_id = columns.value("id", cells)
    answer_column = columns.of("answer", cells) or "answer"
    answers = answers_of(cells.get(answer_column), answer_column)
    aliases = columns.of("aliases", cells) or "aliases"
    others = _aliases(cells.get(aliases), aliases)
    return PublishedRow(
        question=question_of(cells, columns, num_pictures=len(pictures)),
        answer=answers[0],
        options=options_of(cells, columns),
        aliases=tuple(text for text in (*answers[1:], *others) if text.strip()),
        pictures=pictures,
        picture_field=image,
        own_id=None if own_id in (None, "") else text_of(own_id, "id"),
        family=_one_of(columns.value("family", cells), _FAMILIES),
        answer_type=_answer_type(columns.value("answer_type", cells)),
    )


def question_of(cells: Cells, columns: Columns, *, num_pictures: int) -> str:
    """Return the question without markers.

    Raises:
        RowFault: there is none.
    """
    column = columns.of("question", cells) or "question"
    question = strip_markers(text_of(cells.get(column), column), num_pictures=num_pictures)
    if not question.strip():
        raise RowFault(column, "empty", FaultKind.NO_QUESTION)
    return question


def options_of(cells: Cells, columns: Columns) -> tuple[str, ...]:
    """Return the options: a list in one column, or one column per letter.

    Raises:
        RowFault: the column holds something else.
    """
    column = columns.of("options", cells)
    if column is not None and isinstance(cells[column], Sequence):
        value = cells[column]
        if not isinstance(value, str):
            return texts_of(value, column)
    filled = [letter for letter in _LETTERS if cells.get(letter) not in (None, "")]
    if len(filled) < 2:
        return ()
    if filled != list(_LETTERS[: len(filled)]):
        raise RowFault(filled[-1], f"options {', '.join(filled)} leave a gap")
    return tuple(text_of(cells[letter], letter) for letter in filled)


def _aliases(value: object, column: str) -> tuple[str, ...]:
    """Return other right answers: a list, JSON text of a list, or one text."""
    if isinstance(value, str):
        try:
            found = json.loads(value) if value.startswith("[") else [value]
        except ValueError:
            found = [value]
        value = found
    return texts_of(value, column)


def _one_of(value: object, allowed: Sequence[str]) -> str | None:
    return value if isinstance(value, str) and value in allowed else None


def _answer_type(value: object) -> AnswerType | None:
    known = {kind.value: kind for kind in AnswerType}
    return known.get(value) if isinstance(value, str) else None
