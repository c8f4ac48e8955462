"""SuiteItem: one question of a benchmark, as its adapter reads it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from agentic_vlm.schema import AnswerType, ImageRef, RawSample, ScoredAnswer, content_id

# An option whose text is itself a letter says nothing beside the letters of the options.
_IS_LETTER = re.compile(r"\W*[A-Za-z]\W*")
# A page of text per item, which no figure needs.
_FOR_GRADING = ("rubric=", "group_rubric=")
_BLANK = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteItem:
    """One question, its reference answer, and by what it is aggregated."""

    item_id: str
    """Unique within the suite: the benchmark's own id, where it has one."""
    question: str
    """The benchmark's prompt, options included; the loop puts its own instructions around it."""
    answer: str
    """The reference answer; for multiple choice the letter."""
    answer_type: AnswerType
    """Which rule of `grading` is nearest to the rule of the benchmark."""
    rule: str = ""
    """Name of the published rule, such as `relaxed`; empty where the type of the answer decides in
    every mode."""
    options: tuple[str, ...] = ()
    """Texts of the options A, B, C, ... where the item lists them."""
    aliases: tuple[str, ...] = ()
    """Other right answers; for multiple choice the text of the right option."""
    images: tuple[bytes, ...] = ()
    """Encoded pictures, exactly as published; empty for text questions."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By what the item is aggregated, such as `category`."""
    marks: tuple[str, ...] = ()
    """RealX-Bench: perception, search, reason."""
    rubric: str = ""
    """What the benchmark asks its judge about the answer, which goes where `{PREDICTION}` stands
    (CharXiv); else empty."""
    group_rubric: str = ""
    """What the benchmark asks its judge about several answers at once; items with the same text may
    share a request. Empty where it asks about each alone."""


def to_sample(
    item: SuiteItem, refs: Sequence[ImageRef], *, suite: str, family: str, split: str | None = None
) -> RawSample:
    """Return the item as a sample of a held-out suite; labels become flags `name=value`.

    Args:
        item: the item.
        refs: its pictures in the image store, in order.
        suite: name of the suite.
        family: perception, reasoning, search, integration or text.
        split: where it differs from the name of the suite.
    """
    return RawSample(
        sample_id=content_id(item.question, item.answer, *(ref.sha256 for ref in refs)),
        source=suite,
        source_row_id=item.item_id,
        split=split or suite,
        family=family,
        question=item.question,
        answer=item.answer,
        aliases=item.aliases,
        answer_type=item.answer_type,
        images=tuple(refs),
        flags=(*item.marks, *(f"{name}={value}" for name, value in sorted(_labels(item).items()))),
    )


def _labels(item: SuiteItem) -> dict[str, str]:
    labels = dict(item.labels)
    if item.rule:
        labels["rule"] = item.rule
    if item.options:
        labels["options"] = json.dumps(item.options, ensure_ascii=False)
    if item.rubric:
        labels["rubric"] = item.rubric
    if item.group_rubric:
        labels["group_rubric"] = item.group_rubric
    return labels


def flags_of_score(sample: RawSample) -> tuple[str, ...]:
    """Return the flags by which an answer is aggregated: all but those that only grading needs."""
    return tuple(flag for flag in sample.flags if not flag.startswith(_FOR_GRADING))


def label_of(score: ScoredAnswer, name: str) -> str:
    """Return a label of the item that was answered; empty where it has none."""
    return label_in(score.flags, name)


def label_in(flags: Sequence[str], name: str) -> str:
    """Return the value of the flag `name=value`; empty where there is none.

    >>> label_in(("search", "category=map"), "category")
    'map'
    """
    prefix = f"{name}="
    return next((flag[len(prefix) :] for flag in flags if flag.startswith(prefix)), "")


def rule_of(sample: RawSample) -> tuple[str, tuple[str, ...]]:
    """Return the name of the published rule and the options A, B, C, ... of a suite's sample.

    The name is empty where the rule is that of the answer's type, whatever the mode; samples of
    other sources have neither.
    """
    options = label_in(sample.flags, "options")
    return label_in(sample.flags, "rule"), tuple(json.loads(options or "[]"))


@cache
def _prompt(name: str) -> str:
    file = resources.files("agentic_vlm.evaluation.suites").joinpath("prompts", f"{name}.md")
    return file.read_text(encoding="utf-8").rstrip("\n")


def fill_prompt(name: str, **texts: str | Mapping[str, str]) -> str:
    """Return a prompt file with its blanks filled.

    Args:
        name: of the file in `prompts/`.
        texts: by blank, such as `question`; options go in one per line, `A. text`.
    """
    filled = {
        blank: text if isinstance(text, str) else list_options(text)
        for blank, text in texts.items()
    }
    # In one pass: a question may itself hold what looks like a blank.
    return _BLANK.sub(lambda match: filled[match[1]], _prompt(name))


def list_options(options: Mapping[str, str]) -> str:
    r"""Return the options one per line.

    >>> list_options({"A": "red", "B": "None"})
    'A. red\nB. None'
    """
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def option_aliases(options: Mapping[str, str], letter: str) -> tuple[str, ...]:
    """Return the text of the right option, where it is a second name of the answer.

    >>> option_aliases({"A": "red", "B": "blue"}, "B"), option_aliases({"A": "B", "B": "A"}, "A")
    (('blue',), ())
    """
    text = options.get(letter, "").strip()
    is_unique = sum(text == other.strip() for other in options.values()) == 1
    return (text,) if text and is_unique and not _IS_LETTER.fullmatch(text) else ()
