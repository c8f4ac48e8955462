"""Text and charts: OCRBench, SEEDBench2-Plus, ChartQA."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites import charxiv
from agentic_vlm.evaluation.suites.choices import CHOICE_RULE, iter_lettered
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows, list_files
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, by_label, micro
from agentic_vlm.formats.jsonl import read_picture
from agentic_vlm.grading import guess_answer_type
from agentic_vlm.schema import AnswerType, ScoredAnswer

_CHARTQA_SPLITS = {"human_test": "test_human", "augmented_test": "test_augmented"}


def _iter_ocrbench(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        answers = _answers(row)
        category = row.text("category", "question_type")
        yield SuiteItem(
            item_id=row.maybe("index") or f"{row.file.stem}/{row.number}",
            question=row.text("question"),
            answer=answers[0],
            aliases=answers[1:],
            answer_type=AnswerType.TEXT,
            rule="ocr_formula" if "Expression" in category else "ocr",
            images=read_pictures(row, "image_path", "image"),
            labels={"category": category},
        )


def _answers(row: Row) -> tuple[str, ...]:
    """Return the gold texts; an empty one would match every answer and is refused."""
    cell = row.find("answer")
    is_list = not isinstance(cell, str) or cell.lstrip().startswith("[")
    answers = row.items("answer") if is_list else (row.text("answer"),)
    kept = tuple(answer for answer in answers if answer.strip())
    if not kept:
        raise row.fault("answer", "no reference answer")
    return kept


def _iter_chartqa(path: Path) -> Iterator[SuiteItem]:
    for file in list_files(path):
        for row in iter_rows(file):
            labels = row.find("label", "answer")
            golds = tuple(map(str, labels)) if isinstance(labels, list) else (str(labels),)
            if labels is None or not golds:
                raise row.fault("answer", "missing or empty")
            split = row.maybe("split", "type") or file.stem
            yield SuiteItem(
                item_id=row.maybe("index") or f"{file.stem}/{row.number}",
                question=fill_prompt("short", question=row.text("question", "query")),
                answer=golds[0],
                aliases=golds[1:],
                answer_type=_number_or_text(golds[0]),
                rule="relaxed",
                images=_chartqa_pictures(row),
                labels={"split": _CHARTQA_SPLITS.get(split, split)},
            )


def _number_or_text(gold: str) -> AnswerType:
    guess = guess_answer_type(gold)
    is_number = guess in (AnswerType.INTEGER, AnswerType.FLOAT)
    # The 5 % of relaxed accuracy hold for whole numbers too.
    return AnswerType.FLOAT if is_number else AnswerType.TEXT


def _chartqa_pictures(row: Row) -> tuple[bytes, ...]:
    name = row.maybe("imgname")
    if name is None:
        return read_pictures(row, "image_path", "image")
    folders = ("png", ".", "images")
    folder = next((n for n in folders if (row.file.parent / n / name).is_file()), "png")
    return (read_picture(row.file.parent, f"{folder}/{name}"),)


def _aggregate_ocrbench(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    return [share("overall", rows), *shares_by(by_label("category"), rows)]


OCRBENCH = Suite(
    name="ocrbench",
    title="OCRBench",
    table="real_world",
    family="perception",
    size=1000,
    iter_items=_iter_ocrbench,
    aggregate=_aggregate_ocrbench,
    prompt="the bare question",
    rule="any gold, lower-cased, is contained in the answer; formulas: without spaces, case kept",
    deviation="a gold inside a longer answer is ungraded; a digit inside a number is no match",
    files=(KnownFile("OCRBench.tsv", "e953d98a987cc6e26ef717b61260b778"),),
    column="OCRB",
)

SEEDBENCH2_PLUS = Suite(
    name="seedbench2_plus",
    title="SEEDBench2-Plus",
    table="real_world",
    family="perception",
    size=2277,
    iter_items=iter_lettered,
    aggregate=micro("category"),
    prompt="VLMEvalKit's options prompt",
    rule=CHOICE_RULE,
    files=(KnownFile("SEEDBench2_Plus.tsv", "e32d3216dc4f452b0fe497a52015d1fd"),),
    column="SEED2+",
)

CHARTQA = Suite(
    name="chartqa",
    title="ChartQA",
    table="real_world",
    family="reasoning",
    size=2500,
    iter_items=_iter_chartqa,
    aggregate=micro("split"),
    prompt="VLMEvalKit's: the question and `a single word or phrase`",
    rule="relaxed accuracy: numbers within 5 % of the gold, else equal texts; the paper adds a "
    "judge and swaps gold and answer",
    deviation="5 % in decimal arithmetic; years exact where the question asks for one",
    files=(KnownFile("ChartQA_TEST.tsv", "c902e0aa9be5582a7aad6dcf52734b42"),),
    column="ChartQA",
)


SUITES = (OCRBENCH, SEEDBENCH2_PLUS, *charxiv.SUITES, CHARTQA)
