"""Search: FVQA-test, InfoSeek, SimpleVQA, and RealX-Bench."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentic_vlm.evaluation.figures import Figure, share, shares_by
from agentic_vlm.evaluation.suites import mmsearch
from agentic_vlm.evaluation.suites.attempts import attempt_figures, measure_attempt
from agentic_vlm.evaluation.suites.item import SuiteItem, label_of
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.short_answers import (
    SHORT_DEVIATION,
    SHORT_RULE,
    other_texts,
    short_answer_type,
    texts_of,
)
from agentic_vlm.evaluation.suites.suite import ALL_TOOLS, Suite, by_label, micro
from agentic_vlm.schema import ScoredAnswer

REALX_MARKS = ("perception", "search", "reason")
"""Columns of RealX-Bench: 1 where the question is hard for this ability."""
REALX_PUBLIC_SIZE = 194
"""Released questions, of 300 in the paper."""
_PICTURE_MARK = re.compile(r"<image>\s*")
_QUOTED = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|\([^()]*\)")


def _iter_verl(path: Path) -> Iterator[SuiteItem]:
    """Yield the rows of MMSearch-R1's form: prompt, images, reward_model."""
    for row in iter_rows(path):
        graded = row.fields("reward_model")
        gold = str(graded.get("ground_truth") or "")
        if not gold.strip():
            raise row.fault("reward_model", "no ground_truth")
        yield SuiteItem(
            item_id=_verl_id(row),
            question=_PICTURE_MARK.sub("", _user_text(row)).strip(),
            answer=gold,
            aliases=other_texts(texts_of(graded.get("candidate_answers")), gold),
            answer_type=short_answer_type(gold),
            rule="text",
            images=read_pictures(row, "images", "image"),
            labels={"source": row.maybe("data_source") or ""},
        )


def _verl_id(row: Row) -> str:
    index = row.fields("extra_info").get("index")
    own = row.maybe("data_id") if index is None else str(index)
    return own or f"{row.file.stem}/{row.number}"


def _user_text(row: Row) -> str:
    messages = row.find("prompt")
    if isinstance(messages, list):
        texts = [str(m.get("content", "")) for m in messages if m.get("role") == "user"]
        if texts:
            return texts[-1]
    raise row.fault("prompt", "no user message")


def _iter_simplevqa(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        gold = row.text("answer")
        yield SuiteItem(
            item_id=row.text("data_id"),
            question=row.text("question"),
            answer=gold,
            answer_type=short_answer_type(gold),
            rule="attempt",
            images=read_pictures(row, "image"),
            labels={
                "language": row.text("language"),
                "category": row.maybe("vqa_category", "original_category") or "",
            },
        )


def _aggregate_simplevqa(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    english = [row for row in rows if label_of(row, "language").upper().startswith("EN")]
    return [
        share("English part", english),
        *attempt_figures("English part", english),
        share("all questions", rows),
        *attempt_figures("all questions", rows),
        *shares_by(by_label("category"), rows),
    ]


def _iter_realx(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        gold = row.text("answer")
        first, *others = split_alternatives(gold)
        yield SuiteItem(
            item_id=row.maybe("id", "index") or str(row.number),
            question=row.text("query", "question"),
            answer=first,
            # Some answers hold the word: the whole text is an alternative too.
            aliases=other_texts((*others, gold), first),
            answer_type=short_answer_type(first),
            rule="text",
            images=read_pictures(row, "image", "images", "file_name", "image_path"),
            labels={"domain": row.maybe("domain") or ""},
            marks=tuple(mark for mark in REALX_MARKS if _is_marked(row, mark)),
        )


def split_alternatives(gold: str) -> list[str]:
    """Return the alternatives of a reference answer: joined by `or`, outside quotes and brackets.

    >>> split_alternatives('7 or seven'), split_alternatives('the song "Now or Never"')
    (['7', 'seven'], ['the song "Now or Never"'])
    """
    hidden = _QUOTED.sub(lambda match: "x" * len(match[0]), gold)
    cuts = [0]
    parts = []
    for match in re.finditer(r"\s+or\s+", hidden):
        parts.append(gold[cuts[-1] : match.start()])
        cuts.append(match.end())
    parts.append(gold[cuts[-1] :])
    kept = [part.strip() for part in parts if part.strip()]
    return kept or [gold]


def _is_marked(row: Row, name: str) -> bool:
    """Return a label that is published as number, text or truth value."""
    cell = (row.maybe(name) or "0").strip().lower()
    if cell in ("1", "1.0", "true", "yes"):
        return True
    if cell in ("0", "0.0", "false", "no"):
        return False
    raise row.fault(name, f"{cell!r} is neither 0 nor 1")


def aggregate_realx(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Average over all questions, then the hard ones of each ability, then those of all three."""
    marked = {
        mark: [row for row in rows if mark in row.flags]
        for mark in ("perception", "reason", "search")
    }
    whole = [row for row in rows if set(REALX_MARKS) <= set(row.flags)]
    return [
        share("average", rows),
        *(share(mark, chosen) for mark, chosen in marked.items()),
        share("integration", whole),
    ]


def _suite(**fields: Any) -> Suite:
    texts = {"prompt": "the bare question", "rule": SHORT_RULE, "deviation": SHORT_DEVIATION}
    return Suite(**{"table": "search", "family": "search", "tools": ALL_TOOLS, **texts, **fields})


FVQA_TEST = _suite(
    name="fvqa_test",
    title="FVQA-test",
    size=1800,
    iter_items=_iter_verl,
    aggregate=micro("source"),
    column="FVQA-test",
)
INFOSEEK = _suite(
    name="infoseek",
    title="InfoSeek, 2,000 questions",
    size=2000,
    iter_items=_iter_verl,
    aggregate=micro("source"),
    column="InfoSeek",
)
SIMPLEVQA = _suite(
    name="simplevqa",
    title="SimpleVQA, English part",
    size=2025,
    headline_size=1013,
    iter_items=_iter_simplevqa,
    aggregate=_aggregate_simplevqa,
    rule="a judge tells right, wrong and not attempted; beside the share of right answers (CO) "
    "stand those of the others (IN, NA), right among the attempted (CGA), and the F-score of CO "
    "and CGA",
    deviation=f"{SHORT_DEVIATION}; only mode `official` tells what was not attempted",
    measure=measure_attempt,
    column="SimpleVQA",
)
REALX_194 = _suite(
    name="realx_bench_194",
    title="RealX-Bench-194",
    table="realx",
    family="integration",
    size=REALX_PUBLIC_SIZE,
    iter_items=_iter_realx,
    aggregate=aggregate_realx,
    rule="a judge compares with the reference and its alternatives; the 194 public questions are "
    "another benchmark than the paper's 300",
)
REALX_300 = _suite(
    name="realx_bench",
    title="RealX-Bench (300)",
    table="realx",
    family="integration",
    size=300,
    iter_items=_iter_realx,
    aggregate=aggregate_realx,
    column="Average",
)

SUITES = (FVQA_TEST, INFOSEEK, *mmsearch.SUITES, SIMPLEVQA)
REALX_SUITES = (REALX_194, REALX_300)
