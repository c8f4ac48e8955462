"""CharXiv: charts of papers; a judge with the rubric of the question decides."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites.charxiv_questions import (
    ask_descriptive,
    ask_reasoning,
    category_of,
    locate_plot,
)
from agentic_vlm.evaluation.suites.charxiv_rubrics import (
    PREDICTION,
    descriptive,
    descriptive_group,
    reasoning,
)
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, by_label
from agentic_vlm.schema import AnswerType, ScoredAnswer

_GROUPED = "by ours, five answers to one template are one request in mode `official`; "
_NUMBERS = {"descriptive": range(1, 20), "reasoning": range(1, 5)}


def _iter_charxiv(kind: str) -> Callable[[Path], Iterator[SuiteItem]]:
    def iterate(path: Path) -> Iterator[SuiteItem]:
        for row in iter_rows(path):
            if "question" in row.cells:
                yield _of_tsv(row, kind)
            elif kind == "reasoning":
                yield _reasoning(row)
            else:
                yield from _descriptive(row)

    return iterate


def _of_tsv(row: Row, kind: str) -> SuiteItem:
    number = _number(row, "qid" if kind == "descriptive" else "inst_category", kind)
    question, answer = row.text("question"), row.text("answer")
    rubric = row.maybe("grading_query")
    # A rubric that a file brings is about one answer; ours follow the authors.
    is_grouped = rubric is None and kind == "descriptive"
    if rubric is None:
        own = descriptive if kind == "descriptive" else reasoning
        rubric = own(number, question=question, answer=answer)
    elif PREDICTION not in rubric:
        raise row.fault("grading_query", f"no {PREDICTION}, where the answer would go")
    return SuiteItem(
        item_id=row.text("index"),
        question=question,
        answer=answer,
        answer_type=AnswerType.TEXT,
        rule="rubric",
        images=read_pictures(row, "image_path", "image"),
        labels={"template": str(number), "category": category_of(kind, number)},
        rubric=rubric,
        group_rubric=descriptive_group(number) if is_grouped else "",
    )


def _number(row: Row, column: str, kind: str) -> int:
    """Return the number of the question type; a TSV may hold it as `2.0`."""
    try:
        number = int(float(row.text(column)))
    except ValueError as fault:
        raise row.fault(column, f"{row.text(column)!r} is no number") from fault
    if number not in _NUMBERS[kind]:
        raise row.fault(column, f"{number} is no {kind} question type")
    return number


def _reasoning(row: Row) -> SuiteItem:
    # `reasoning_q_source` says who wrote the question; files without the type are read by it.
    column = "reasoning_a_type" if "reasoning_a_type" in row.cells else "reasoning_q_source"
    number = _number(row, column, "reasoning")
    question, answer = row.text("reasoning_q"), row.text("reasoning_a")
    return SuiteItem(
        item_id=row.maybe("figure_path") or str(row.number),
        question=ask_reasoning(number, question, answer),
        answer=answer,
        answer_type=AnswerType.TEXT,
        rule="rubric",
        images=read_pictures(row, "image"),
        labels={"template": str(number), "category": category_of("reasoning", number)},
        rubric=reasoning(number, question=question, answer=answer),
    )


def _descriptive(row: Row) -> Iterator[SuiteItem]:
    """Yield the four descriptive questions of a chart; our wording of the numbered templates."""
    images = read_pictures(row, "image")
    where = locate_plot(row.maybe("subplot_row"), row.maybe("subplot_col"), row.find("subplot_loc"))
    for place in range(1, 5):
        number = _number(row, f"descriptive_q{place}", "descriptive")
        question, answer = ask_descriptive(number, where), row.text(f"descriptive_a{place}")
        yield SuiteItem(
            item_id=f"{row.maybe('figure_path') or row.number}/{place}",
            question=question,
            answer=answer,
            answer_type=AnswerType.TEXT,
            rule="rubric",
            images=images,
            labels={"template": str(number), "category": category_of("descriptive", number)},
            rubric=descriptive(number, question=question, answer=answer),
            group_rubric=descriptive_group(number),
        )


def _aggregate(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    return [
        share("overall", rows),
        *shares_by(by_label("category"), rows),
        *shares_by(lambda row: label_of(row, "template").zfill(2), rows, prefix="template "),
    ]


def _suite(kind: str, *, size: int, column: str, files: tuple[KnownFile, ...]) -> Suite:
    return Suite(
        name=f"charxiv_{kind}",
        title=f"CharXiv {kind}",
        table="real_world",
        family="reasoning",
        size=size,
        iter_items=_iter_charxiv(kind),
        aggregate=_aggregate,
        prompt="the question of the TSV; of the Parquet form, in our wording",
        rule="a judge with the rubric of the question type, 0 or 1: that of the TSV, else ours; "
        f"{_GROUPED if kind == 'descriptive' else ''}equal texts need no judge",
        deviation="short texts by rule, the rest by the judge of `grading` without that rubric; in "
        "every mode a reply of the judge without a score is no verdict, not 0",
        files=files,
        column=column,
    )


CHARXIV_DESCRIPTIVE = _suite(
    "descriptive",
    size=4000,
    column="CharXiv-D",
    files=(
        KnownFile(
            "CharXiv_descriptive_val.tsv",
            "e165037032f169a59dd09ea5d7ad3073",
            "asks the judge for extract_answer",
        ),
        KnownFile(
            "CharXiv_descriptive_val.tsv",
            "8507c3740f8ddaedcb6b5c1cfcb3fa06",
            "asks the judge for extracted_answer",
        ),
    ),
)
CHARXIV_REASONING = _suite(
    "reasoning",
    size=1000,
    column="CharXiv-R",
    files=(
        KnownFile(
            "CharXiv_reasoning_val.tsv",
            "98eeff269b40726982627b19338ccd45",
            "asks the judge for extract_answer",
        ),
        KnownFile(
            "CharXiv_reasoning_val.tsv",
            "6fc1a522ad32c2e3d72a89857b8cf10b",
            "asks the judge for extracted_answer",
        ),
    ),
)

SUITES = (CHARXIV_DESCRIPTIVE, CHARXIV_REASONING)
