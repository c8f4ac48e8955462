"""MMSearch: the agent papers' share of right answers, and the authors' score of four tasks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of
from agentic_vlm.evaluation.suites.measures import mean_measure, weighted_measure
from agentic_vlm.evaluation.suites.mmsearch_tasks import (
    alternatives_of,
    file_of,
    iter_tasks,
    labels_of,
)
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import iter_rows
from agentic_vlm.evaluation.suites.short_answers import SHORT_DEVIATION, short_answer_type
from agentic_vlm.evaluation.suites.suite import ALL_TOOLS, Suite, by_label
from agentic_vlm.grading import Grade
from agentic_vlm.schema import RawSample, ScoredAnswer, Trajectory, Verdict

WEIGHTS = {"end2end": 0.75, "requery": 0.05, "rerank": 0.1, "summarization": 0.1}
"""Source: MMSearch, `get_final_scores.py`."""
_TITLES = {
    "end2end": "end-to-end F1",
    "requery": "requery",
    "rerank": "rerank",
    "summarization": "summarization F1",
}


def _iter_questions(path: Path) -> Iterator[SuiteItem]:
    """Yield the questions of `end2end.parquet`; the files of the other tasks ask the same ones."""
    for row in iter_rows(path):
        if file_of(row) != "end2end":
            continue
        gold = row.text("gt_answer")
        images = read_pictures(row, "query_image")
        yield SuiteItem(
            item_id=row.text("sample_id"),
            question=row.text("query"),
            answer=gold,
            aliases=alternatives_of(row, gold),
            answer_type=short_answer_type(gold),
            rule="text",
            images=images,
            labels={"picture": "yes" if images else "no", **labels_of(row)},
        )


def _aggregate_questions(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    pictured = [row for row in rows if label_of(row, "picture") == "yes"]
    return [
        share("with a picture", pictured),
        share("all questions", rows),
        *shares_by(by_label("area"), rows),
    ]


def measure_share(trajectory: Trajectory, sample: RawSample, grade: Grade) -> Mapping[str, float]:
    """Return the share that the rule of the task gives; no answer is worth 0."""
    if grade.score is not None:
        return {"score": grade.score}
    return (
        {}
        if grade.verdict is Verdict.UNGRADED
        else {"score": float(grade.verdict is Verdict.CORRECT)}
    )


def aggregate_tasks(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Return the weighted score, that of each area, and the mean of each task.

    The four tasks of one question are drawn together. Without one of the tasks there is no score.
    """
    areas = sorted({label_of(row, "area") for row in rows} - {""})
    by_task = [
        mean_measure(
            title, [row for row in rows if label_of(row, "task") == task], label="score",
            group=by_label("query"),
        )
        for task, title in _TITLES.items()
    ]  # fmt: skip
    return [
        _composite("score", rows),
        *by_task,
        *(_composite(area, [r for r in rows if label_of(r, "area") == area]) for area in areas),
    ]


def _composite(name: str, rows: Sequence[ScoredAnswer]) -> Figure:
    return weighted_measure(
        name, rows, label="score", group=by_label("query"), kind=by_label("task"), weights=WEIGHTS
    )


MMSEARCH = Suite(
    name="mmsearch",
    title="MMSearch, questions with a picture",
    table="search",
    family="search",
    size=300,
    headline_size=171,
    iter_items=_iter_questions,
    aggregate=_aggregate_questions,
    prompt="the bare question",
    rule="a judge, on the 171 questions with a picture, as the agent papers report; the authors' "
    "own score is suite `mmsearch_authors`",
    deviation=SHORT_DEVIATION,
    tools=ALL_TOOLS,
    column="MMSearch",
)
MMSEARCH_AUTHORS = Suite(
    name="mmsearch_authors",
    title="MMSearch, the authors' score",
    table="search",
    family="search",
    size=1200,
    iter_items=iter_tasks,
    aggregate=aggregate_tasks,
    prompt="one per task, in our words, with the authors' rules on dates, length, false premises",
    rule="0.75 end-to-end F1 + 0.05 requery + 0.1 rerank + 0.1 summarization F1; F1 of words with "
    "the best reference; requery: mean of BLEU-1 and ROUGE-L; rerank: 1 for a helpful website, 0.5 "
    "for one that may help; no judge in any mode",
    deviation="end to end is an episode of the agent, not the authors' fixed three steps",
    tools=ALL_TOOLS,
    measure=measure_share,
)

SUITES = (MMSEARCH, MMSEARCH_AUTHORS)
