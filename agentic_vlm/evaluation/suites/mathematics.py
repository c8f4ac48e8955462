"""Mathematics: MathVista, MathVerse, MathVision, GSM8K."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentic_vlm.evaluation.figures import (
    Figure,
    count_classes,
    grouped,
    mean_of_ratios,
    share,
    shares_by,
)
from agentic_vlm.evaluation.suites.choices import LETTERS, choice_item
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt, label_of
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, by_label, micro
from agentic_vlm.schema import AnswerType, ScoredAnswer

MATHVERSE_VERSIONS = (
    "Text Dominant",
    "Text Lite",
    "Vision Intensive",
    "Vision Dominant",
    "Vision Only",
)
_LETTERED = re.compile(r"^\s*([A-H])\s*[:.)]\s*(.+?)\s*$", re.MULTILINE)
_PICTURE_MARK = re.compile(r"<image\d*>")
_MATHVISTA_TYPES = {
    "text": AnswerType.TEXT,
    "integer": AnswerType.INTEGER,
    "float": AnswerType.FLOAT,
    "list": AnswerType.LIST,
}


def _iter_mathvista(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        about = row.fields("metadata")
        labels = {
            "task": row.maybe("task") or str(about.get("task", "")),
            "skills": "|".join(row.items("skills") or map(str, about.get("skills") or ())),
        }
        item_id, question = row.text("index", "pid"), row.text("query", "question")
        # The Parquet form has the path in `image` and the picture in `decoded_image`.
        images = read_pictures(row, "image_path", "decoded_image", "image")
        if row.text("question_type") in ("multi_choice", "multi-choice"):
            options = dict(zip(LETTERS, row.items("choices"), strict=False))
            yield choice_item(
                row,
                item_id=item_id,
                question=question,
                options=options,
                labels=labels,
                answer=row.maybe("answer_option") or _letter_of(row, options),
                images=images,
                rule="option",
            )
            continue
        kind = _MATHVISTA_TYPES.get(row.maybe("answer_type") or "", AnswerType.MATH)
        labels["precision"] = row.maybe("precision") or ""
        yield SuiteItem(
            item_id=item_id,
            question=question,
            answer=row.text("answer"),
            answer_type=kind,
            rule="list" if kind is AnswerType.TEXT else kind.value,
            images=images,
            labels={name: value for name, value in labels.items() if value},
        )


def _letter_of(row: Row, options: dict[str, str]) -> str:
    gold = row.text("answer").strip()
    found = [letter for letter, text in options.items() if text.strip() == gold]
    if not found:
        raise row.fault("answer", f"{gold!r} is none of the choices")
    return found[0]


def _aggregate_mathvista(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    skills = sorted({skill for row in rows for skill in label_of(row, "skills").split("|")} - {""})
    by_skill = [
        share(skill, (row for row in rows if skill in label_of(row, "skills").split("|")))
        for skill in skills
    ]
    return [share("overall", rows), *shares_by(by_label("task"), rows), *by_skill]


def _iter_mathverse(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        about = row.fields("metadata")
        question = (
            row.maybe("question") or row.maybe("query_wo") or "Solve the problem in the picture."
        )
        labels = {
            "version": row.text("problem_version"),
            "problem": row.text("problem_index"),
            "subject": str(about.get("subject") or ""),
            "subfield": str(about.get("subfield") or ""),
        }
        item_id = row.text("sample_index", "index")
        images = read_pictures(row, "image_path", "image")
        if row.text("question_type") == "multi-choice":
            yield choice_item(
                row,
                item_id=item_id,
                question=question,
                # Options stand in the question, or in the picture alone.
                options=_options_in(question, row.text("answer")),
                labels=labels,
                images=images,
            )
            continue
        yield SuiteItem(
            item_id=item_id,
            question=question,
            answer=row.text("answer"),
            answer_type=AnswerType.MATH,
            rule="text",
            images=images,
            labels={name: value for name, value in labels.items() if value},
        )


def _options_in(question: str, gold: str) -> dict[str, str]:
    options = dict(_LETTERED.findall(question))
    return options if gold.strip() in options else {}


def _aggregate_mathverse(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Mean over the five versions with a picture; versions of a problem are drawn together."""
    pictured = [row for row in rows if label_of(row, "version") in MATHVERSE_VERSIONS]
    mean = grouped(
        "mean of five versions",
        pictured,
        group=by_label("problem"),
        count=count_classes(by_label("version"), MATHVERSE_VERSIONS),
        statistic=mean_of_ratios(len(MATHVERSE_VERSIONS)),
    )
    parts = [
        figure
        for name in ("version", "subject", "subfield")
        for figure in shares_by(by_label(name), rows if name == "version" else pictured)
    ]
    return [mean, *parts]


def _iter_mathvision(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        options = _mathvision_options(row)
        labels = {
            "subject": row.maybe("subject", "category") or "",
            "level": row.maybe("level") or "",
        }
        item_id = row.text("index", "id")
        question = _PICTURE_MARK.sub("", row.text("question")).strip()
        images = read_pictures(row, "image_path", "decoded_image", "image")
        if options:
            yield choice_item(
                row,
                item_id=item_id,
                question=fill_prompt("choices", question=question, options=options),
                options=options,
                labels=labels,
                answer=_letter_or_value(row, options),
                images=images,
                rule="math",
            )
            continue
        yield SuiteItem(
            item_id=item_id,
            question=question,
            answer=row.text("answer"),
            answer_type=AnswerType.MATH,
            rule="math",
            images=images,
            labels={name: value for name, value in labels.items() if value},
        )


def _mathvision_options(row: Row) -> dict[str, str]:
    return dict(zip(LETTERS, row.items("choices", "options"), strict=False))


def _letter_or_value(row: Row, options: dict[str, str]) -> str:
    """Return the gold letter; a few rows give the text of the option instead."""
    gold = row.text("answer").strip()
    return gold if gold in options else _letter_of(row, options)


def _iter_gsm8k(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        _, mark, gold = row.text("answer").rpartition("####")
        if not mark or not gold.strip():
            raise row.fault("answer", "no final `#### number`")
        yield SuiteItem(
            item_id=f"{row.file.stem}/{row.number}",
            question=row.text("question"),
            answer=gold.strip().replace(",", ""),
            answer_type=AnswerType.INTEGER,
        )


def _suite(**fields: Any) -> Suite:
    return Suite(table="mathematics", family="reasoning", **fields)


MATHVISTA = _suite(
    name="mathvista",
    title="MathVista testmini",
    size=1000,
    iter_items=_iter_mathvista,
    aggregate=_aggregate_mathvista,
    prompt="the question with its hint, as published",
    rule="option letter or nearest option text; integers by value; floats rounded to the given "
    "precision; else equal texts. The paper's fork extracts by a judge first",
    deviation="options by letter or text, never by the nearest one",
    files=(KnownFile("MathVista_MINI.tsv", "f199b98e178e5a2a20e7048f5dcb0464"),),
    column="MathVista",
)
MATHVERSE = _suite(
    name="mathverse",
    title="MathVerse testmini, mean of five versions",
    size=3940,
    iter_items=_iter_mathverse,
    aggregate=_aggregate_mathverse,
    prompt="`question`, as published; vision-only rows may have none",
    rule="extraction and comparison by a judge",
    deviation="rules first, the judge of `grading` on doubt",
    files=(
        KnownFile("MathVerse_MINIV.tsv", "5017caca32b7fa110c350a1bea861b65"),
        KnownFile("MathVerse_MINIVOnly.tsv", "68a11d4680014ac881fa37adeadea3a4", "Vision Only"),
        KnownFile("MathVerse_MINIVDom.tsv", "b8fb63852d261ab2aaefba29cc2414d3", "Vision Dominant"),
        KnownFile("MathVerse_MINIVInt.tsv", "01cbd35be202bb0c4873a4186a63bc19", "Vision Intensive"),
        KnownFile("MathVerse_MINITLite.tsv", "19e4b13bdd30b89a03b2e358bcfefa04", "Text Lite"),
        KnownFile("MathVerse_MINITDom.tsv", "4f5cd2fa6630ea00bb11d6fde1f6fe6a", "Text Dominant"),
    ),
    column="MathVerse",
)
MATHVISION = _suite(
    name="mathvision",
    title="MathVision test",
    size=3040,
    iter_items=_iter_mathvision,
    aggregate=micro("subject", "level"),
    prompt="the question; options as VLMEvalKit lists them",
    rule="option letter or value; else equal up to mathematics. The fork runs eval on the answer",
    deviation="Math-Verify behind our own wrapper; nothing is run",
    column="MathVision",
)
GSM8K = Suite(
    name="gsm8k",
    title="GSM8K test",
    table="other",
    family="text",
    size=1319,
    iter_items=_iter_gsm8k,
    aggregate=micro(),
    prompt="the bare question",
    rule="the final number",
)

SUITES = (MATHVISTA, MATHVERSE, MATHVISION)
OTHER_SUITES = (GSM8K,)
