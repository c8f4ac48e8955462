"""Suites of this project: the pocket world's, and any question file in plain JSON Lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import iter_rows
from agentic_vlm.evaluation.suites.search import REALX_MARKS, aggregate_realx
from agentic_vlm.evaluation.suites.suite import ALL_TOOLS, Suite, micro
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.schema import AnswerType, RawSample, ScoredAnswer
from agentic_vlm.store import ImageStore, iter_records


def iter_plain(path: Path) -> Iterator[SuiteItem]:
    """Yield the lines of a JSON Lines file.

    Fields: question, answer, and where wanted image or images, id, aliases, answer_type, category.
    """
    for row in iter_rows(path):
        answer, kind = row.text("answer"), row.maybe("answer_type")
        if kind is not None and kind not in set(AnswerType):
            raise row.fault("answer_type", f"{kind!r} is none of {', '.join(AnswerType)}")
        category = row.maybe("category", "task")
        yield SuiteItem(
            item_id=row.maybe("id") or str(row.number),
            question=row.text("question"),
            answer=answer,
            aliases=row.items("aliases"),
            answer_type=guess_answer_type(answer) if kind is None else AnswerType(kind),
            images=read_pictures(row, "images", "image"),
            labels={"category": category} if category else {},
        )


def _iter_pocket(path: Path) -> Iterator[SuiteItem]:
    """Yield the samples that stage ingest wrote, from the folder `data/suites/pocket`."""
    pictures = ImageStore.open(path / "images")
    for sample in iter_records(path / "records", RawSample):
        yield SuiteItem(
            item_id=sample.source_row_id,
            question=sample.question,
            answer=sample.answer,
            aliases=sample.aliases,
            answer_type=sample.answer_type or guess_answer_type(sample.answer),
            images=tuple(pictures.get_bytes(ref.sha256) for ref in sample.images),
            labels={"family": sample.family, "need": sample.need.value if sample.need else ""},
            marks=tuple(flag for flag in sample.flags if flag in REALX_MARKS),
        )


def _aggregate_pocket(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    marked = [row for row in rows if set(REALX_MARKS) & set(row.flags)]
    realx = [figure._replace(name=f"realx {figure.name}") for figure in aggregate_realx(marked)]
    return [
        share("overall", rows),
        *shares_by(lambda row: row.need or label_of(row, "need"), rows),
        *shares_by(lambda row: row.family, rows),
        *realx,
    ]


POCKET = Suite(
    name="pocket",
    title="pocket world",
    table="other",
    family="integration",
    size=840,
    iter_items=_iter_pocket,
    aggregate=_aggregate_pocket,
    prompt="the world's own question",
    rule="the rule of the answer's type",
    tools=ALL_TOOLS,
)
TIR_BENCH = Suite(
    name="tir_bench",
    title="TIR-Bench",
    table="other",
    family="reasoning",
    size=None,
    iter_items=iter_plain,
    aggregate=micro("category"),
    prompt="the question of the JSON Lines file",
    rule="the rule of the answer's type, until the form of the benchmark is documented",
    column="TIR-Bench",
)
PLAIN = Suite(
    name="plain",
    title="own questions",
    table="other",
    family="reasoning",
    size=None,
    iter_items=iter_plain,
    aggregate=micro("category"),
    prompt="the question of the JSON Lines file",
    rule="the rule of the answer's type",
    tools=ALL_TOOLS,
)

SUITES = (POCKET, TIR_BENCH, PLAIN)
