"""Lessons of first calls: several questions in the form of the loop, each with its first steps.

What the base copies or reads in short lessons it did not write into calls: three of four names in
plain queries, every fifth in a search call behind the prompt of the loop. Transcripts hold one such
call each, and most of them a careless one; here a picture pays for several, all of them right.
"""

import random
from collections.abc import Iterator

from PIL import Image

from agentic_vlm.agent.prompt import PromptChoice, build_prompt
from agentic_vlm.schema import Need, ProbeMode, SolutionStep, StepKind
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.training.pretrain_agent import PREFILL, emblem_titles, found_pages
from agentic_vlm.world.entities import Entity, make_entity
from agentic_vlm.world.exchange import Exchange, Lesson
from agentic_vlm.world.questions import (
    Question,
    ask_arithmetic,
    ask_chart,
    ask_emblem,
    ask_label,
    ask_named,
    ask_receipt,
)
from agentic_vlm.world.scenes import make_chart, make_plates, make_receipt, photograph
from agentic_vlm.world.script import (
    think_after,
    think_before,
    write_answer,
    write_step,
    write_turn,
)

_NUM_QUESTIONS = 4
_FAMILIES = ("search", "search", "search", "reasoning", "reasoning", "perception", "text")
"""Names are the hardest to copy, so they come most often."""


def make_calls_lesson(rng: random.Random, params: PromptChoice) -> Lesson:
    """Return questions about one picture, each with the first step of its solution; searches whole.

    Args:
        rng: source of all chance.
        params: prompt and tools, as the loop will use them.
    """
    picture, asked = _questions(rng, rng.choice(_FAMILIES))
    exchanges: list[Exchange] = []
    for question, entity in asked:
        exchanges += _steps(rng, question, entity, params, picture=picture, is_start=not exchanges)
    return tuple(exchanges)


def _steps(
    rng: random.Random,
    question: Question,
    entity: Entity | None,
    params: PromptChoice,
    *,
    picture: Image.Image | None,
    is_start: bool,
) -> Iterator[Exchange]:
    """Yield the first step of a solution, and of a search all that follows from what is found."""
    num_images = 0 if picture is None else 1
    prompt = build_prompt(question.text, num_images=num_images, mode=ProbeMode.AGENT, params=params)
    read = prompt.user.replace(IMAGE_MARK, "")
    thought = ""
    for number, step in enumerate(question.solution):
        before = f"{thought} {think_before(step, question.text)}".strip()
        text = write_turn(before, write_step(step), is_first=number == 0)
        if number:
            yield Exchange(read, text, prefill=PREFILL)
        else:
            shown = (picture,) if is_start and picture is not None else ()
            yield Exchange(read, text, shown, system=prompt.system if is_start else "")
        if entity is None:
            return
        thought = think_after(step)
        read = _found(rng, step, entity)
    text = write_turn(thought, write_answer(question.answer), is_first=False)
    yield Exchange(read, text, prefill=PREFILL)


def _found(rng: random.Random, step: SolutionStep, entity: Entity) -> str:
    if step.kind is StepKind.IMAGE_SEARCH:
        return emblem_titles(entity.name, make_entity(rng).name)
    return found_pages(step.text, [entity, make_entity(rng), make_entity(rng)])


_Asked = list[tuple[Question, Entity | None]]
"""Questions, with the entity that a search is about."""


def _questions(rng: random.Random, family: str) -> tuple[Image.Image | None, _Asked]:
    difficulty = rng.randrange(4)
    times = range(_NUM_QUESTIONS)
    match family:
        case "search":
            owner, *others = (make_entity(rng) for _ in times[1:])
            first = rng.choice([ask_emblem, ask_named])(rng, owner)
            asked: _Asked = [(first, owner), *((ask_named(rng, e), e) for e in others)]
            return photograph(owner.emblem, rng), asked
        case "reasoning" if rng.random() < 0.6:
            chart = make_chart(rng, difficulty=difficulty)
            asked = [(ask_chart(rng, chart, need=Need.TOOL), None) for _ in times[1:]]
            return chart.render(rng), asked
        case "reasoning":
            receipt = make_receipt(rng, difficulty=difficulty)
            return receipt.render(rng), [(ask_receipt(rng, receipt, need=Need.TOOL), None)]
        case "perception":
            scene = make_plates(rng, difficulty=difficulty)
            return scene.render(rng), [(ask_label(rng, scene), None) for _ in times]
        case _:
            return None, [
                (ask_arithmetic(rng, need=Need.TOOL, difficulty=rng.randrange(4)), None)
                for _ in times
            ]
