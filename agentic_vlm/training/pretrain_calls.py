"""Lessons of first calls: several questions in the form of the loop, each with its first steps.

What the base copies or reads in short lessons it did not write into calls: three of four names in
plain queries, every fifth in a search call behind the prompt of the loop. Transcripts hold one such
call each, and most of them a careless one; here a picture pays for several, all of them right.
"""

import random
from collections.abc import Iterator

from PIL import Image

from agentic_vlm.agent.prompt import PromptChoice, build_prompt
from agentic_vlm.schema import Need, ProbeMode, StepKind
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.training.pretrain_agent import PREFILL, emblem_titles
from agentic_vlm.world.entities import make_entity
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
from agentic_vlm.world.script import think_after, think_before, write_step, write_turn

_NUM_QUESTIONS = 4
_FAMILIES = ("search", "search", "search", "reasoning", "reasoning", "perception", "text")
"""Names are the hardest to copy, so they come most often."""


def make_calls_lesson(rng: random.Random, params: PromptChoice) -> Lesson:
    """Return questions about one picture, each answered by the first calls of its solution.

    Args:
        rng: source of all chance.
        params: prompt and tools, as the loop will use them.
    """
    picture, questions = _questions(rng, rng.choice(_FAMILIES))
    exchanges: list[Exchange] = []
    for question in questions:
        exchanges += _first_calls(rng, question, params, picture=picture, is_start=not exchanges)
    return tuple(exchanges)


def _first_calls(
    rng: random.Random,
    question: Question,
    params: PromptChoice,
    *,
    picture: Image.Image | None,
    is_start: bool,
) -> Iterator[Exchange]:
    """Yield the steps of a solution up to the first whose observation ends the lesson."""
    num_images = 0 if picture is None else 1
    prompt = build_prompt(question.text, num_images=num_images, mode=ProbeMode.AGENT, params=params)
    asked = prompt.user.replace(IMAGE_MARK, "")
    thought = ""
    for number, step in enumerate(question.solution):
        before = f"{thought} {think_before(step, question.text)}".strip()
        text = write_turn(before, write_step(step), is_first=number == 0)
        if number:
            yield Exchange(asked, text, prefill=PREFILL)
        else:
            shown = (picture,) if is_start and picture is not None else ()
            yield Exchange(asked, text, shown, system=prompt.system if is_start else "")
        if step.kind is not StepKind.IMAGE_SEARCH:
            return
        asked = emblem_titles(step.reads, make_entity(rng).name)
        thought = think_after(step)


def _questions(rng: random.Random, family: str) -> tuple[Image.Image | None, list[Question]]:
    difficulty = rng.randrange(4)
    times = range(_NUM_QUESTIONS)
    match family:
        case "search":
            owner = make_entity(rng)
            first = rng.choice([ask_emblem, ask_named])(rng, owner)
            others = [ask_named(rng, make_entity(rng)) for _ in times[1:]]
            return photograph(owner.emblem, rng), [first, *others]
        case "reasoning" if rng.random() < 0.6:
            chart = make_chart(rng, difficulty=difficulty)
            return chart.render(rng), [ask_chart(rng, chart, need=Need.TOOL) for _ in times[1:]]
        case "reasoning":
            receipt = make_receipt(rng, difficulty=difficulty)
            return receipt.render(rng), [ask_receipt(rng, receipt, need=Need.TOOL)]
        case "perception":
            scene = make_plates(rng, difficulty=difficulty)
            return scene.render(rng), [ask_label(rng, scene) for _ in times]
        case _:
            return None, [
                ask_arithmetic(rng, need=Need.TOOL, difficulty=rng.randrange(4)) for _ in times
            ]
