"""Sets with a form of their own: MATH-Vision, GSM8K, SQuAD."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentic_vlm.errors import RecordError
from agentic_vlm.formats.cells import Columns, question_of, row_of_cells
from agentic_vlm.formats.plain import iter_json_lines, require_file
from agentic_vlm.formats.row import FaultKind, Line, PublishedRow, RowFault, answers_of, text_of

_MARK = re.compile(r"####[ \t]*(\S.*?)\s*$")


def iter_math_vision_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of MATH-Vision: JSON Lines with `options` and `image`, a path.

    Source: github mathllm/MATH-V, `data/test.jsonl`.
    """
    for number, content in iter_json_lines(path):
        yield Line(number, _attempt(content, _math_vision))


def _math_vision(cells: Mapping[str, object]) -> PublishedRow:
    return row_of_cells({"family": "reasoning", **cells}, Columns())


def iter_gsm8k_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the rows of GSM8K: the answer is what follows `####`, without thousands separators.

    Source: github openai/grade-school-math, README.
    """
    for number, content in iter_json_lines(path):
        yield Line(number, _attempt(content, _gsm8k))


def _gsm8k(cells: Mapping[str, object]) -> PublishedRow:
    solution = text_of(cells.get("answer"), "answer")
    match = _MARK.search(solution)
    if match is None:
        raise RowFault("answer", "no line '#### NUMBER' at its end", FaultKind.NO_ANSWER)
    question = question_of(cells, Columns(), num_pictures=0)
    return PublishedRow(question=question, answer=match[1].replace(",", ""), family="text")


def _attempt(content: Mapping[str, object] | RowFault, read: Any) -> PublishedRow | RowFault:
    if isinstance(content, RowFault):
        return content
    try:
        row: PublishedRow = read(content)
    except RowFault as fault:
        return fault
    return row


def iter_squad_rows(path: Path, columns: Columns) -> Iterator[Line]:
    """Yield the questions of a file in SQuAD's form; their paragraphs are the corpus to search.

    Source: SQuAD 1.1, arXiv 1606.05250. Questions without an answer (SQuAD 2.0) are faults.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: it is no such file.
    """
    number = 0
    for paragraph in _paragraphs(path):
        entries = paragraph.get("qas", [])
        for entry in entries if isinstance(entries, list) else []:
            number += 1
            try:
                yield Line(number, _squad(entry))
            except RowFault as fault:
                yield Line(number, fault)


def _squad(entry: object) -> PublishedRow:
    if not isinstance(entry, Mapping):
        raise RowFault("qas", "no object")
    question = question_of(entry, Columns(), num_pictures=0)
    spans = entry.get("answers")
    if not isinstance(spans, list):
        raise RowFault("answers", "field required")
    texts = [text_of(span.get("text"), "answers") for span in spans if isinstance(span, Mapping)]
    answers = answers_of(texts, "answers")
    own_id = entry.get("id")
    return PublishedRow(
        question=question,
        answer=answers[0],
        aliases=answers[1:],
        own_id=None if own_id is None else text_of(own_id, "id"),
        family="search",
    )


def iter_squad_passages(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (id, title, text) of every paragraph, for the search corpus.

    Raises:
        ArtifactMissing: there is no such file.
        RecordError: it is no such file.
    """
    for number, paragraph in enumerate(_paragraphs(path)):
        text = paragraph.get("context")
        title = paragraph.get("title")
        if isinstance(text, str) and text.strip():
            words = " ".join(text.split()[:6])
            yield f"{path.stem}-{number:06d}", str(title) if title else words, text


def _paragraphs(path: Path) -> Iterator[dict[str, object]]:
    require_file(path)
    try:
        # Files of this form are one object of at most 50 MB.
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                yield {"title": article.get("title"), **paragraph}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        what = f"not in SQuAD's form: {type(fault).__name__}: {fault}"
        raise RecordError(str(path), what, "correct `path` or `type` of the source") from fault
