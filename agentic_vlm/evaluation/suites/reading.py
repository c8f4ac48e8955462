"""Questions about texts that the search tool must find: files in SQuAD's form, such as XQuAD."""

from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.errors import RecordError
from agentic_vlm.evaluation.suites.item import SuiteItem
from agentic_vlm.evaluation.suites.suite import ALL_TOOLS, Suite, micro
from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.published import iter_squad_rows
from agentic_vlm.formats.row import RowFault
from agentic_vlm.schema import AnswerType


def _iter_squad(path: Path) -> Iterator[SuiteItem]:
    for line in iter_squad_rows(path, Columns()):
        row = line.content
        if isinstance(row, RowFault):
            fix = "repair the row, or leave it out of the file"
            raise RecordError(f"{path}, row {line.number}, field {row.field!r}", row.what, fix)
        yield SuiteItem(
            item_id=row.own_id or str(line.number),
            question=row.question,
            answer=row.answer,
            aliases=row.aliases,
            answer_type=AnswerType.TEXT,
            rule="exact",
        )


XQUAD = Suite(
    name="xquad",
    title="XQuAD, English, without its paragraphs",
    table="other",
    family="search",
    size=1190,
    iter_items=_iter_squad,
    aggregate=micro(),
    prompt="the bare question; its paragraph stands in the corpus of the search tool",
    rule="exact match after SQuAD's normalisation",
    tools=ALL_TOOLS,
)

SUITES = (XQUAD,)
