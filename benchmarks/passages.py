"""Passages of the text search benchmark: the paragraphs of XQuAD and distractors made of them.

Distractors are passages of the same length made of pieces of 4 to 9 words of the real paragraphs:
words are as frequent as in real text while no passage answers a question. Titles of distractors are
titles of real articles: a title alone finds nothing.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Passage:
    """A page of the corpus."""

    article_id: str
    title: str
    text: str
    date: str = ""

    @property
    def link(self) -> str:
        """The id, so that a hit names its passage."""
        return self.article_id


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the passage that answers it."""

    text: str
    answer_id: str


def read_xquad(path: Path) -> tuple[list[Passage], list[Question]]:
    """Return the paragraphs and questions of a SQuAD file."""
    passages: list[Passage] = []
    questions: list[Question] = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        title = article["title"].replace("_", " ")
        for paragraph in article["paragraphs"]:
            article_id = f"real-{len(passages):05d}"
            passages.append(Passage(article_id, title, paragraph["context"]))
            questions += [Question(qa["question"], article_id) for qa in paragraph["qas"]]
    return passages, questions


def with_distractors(real: Sequence[Passage], num: int) -> list[Passage]:
    """Return the real passages among so many distractors that there are `num`, ordered by id."""
    made = max(0, num - len(real))
    return sorted([*real, *_distractors(real, made)], key=lambda one: one.article_id)


def _distractors(real: Sequence[Passage], count: int) -> Iterator[Passage]:
    rng = random.Random(0)
    words = [passage.text.split() for passage in real]
    for number in range(count):
        length, pieces, size = len(rng.choice(words)), [], 0
        while size < length:
            source = rng.choice(words)
            start = rng.randrange(len(source))
            piece = source[start : start + rng.randint(4, 9)]
            pieces += piece
            size += len(piece)
        yield Passage(f"made-{number:07d}", rng.choice(real).title, " ".join(pieces))
