"""Samples of the pocket world: a picture, a question, an answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from agentic_vlm.schema import Need
from agentic_vlm.world.drawing import derive_rng
from agentic_vlm.world.entities import Entity
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

FAMILIES = ("perception", "reasoning", "search", "integration", "text")


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
    rng = derive_rng(seed, split, family, need, index)
    difficulty = index % 4
    picture: Image.Image | None = None
    if family == "perception":
        plates = make_plates(rng, difficulty=difficulty)
        picture = plates.render(rng)
        question = ask_label(rng, plates) if need is Need.TOOL else ask_plates(rng, plates)
    elif family == "reasoning":
        if rng.random() < 0.5:
            chart = make_chart(rng, difficulty=difficulty)
            picture, question = chart.render(rng), ask_chart(rng, chart, need=need)
        else:
            receipt = make_receipt(rng, difficulty=difficulty)
            picture, question = receipt.render(rng), ask_receipt(rng, receipt, need=need)
    elif family == "search":
        famous = [entity for entity in entities if entity.is_famous]
        entity = rng.choice(famous if famous and difficulty == 0 else entities)
        picture = photograph(entity.emblem, rng)
        if need is Need.DIRECT:
            question = ask_emblem_look(rng, entity)
        else:
            question = ask_named(rng, entity) if difficulty < 2 else ask_emblem(rng, entity)
    elif family == "integration":
        owners = {entity.code: entity for entity in rng.sample(list(entities), 2)}
        plates = make_plates(rng, difficulty=difficulty, labels=sorted(owners))
        picture = plates.render(rng)
        if need is Need.TOOL:
            question = ask_integration(rng, plates, owners)
        else:
            question = ask_plates(rng, plates)
    elif family == "text":
        question = ask_arithmetic(rng, need=need, difficulty=difficulty)
    else:
        raise ValueError(f"unknown family {family!r}; one of {', '.join(FAMILIES)}")
    return WorldSample(
        row_id=f"{split}-{family}-{need}-{index:05d}",
        split=split,
        family=family,
        difficulty=difficulty,
        question=question,
        picture=picture,
    )


def iter_samples(
    seed: int, *, split: str, num_tool: int, num_direct: int, entities: Sequence[Entity]
) -> Iterator[WorldSample]:
    """Yield the samples of a split: `num_tool` and `num_direct` of each family."""
    for family in FAMILIES:
        for need, count in ((Need.TOOL, num_tool), (Need.DIRECT, num_direct)):
            for index in range(count):
                yield make_sample(
                    seed, split=split, family=family, need=need, index=index, entities=entities
                )
