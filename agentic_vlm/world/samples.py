"""Samples of the pocket world: a picture, a question, an answer."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.schema import Need
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.entities import Entity, make_entity
from agentic_vlm.world.questions import (
    Question,
    ask_arithmetic,
    ask_chart,
    ask_emblem,
    ask_emblem_look,
    ask_integration,
    ask_label,
    ask_named,
    ask_plates,
    ask_receipt,
)
from agentic_vlm.world.scenes import make_chart, make_plates, make_receipt, photograph


@dataclass(frozen=True, slots=True)
class WorldSample:
    """One generated sample, with its picture in memory."""

    row_id: str
    split: str
    family: str
    difficulty: int
    question: Question
    picture: Image.Image | None
    """Absent for text-only samples."""


_Asked = tuple[Image.Image | None, Question]
"""A picture, absent for text-only samples, and what is asked about it."""


def _perception(
    rng: random.Random, need: Need, difficulty: int, entities: Sequence[Entity]
) -> _Asked:
    plates = make_plates(rng, difficulty=difficulty)
    picture = plates.render(rng)
    return picture, ask_label(rng, plates) if need is Need.TOOL else ask_plates(rng, plates)


def _reasoning(
    rng: random.Random, need: Need, difficulty: int, entities: Sequence[Entity]
) -> _Asked:
    if rng.random() < 0.5:
        chart = make_chart(rng, difficulty=difficulty)
        return chart.render(rng), ask_chart(rng, chart, need=need)
    receipt = make_receipt(rng, difficulty=difficulty)
    return receipt.render(rng), ask_receipt(rng, receipt, need=need)


def _search(rng: random.Random, need: Need, difficulty: int, entities: Sequence[Entity]) -> _Asked:
    famous = [entity for entity in entities if entity.is_famous]
    entity = rng.choice(famous if famous and difficulty == 0 else entities)
    picture = photograph(entity.emblem, rng)
    if need is Need.DIRECT:
        return picture, ask_emblem_look(rng, entity)
    return picture, ask_named(rng, entity) if difficulty < 2 else ask_emblem(rng, entity)


def _integration(
    rng: random.Random, need: Need, difficulty: int, entities: Sequence[Entity]
) -> _Asked:
    owners = {entity.code: entity for entity in rng.sample(list(entities), 2)}
    plates = make_plates(rng, difficulty=difficulty, labels=sorted(owners))
    picture = plates.render(rng)
    if need is Need.TOOL:
        return picture, ask_integration(rng, plates, owners)
    return picture, ask_plates(rng, plates)


def _text(rng: random.Random, need: Need, difficulty: int, entities: Sequence[Entity]) -> _Asked:
    return None, ask_arithmetic(rng, need=need, difficulty=difficulty)


_MAKERS: dict[str, Callable[[random.Random, Need, int, Sequence[Entity]], _Asked]] = {
    "perception": _perception,
    "reasoning": _reasoning,
    "search": _search,
    "integration": _integration,
    "text": _text,
}
FAMILIES = tuple(_MAKERS)
"""Kinds of samples, in the order in which they are made."""


def make_looks(
    rng: random.Random, *, family: str, num_questions: int
) -> tuple[Image.Image, list[Question]]:
    """Return one picture of a family with several direct questions about it.

    Raises:
        ValueError: the family has no pictures.
    """
    difficulty = rng.randrange(4)
    match family:
        case "perception" | "integration":
            plates = make_plates(rng, difficulty=difficulty)
            return plates.render(rng), [ask_plates(rng, plates) for _ in range(num_questions)]
        case "reasoning" if rng.random() < 0.5:
            chart = make_chart(rng, difficulty=difficulty)
            return chart.render(rng), [
                ask_chart(rng, chart, need=Need.DIRECT) for _ in range(num_questions)
            ]
        case "reasoning":
            receipt = make_receipt(rng, difficulty=difficulty)
            return receipt.render(rng), [
                ask_receipt(rng, receipt, need=Need.DIRECT) for _ in range(num_questions)
            ]
        case "search":
            entity = make_entity(rng)
            return photograph(entity.emblem, rng), [
                ask_emblem_look(rng, entity) for _ in range(num_questions)
            ]
        case _:
            raise ValueError(f"family {family!r} has no direct questions about a picture")


def make_sample(
    seed: int, *, split: str, family: str, need: Need, index: int, entities: Sequence[Entity]
) -> WorldSample:
    """Return the sample with this number; it depends on the arguments alone.

    Args:
        seed: seed of the world.
        split: `train`, or the name of a held-out suite.
        family: one of FAMILIES.
        need: direct or tool question.
        index: number within split, family and need.
        entities: those that this split may ask about.

    Raises:
        ValueError: the family is unknown.
    """
    if family not in _MAKERS:
        raise ValueError(f"unknown family {family!r}; one of {', '.join(FAMILIES)}")
    rng = derive_rng(seed, split, family, need, index)
    difficulty = index % 4
    picture, question = _MAKERS[family](rng, need, difficulty, entities)
    return WorldSample(
        row_id=f"{split}-{family}-{need}-{index:05d}",
        split=split,
        family=family,
        difficulty=difficulty,
        question=question,
        picture=picture,
    )
