"""The items of MMSearch's published files: four tasks about each question."""

from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.short_answers import other_texts, texts_of
from agentic_vlm.schema import AnswerType
from agentic_vlm.vision import decode_image, encode_png, to_rgb

_NUM_WEBSITES = 8
# The authors show a page as slices of this height, at most so many.
_SLICE_HEIGHT_PX, _MAX_SLICES, _MIN_HEIGHT_PX = 512, 10, 28
_NO_WEBSITE = "none of them"


def file_of(row: Row) -> str:
    """Return which of the three published files a row comes from, whatever its name."""
    if any(f"website{n}_info" in row.cells for n in range(_NUM_WEBSITES)):
        return "rerank"
    is_page = any(name.startswith("website_") for name in row.cells)
    return "summarization" if is_page else "end2end"


def labels_of(row: Row) -> dict[str, str]:
    """Return by what the authors split their scores."""
    return {"area": row.maybe("area") or "", "subfield": row.maybe("subfield") or ""}


def alternatives_of(row: Row, gold: str) -> tuple[str, ...]:
    """Return the other right answers; a row may have none."""
    return other_texts(texts_of(row.find("alternative_gt_answers")), gold)


def iter_tasks(path: Path) -> Iterator[SuiteItem]:
    """Yield the items of all four tasks: two of `end2end.parquet`, one of each other file."""
    for row in iter_rows(path):
        match file_of(row):
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
        labels={"task": task, "query": sample_id, **labels_of(row)},
    )


def _end2end(row: Row) -> SuiteItem:
    gold = row.text("gt_answer")
    return _item(
        row,
        "end2end",
        question=fill_prompt("mmsearch_end2end", question=row.text("query")),
        answer=gold,
        aliases=alternatives_of(row, gold),
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
        aliases=alternatives_of(row, gold),
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
