"""CV-Bench and CountBench: not in the paper's tables, asked for by its readers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import (
    Array,
    Figure,
    count_classes,
    grouped,
    mean_of_ratios,
    share,
    shares_by,
)
from agentic_vlm.evaluation.suites.choices import CHOICE_RULE, LETTERS, choice_item, read_options
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import iter_rows
from agentic_vlm.evaluation.suites.suite import Suite, by_label, micro
from agentic_vlm.schema import AnswerType, ScoredAnswer

_SOURCES = ("ADE20K", "COCO", "Omni3D")


def _iter_cvbench(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        listed = row.items("choices")
        options = dict(zip(LETTERS, listed, strict=False)) or read_options(row)
        asked = row.maybe("prompt") or fill_prompt(
            "letter", question=row.text("question"), options=options
        )
        yield choice_item(
            row,
            item_id=row.text("idx", "index"),
            question=asked,
            options=options,
            labels={
                "type": row.maybe("type") or "",
                "task": row.maybe("task", "category") or "",
                "source": row.maybe("source") or "",
            },
        )


def _authors_score(totals: Array) -> Array:
    """Half the mean of ADE20K and COCO plus half of Omni3D; totals as `count_classes` counts."""
    two_d, three_d = mean_of_ratios(2)(totals[..., :4]), mean_of_ratios(1)(totals[..., 4:])
    return (two_d + three_d) / 2


def _aggregate_cvbench(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    headline = grouped(
        "2D and 3D",
        rows,
        group=lambda row: row.sample_id,
        count=count_classes(by_label("source"), _SOURCES),
        statistic=_authors_score,
    )
    parts = [
        figure for key in ("type", "task", "source") for figure in shares_by(by_label(key), rows)
    ]
    return [headline, share("overall", rows), *parts]


def _iter_countbench(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        yield SuiteItem(
            item_id=row.maybe("index") or f"{row.file.stem}/{row.number}",
            question=row.text("question"),
            answer=str(int(float(row.text("number", "answer")))),
            answer_type=AnswerType.INTEGER,
            rule="count",
            images=read_pictures(row, "image_path", "image"),
        )


CVBENCH = Suite(
    name="cvbench",
    title="CV-Bench",
    table="other",
    family="perception",
    size=2638,
    iter_items=_iter_cvbench,
    aggregate=_aggregate_cvbench,
    prompt="the benchmark's own `prompt`",
    rule=f"{CHOICE_RULE}; half the mean of ADE20K and COCO, half Omni3D",
)

COUNTBENCH = Suite(
    name="countbench",
    title="CountBenchQA",
    table="other",
    family="perception",
    size=491,
    iter_items=_iter_countbench,
    aggregate=micro(),
    prompt="the bare question",
    rule="one whole number, in digits or as a word; several are undecided",
)

SUITES = (CVBENCH, COUNTBENCH)
