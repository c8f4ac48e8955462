"""V*: the original folders, test_questions.jsonl and its Parquet mirror, VLMEvalKit's TSV."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from agentic_vlm.errors import ArtifactMissing
from agentic_vlm.evaluation.suites.choices import CHOICE_RULE, LETTERS, choice_item, iter_lettered
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt
from agentic_vlm.evaluation.suites.rows import iter_rows
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, micro
from agentic_vlm.formats.jsonl import read_picture
from agentic_vlm.schema import content_id

LISTED_OPTION = re.compile(r"^\s*\(([A-Z])\)\s*(.+?)\s*$", re.MULTILINE)
_FOLDERS = ("direct_attributes", "relative_position")
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG")


def _iter_forms(path: Path) -> Iterator[SuiteItem]:
    folders = [path / name for name in _FOLDERS if (path / name).is_dir()]
    if (path / "test_questions.jsonl").is_file():
        yield from _iter_texts(path / "test_questions.jsonl")
    elif folders:
        for folder in folders:
            yield from _iter_pairs(folder)
    elif path.suffix == ".tsv":
        yield from iter_lettered(path)
    else:
        yield from _iter_texts(path)


def _iter_texts(path: Path) -> Iterator[SuiteItem]:
    """Yield the rows of test_questions.jsonl or its Parquet mirror: options are in the text."""
    for row in iter_rows(path):
        text = row.text("text")
        yield choice_item(
            row,
            item_id=row.text("question_id"),
            question=text,
            options=dict(LISTED_OPTION.findall(text)),
            labels={"category": row.text("category")},
            answer=row.text("label"),
        )


def _iter_pairs(folder: Path) -> Iterator[SuiteItem]:
    """Yield the pairs x.jpg, x.json of the original release.

    Their first option is always right: asked in that order, models gain 4 to 6 points.
    """
    for file in sorted(folder.glob("*.json")):
        row = next(iter_rows(file))
        texts = list(row.items("options"))
        right = texts[0] if texts else ""
        random.Random(content_id("vstar", folder.name, file.stem)).shuffle(texts)
        options = dict(zip(LETTERS, texts, strict=False))
        letter = next((key for key, text in options.items() if text == right), "")
        yield choice_item(
            row,
            item_id=f"{folder.name}/{file.stem}",
            question=fill_prompt("choices", question=row.text("question"), options=options),
            options=options,
            labels={"category": folder.name},
            answer=letter,
            images=(_beside(file),),
        )


def _beside(file: Path) -> bytes:
    for suffix in _PICTURE_SUFFIXES:
        if file.with_suffix(suffix).is_file():
            return read_picture(file.parent, file.with_suffix(suffix).name)
    what = "the picture beside it is missing"
    raise ArtifactMissing(str(file), what, "download the folder of the benchmark again")


VSTAR = Suite(
    name="vstar",
    title="V*",
    table="real_world",
    family="perception",
    size=191,
    iter_items=_iter_forms,
    aggregate=micro("category"),
    prompt="VLMEvalKit's options prompt; test_questions.jsonl brings its own",
    rule=CHOICE_RULE,
    files=(KnownFile("VStarBench.tsv", "b18854d7075574be06b631cd5f7d2d6a"),),
    column="V*",
)
