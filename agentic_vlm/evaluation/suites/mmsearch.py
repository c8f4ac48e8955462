"""MMSearch: the agent papers' share of right answers, and the authors' score of four tasks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt, label_of
from agentic_vlm.evaluation.suites.measures import mean_measure, weighted_measure
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.short_answers import (
    SHORT_DEVIATION,
    other_texts,
    short_answer_type,
    texts_of,
)
from agentic_vlm.evaluation.suites.suite import ALL_TOOLS, Suite, by_label
from agentic_vlm.grading import Grade
from agentic_vlm.schema import AnswerType, RawSample, ScoredAnswer, Trajectory, Verdict
from agentic_vlm.vision import decode_image, encode_png, to_rgb

_NUM_WEBSITES = 8
# The authors show a page as slices of this height, at most so many.
_SLICE_HEIGHT_PX, _MAX_SLICES, _MIN_HEIGHT_PX = 512, 10, 28
WEIGHTS = {"end2end": 0.75, "requery": 0.05, "rerank": 0.1, "summarization": 0.1}
"""Source: MMSearch, `get_final_scores.py`."""
_TITLES = {
    "end2end": "end-to-end F1",
    "requery": "requery",
    "rerank": "rerank",
    "summarization": "summarization F1",
}
_NO_WEBSITE = "none of them"


def _iter_questions(path: Path) -> Iterator[SuiteItem]:
    """Yield the questions of `end2end.parquet`; the files of the other tasks ask the same ones."""
    for row in iter_rows(path):
        if _file_of(row) != "end2end":
            continue
        gold = row.text("gt_answer")
        images = read_pictures(row, "query_image")
        yield SuiteItem(
            item_id=row.text("sample_id"),
            question=row.text("query"),
            answer=gold,
            aliases=_alternatives(row, gold),
            answer_type=short_answer_type(gold),
            rule="text",
            images=images,
            labels={"picture": "yes" if images else "no", **_labels(row)},
        )


def _file_of(row: Row) -> str:
    """Return which of the three published files a row comes from, whatever its name."""
    if any(f"website{n}_info" in row.cells for n in range(_NUM_WEBSITES)):
        return "rerank"
    is_page = any(name.startswith("website_") for name in row.cells)
    return "summarization" if is_page else "end2end"


def _labels(row: Row) -> dict[str, str]:
    return {"area": row.maybe("area") or "", "subfield": row.maybe("subfield") or ""}


def _alternatives(row: Row, gold: str) -> tuple[str, ...]:
    return other_texts(texts_of(row.find("alternative_gt_answers")), gold)


def _aggregate_questions(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    pictured = [row for row in rows if label_of(row, "picture") == "yes"]
    return [
        share("with a picture", pictured),
        share("all questions", rows),
        *shares_by(by_label("area"), rows),
    ]


def _iter_tasks(path: Path) -> Iterator[SuiteItem]:
    """Yield the items of all four tasks: two of `end2end.parquet`, one of each other file."""
    for row in iter_rows(path):
        match _file_of(row):
            case "rerank":
                yield _rerank(row)
            case "summarization":
                yield _summarization(row)
            case _:
                yield _end2end(row)
                yield _requery(row)


def _item(
    row: Row,
    task: str,
    *,
    question: str,
    answer: str,
    rule: str,
    images: tuple[bytes, ...],
    aliases: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> SuiteItem:
    sample_id = row.text("sample_id")
    return SuiteItem(
        item_id=f"{sample_id}/{task}",
        question=question,
        answer=answer,
        aliases=aliases,
        options=options,
        answer_type=AnswerType.TEXT,
        rule=rule,
        images=images,
        labels={"task": task, "query": sample_id, **_labels(row)},
    )


def _end2end(row: Row) -> SuiteItem:
    gold = row.text("gt_answer")
    return _item(
        row,
        "end2end",
        question=fill_prompt("mmsearch_end2end", question=row.text("query")),
        answer=gold,
        aliases=_alternatives(row, gold),
        rule="token_f1",
        images=read_pictures(row, "query_image"),
    )


def _requery(row: Row) -> SuiteItem:
    images = _question_pictures(row)
    return _item(
        row,
        "requery",
        question=fill_prompt(
            "mmsearch_requery", question=row.text("query"), pictures=_told(len(images))
        ),
        answer=row.text("gt_requery"),
        rule="requery",
        images=images,
    )


def _rerank(row: Row) -> SuiteItem:
    asked = _question_pictures(row)
    lines: list[str] = []
    screenshots: list[bytes] = []
    for number in range(_NUM_WEBSITES):
        about = row.fields(f"website{number}_info")
        lines.append(
            f"Website {number + 1} title: {about.get('title') or ''}\n"
            f"Website {number + 1} snippet: {about.get('snippet') or ''}"
        )
        shown = read_pictures(row, f"website{number}_head_screenshot")
        if shown:
            place = len(asked) + len(screenshots) + 1
            lines[-1] += f"\nWebsite {number + 1} screenshot: image_{place}"
        screenshots += shown
    helpful, perhaps = (_websites(row, name) for name in ("valid", "not_sure"))
    return _item(
        row,
        "rerank",
        question=fill_prompt(
            "mmsearch_rerank",
            question=row.text("query"),
            pictures=_told(len(asked)),
            websites="\n\n".join(lines),
        ),
        answer=", ".join(helpful) or _NO_WEBSITE,
        options=perhaps,
        rule="rerank",
        images=(*asked, *screenshots),
    )


def _websites(row: Row, column: str) -> tuple[str, ...]:
    """Return the websites of a list of indices from 0 as they are written, from 1."""
    try:
        return tuple(f"<Website {int(index) + 1}>" for index in row.lists(column))
    except (TypeError, ValueError) as fault:
        raise row.fault(column, f"no list of indices: {fault}") from fault


def _summarization(row: Row) -> SuiteItem:
    asked = _question_pictures(row)
    gold = row.text("gt_answer")
    slices = [
        part
        for encoded in read_pictures(row, "website_fullpage_screenshot")
        for part in _slice(encoded, where=f"{row.file.name}, row {row.number}")
    ]
    page = f"image_{len(asked) + 1} and the pictures after it show the website.\n" if slices else ""
    return _item(
        row,
        "summarization",
        question=fill_prompt(
            "mmsearch_summarization",
            question=row.text("query"),
            pictures=_told(len(asked)) + page,
            title=row.maybe("website_title") or "",
            snippet=row.maybe("website_snippet") or "",
            content=row.maybe("website_retrieved_content") or "",
        ),
        answer=gold,
        aliases=_alternatives(row, gold),
        rule="token_f1",
        images=(*asked, *slices),
    )


def _slice(encoded: bytes, *, where: str) -> Iterator[bytes]:
    page = to_rgb(decode_image(encoded, where=where))
    # Strips that no processor takes are left out; the page always gives one picture.
    tops = range(0, max(page.height - _MIN_HEIGHT_PX, 1), _SLICE_HEIGHT_PX)
    for top in tops[:_MAX_SLICES]:
        bottom = min(page.height, top + _SLICE_HEIGHT_PX)
        yield encode_png(page.crop((0, top, page.width, bottom)))


def _question_pictures(row: Row) -> tuple[bytes, ...]:
    """Return the picture of the question and what an image search found for it; texts have none."""
    asked = read_pictures(row, "query_image")
    return (*asked, *read_pictures(row, "image_search_result")) if asked else ()


def _told(num_pictures: int) -> str:
    if num_pictures == 0:
        return ""
    found = ", image_2 what an image search found for it" if num_pictures > 1 else ""
    return f"image_1 is the picture of the question{found}.\n"


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
    iter_items=_iter_tasks,
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
