"""Suites that count groups of questions: WeMath, DynaMath; and LogicVista."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agentic_vlm.evaluation.figures import (
    Array,
    Figure,
    Mark,
    Statistic,
    grouped,
    ratio,
    share,
    shares_by,
)
from agentic_vlm.evaluation.suites.choices import CHOICE_RULE, choice_item, read_options
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt, label_of
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import Row, iter_rows
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, all_right, by_label
from agentic_vlm.schema import AnswerType, ScoredAnswer

_SKILLS = ("inductive", "deductive", "numerical", "spatial", "mechanical")
_NUM_VARIANTS = 10
_VARIANT_FILE = re.compile(r"variant_?(\d+)")
_STEPS = {"2steps": 2, "3steps": 3}
_DYNAMATH_TYPES = {
    "float": AnswerType.FLOAT,
    "multiple choice": AnswerType.CHOICE,
    "text": AnswerType.TEXT,
}
_DYNAMATH_RULES = {
    AnswerType.FLOAT: "dynamath_float",
    AnswerType.CHOICE: "dynamath_choice",
    AnswerType.TEXT: "dynamath_text",
}
_DYNAMATH_FORMS = {
    AnswerType.FLOAT: "a number with three decimals",
    AnswerType.CHOICE: "the letter of the right option",
    AnswerType.TEXT: "a word or phrase",
}
# What surrounds the value is looked for apart: one pattern for all takes the square of the length.
_SHORT_ANSWER = re.compile(r'"short[ _]answer"\s*:')
_NEXT_KEY = re.compile(r',\s*"')


def _iter_wemath(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        options = read_options(row)
        kind, _, step = row.text("key").partition("_")
        if kind not in _STEPS or not step:
            raise row.fault("key", f"{row.text('key')!r} is none of 2steps_1 .. 3steps_multi")
        prompt = fill_prompt("choices", question=row.text("question"), options=options)
        hint = row.maybe("hint")
        yield choice_item(
            row,
            item_id=row.text("index"),
            question=f"Hint: {hint}\n{prompt}" if hint else prompt,
            options=options,
            labels={
                "problem": f"{kind}/{row.text('ID', 'id')}",
                "kind": kind,
                "step": "multi" if step == "multi" else "single",
                "concept": row.maybe("knowledge concept") or "",
            },
        )


def _wemath_totals(marks: Sequence[Mark], *, is_strict: bool) -> tuple[float, ...] | None:
    """Return IG, IK, CM, RM and 1 of one problem; None where a step or the whole is missing."""
    singles = [mark.is_right for mark in marks if label_of(mark.score, "step") == "single"]
    wholes = [mark.is_right for mark in marks if label_of(mark.score, "step") == "multi"]
    kind = label_of(marks[0].score, "kind")
    if len(singles) != _STEPS.get(kind) or len(wholes) != 1:
        return None
    (is_solved,) = wholes
    masters = all(singles) if is_strict else any(singles)
    return (
        float(all(singles) and not is_solved),
        float(not all(singles) and not is_solved),
        float(is_solved and masters),
        float(is_solved and not masters),
        1.0,
    )


def _wemath_score(totals: Array) -> Array:
    """Mastery plus half of what lacks only generalization, over all problems."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((totals[..., 2] + 0.5 * totals[..., 0]) / totals[..., 4])


def _part(place: int) -> Statistic:
    def statistic(totals: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., place] / totals[..., 4])

    return statistic


def _rote_rate(totals: Array) -> Array:
    """Rote memorization among solved problems; not defined where none is solved."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 3] / (totals[..., 2] + totals[..., 3]))


def _aggregate_wemath(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    figures = []
    parts = (("insufficient knowledge", _part(1)), ("inadequate generalization", _part(0)))
    for is_strict, name in ((True, "strict"), (False, "loose")):

        def count(marks: Sequence[Mark], is_strict: bool = is_strict) -> tuple[float, ...] | None:
            return _wemath_totals(marks, is_strict=is_strict)

        more = (("complete mastery", _part(2)), ("rote memorization", _rote_rate))
        statistics = [("score", _wemath_score), *(parts if is_strict else ()), *more]
        figures += [
            grouped(
                f"{title}, {name}" if title not in dict(parts) else title,
                rows,
                group=by_label("problem"),
                count=count,
                statistic=statistic,
            )
            for title, statistic in statistics
        ]
    singles = [row for row in rows if label_of(row, "step") == "single"]
    wholes = [row for row in rows if label_of(row, "step") == "multi"]
    return [*figures, share("one step", singles), *shares_by(by_label("kind"), wholes)]


def _iter_dynamath(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        name = row.text("answer_type")
        if name not in _DYNAMATH_TYPES:
            raise row.fault("answer_type", f"{name!r} is none of {', '.join(_DYNAMATH_TYPES)}")
        kind = _DYNAMATH_TYPES[name]
        seed, variant = row.text("qid", "id"), _variant(row)
        yield SuiteItem(
            item_id=f"{seed}/{variant}",
            question=fill_prompt(
                "dynamath", question=row.text("question"), form=_DYNAMATH_FORMS[kind]
            ),
            answer=row.text("answer", "ground_truth"),
            answer_type=kind,
            rule=_DYNAMATH_RULES[kind],
            images=read_pictures(row, "image_path", "decoded_image", "image"),
            labels={
                "seed": seed,
                "subject": row.maybe("subject") or "",
                "level": row.maybe("knowledge_level") or "",
            },
        )


def _variant(row: Row) -> str:
    """Return the number of the variant: a column, or a part of the name of the split."""
    found = row.maybe("varid")
    if found is not None:
        return found
    match = _VARIANT_FILE.search(row.file.name)
    if match is None:
        raise row.fault("varid", f"missing, and {row.file.name} names no variant")
    return match[1]


def read_short_answer(text: str) -> str:
    r"""Return the value of `short answer` in the JSON that DynaMath asks for, else the text.

    Backslashes of LaTeX break the JSON, so the value is also read from text that is none.

    >>> read_short_answer('```json\n{"solution": "a\\b", "short answer": "3.500"}\n```')
    '3.500'
    >>> read_short_answer("3.5")
    '3.5'
    """
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return text
    body = text[start : end + 1]
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        found = content.get("short answer", content.get("short_answer"))
        return text if found is None else str(found)
    match = _SHORT_ANSWER.search(body)
    if match is None:
        return text
    rest = body[match.end() :]
    following = _NEXT_KEY.search(rest)
    value = rest[: following.start()] if following else rest.rstrip().removesuffix("}")
    return value.strip().removeprefix('"').removesuffix('"').strip()


def _aggregate_dynamath(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    def count(marks: Sequence[Mark]) -> tuple[float, float]:
        return float(sum(mark.is_right for mark in marks)), float(len(marks))

    average = grouped("average", rows, group=by_label("seed"), count=count, statistic=ratio)
    worst = all_right("worst case", rows, group="seed", size=_NUM_VARIANTS)
    parts = [f for name in ("subject", "level") for f in shares_by(by_label(name), rows)]
    return [average, worst, *parts, *_worst_cases(rows)]


def _worst_cases(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Return the worst case of every subject and level, in alphabetical order."""
    found = []
    for name in ("subject", "level"):
        for value in sorted({label_of(row, name) for row in rows} - {""}):
            own = [row for row in rows if label_of(row, name) == value]
            found.append(all_right(f"worst case, {value}", own, group="seed", size=_NUM_VARIANTS))
    return found


def _iter_logicvista(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        letters = re.findall(r"[A-Z]", row.text("answer").upper())
        if not letters:
            raise row.fault("answer", f"{row.text('answer')!r} names no letter")
        skills = row.text("skill").lower()
        is_single = len(letters) == 1
        yield SuiteItem(
            item_id=row.text("index"),
            question=row.text("question"),
            answer=letters[0] if is_single else ", ".join(sorted(letters)),
            answer_type=AnswerType.CHOICE if is_single else AnswerType.LIST,
            rule="letters",
            images=read_pictures(row, "image_path", "image"),
            labels={"skills": "|".join(skill for skill in _SKILLS if skill in skills)},
        )


def _aggregate_logicvista(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    by_skill = [
        share(skill, chosen)
        for skill in _SKILLS
        if (chosen := [row for row in rows if skill in label_of(row, "skills").split("|")])
    ]
    return [share("overall", rows), *by_skill]


WEMATH = Suite(
    name="wemath",
    title="WeMath testmini, strict",
    table="mathematics",
    family="reasoning",
    size=1740,
    iter_items=_iter_wemath,
    aggregate=_aggregate_wemath,
    prompt="VLMEvalKit's options prompt",
    rule=f"{CHOICE_RULE}; score over composite problems whose steps were all asked",
    files=(
        KnownFile("WeMath.tsv", "056142c89b09d864702450b5b5ea0913", "earlier issue"),
        KnownFile("WeMath.tsv", "b5e969a075f01290a542411fb7766388", "later issue"),
    ),
    column="WeMath",
)
DYNAMATH = Suite(
    name="dynamath",
    title="DynaMath, average",
    table="mathematics",
    family="reasoning",
    size=5010,
    iter_items=_iter_dynamath,
    aggregate=_aggregate_dynamath,
    prompt="asks for JSON with `solution` and `short answer`, in our wording",
    rule="floats within 0.001, first word, pi multiplies; the one letter of A to E in the answer; "
    "a text that the gold contains; worst case: a seed counts whose ten variants are all right",
    deviation="what follows pi is read; texts equal and no mere part of the gold; in every mode an "
    "empty answer is wrong, which the kit passes as a part of any text",
    files=(KnownFile("DynaMath.tsv", "b8425ad9a7114571fc9366e013699494"),),
    column="DynaMath",
    read_answer=read_short_answer,
)
LOGICVISTA = Suite(
    name="logicvista",
    title="LogicVista",
    table="mathematics",
    family="reasoning",
    size=448,
    iter_items=_iter_logicvista,
    aggregate=_aggregate_logicvista,
    prompt="the question with its options, as published",
    rule="the set of letters; the fork takes them out of the reply with a judge",
    files=(KnownFile("LogicVista.tsv", "41c5d33adf33765c399e0e6ae588c061"),),
    column="LogicVista",
)

SUITES = (WEMATH, DYNAMATH, LOGICVISTA)
