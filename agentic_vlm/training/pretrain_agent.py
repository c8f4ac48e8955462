"""Lessons in the forms of the loop: direct replies, and careless agent transcripts.

A published base has met code and tool syntax in its pretraining but is unreliable at it; so is this
one: half of the transcripts answer at once with a guess, and most calls of the others are broken:
the right place, name or numbers in a form that does not run. It knows what to do, not how to write
it.
"""

import random
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.agent.prompt import PromptChoice, build_prompt
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.schema import Need, ProbeMode, SolutionStep, StepKind
from agentic_vlm.search.base import ImageHit, TextHit
from agentic_vlm.tools.neutralise import IMAGE_MARK
from agentic_vlm.tools.observe import code_text, image_search_text, text_search_text
from agentic_vlm.tools.toolbox import unknown_tool
from agentic_vlm.world.drawing import NUM_CELLS, cell_box
from agentic_vlm.world.entities import Entity, article_text, make_code, make_entity
from agentic_vlm.world.exchange import Exchange, Lesson
from agentic_vlm.world.samples import FAMILIES, WorldSample, make_looks, make_sample
from agentic_vlm.world.script import (
    think_after,
    think_before,
    write_answer,
    write_code,
    write_step,
    write_turn,
)

_TOOL_SHARE = 0.5
"""Share of tool questions that a transcript tries with tools; the others are guessed at once."""
_BROKEN_RATE = 0.6
"""Chance of a broken call at each step. Broken in its form alone: a cold start repairs forms within
a few steps, while slips in places and names unlearn what the other lessons taught."""
_SLIP_RATE = 0.15
"""Chance of a slip at each step: another cell, another operand, a query without a name."""
_LOOK_SHARE = 0.4
"""Share of lessons with several direct questions about one picture."""
_STRANGER_SHARE = 0.7
"""Share of samples about entities of which the base has never read."""
_NUM_STRANGERS = 8
PREFILL = "<think>"
"""What the loop writes for the policy at the start of every turn but the first."""


def make_form_lesson(
    rng: random.Random,
    entities: Sequence[Entity],
    params: PromptChoice,
    *,
    families: Sequence[str] = FAMILIES,
) -> Lesson:
    """Return one sample as a direct reply or as a careless transcript.

    Args:
        rng: source of all chance.
        entities: those that the base may ask about; never held-out ones.
        params: prompt and tools, as the loop will use them.
        families: kinds of samples to choose from.
    """
    family = rng.choice(families)
    is_direct_mode = rng.random() < 0.35
    if rng.random() < _LOOK_SHARE and family != "text":
        return _looks(rng, params, family=family, is_direct_mode=is_direct_mode)
    need = Need.DIRECT if rng.random() < (0.6 if is_direct_mode else 0.3) else Need.TOOL
    if rng.random() < _STRANGER_SHARE:
        entities = [make_entity(rng) for _ in range(_NUM_STRANGERS)]
    sample = make_sample(
        rng.getrandbits(32),
        split="forms",
        family=family,
        need=need,
        index=rng.randrange(4),
        entities=entities,
    )
    mode = ProbeMode.DIRECT if is_direct_mode else ProbeMode.AGENT
    pictures = () if sample.picture is None else (sample.picture,)
    prompt = build_prompt(sample.question.text, num_images=len(pictures), mode=mode, params=params)
    user = prompt.user.replace(IMAGE_MARK, "")
    can_tell = need is Need.DIRECT or _is_easy(sample, entities)
    reply = sample.question.answer if can_tell else guess(rng, sample)
    if is_direct_mode:
        return (Exchange(user, reply, pictures),)
    if can_tell or rng.random() > _TOOL_SHARE:
        text = write_turn("Easy.", write_answer(reply), is_first=True)
        return (Exchange(user, text, pictures, system=prompt.system),)
    return _transcript(rng, sample, entities, user, prompt.system)


def _is_easy(sample: WorldSample, entities: Sequence[Entity]) -> bool:
    template = sample.question.template
    is_small = len(sample.question.answer) <= 2 and template in ("product", "boxes")
    # Questions of difficulty 0 are about famous entities where there are any.
    is_known = template.startswith("named_") and any(entity.is_famous for entity in entities)
    return sample.difficulty == 0 and (template == "label" or is_known or is_small)


def _looks(
    rng: random.Random, params: PromptChoice, *, family: str, is_direct_mode: bool
) -> Lesson:
    """Return several direct questions about one picture, each in the form of the loop.

    One picture then pays for several answers under the long prompt, where the base was worse at
    direct questions than under the short one.
    """
    picture, questions = make_looks(rng, family=family, num_questions=rng.randrange(1, 5))
    mode = ProbeMode.DIRECT if is_direct_mode else ProbeMode.AGENT
    exchanges = []
    # Each question once: the second answer would only be copied from the first.
    for number, question in enumerate({q.text: q for q in questions}.values()):
        prompt = build_prompt(question.text, num_images=1, mode=mode, params=params)
        reply = question.answer
        if not is_direct_mode:
            reply = write_turn("Easy.", write_answer(reply), is_first=True)
        exchanges.append(
            Exchange(
                prompt.user.replace(IMAGE_MARK, ""),
                reply,
                (picture,) if number == 0 else (),
                system="" if number or is_direct_mode else prompt.system,
            )
        )
    return tuple(exchanges)


def guess(rng: random.Random, sample: WorldSample) -> str:
    """Return an answer of the right form that nobody worked for."""
    answer = sample.question.answer
    if not answer.isdigit():
        return make_code(rng)
    if sample.question.template.endswith("founded"):
        return str(rng.randrange(1600, 2000))
    return str(rng.randrange(10 ** (len(answer) - 1), 10 ** len(answer)))


def _transcript(
    rng: random.Random, sample: WorldSample, entities: Sequence[Entity], user: str, system: str
) -> Lesson:
    exchanges: list[Exchange] = []
    prompt = user
    pictures: tuple[Image.Image, ...] = () if sample.picture is None else (sample.picture,)
    thought = ""
    answer = sample.question.answer
    for number, step in enumerate(sample.question.solution):
        before = f"{thought} {think_before(step, sample.question.text)}".strip()
        is_broken = rng.random() < _BROKEN_RATE
        done = _slip(rng, step) if not is_broken and rng.random() < _SLIP_RATE else step
        action, fault = _broken(rng, step) if is_broken else (write_step(done), "")
        text = write_turn(before, action, is_first=number == 0)
        exchanges.append(_exchange(prompt, text, pictures, system=system, number=number))
        prompt, pictures = (fault, ()) if is_broken else _observe(rng, done, sample, entities)
        thought = think_after(step)
        if is_broken or done is not step:
            # What a wrong program prints is what its author believes.
            answer = prompt.removeprefix("stdout: ")
            answer = answer if answer.isdigit() else guess(rng, sample)
            thought = f"It is {answer}."
            break
    text = write_turn(thought, write_answer(answer), is_first=False)
    exchanges.append(_exchange(prompt, text, pictures, system=system, number=len(exchanges)))
    return tuple(exchanges)


def _exchange(
    prompt: str, text: str, pictures: tuple[Image.Image, ...], *, system: str, number: int
) -> Exchange:
    if number == 0:
        return Exchange(prompt, text, pictures, system=system)
    return Exchange(prompt, text, pictures, prefill=PREFILL)


def _slip(rng: random.Random, step: SolutionStep) -> SolutionStep:
    """Return the step done carelessly: another cell, another operand, half a query."""
    match step.kind:
        case StepKind.CROP:
            box = cell_box((rng.randrange(NUM_CELLS), rng.randrange(NUM_CELLS)))
            return SolutionStep(kind=step.kind, box=box)
        case StepKind.COMPUTE:
            digits = [at for at, sign in enumerate(step.text) if sign.isdigit()]
            at = rng.choice(digits)
            text = step.text[:at] + str(rng.randrange(1, 10)) + step.text[at + 1 :]
            return SolutionStep(kind=step.kind, text=text, notes=step.notes)
        case StepKind.TEXT_SEARCH:
            # The name is left out; half of these queries once were "owner", which later stood in
            # the queries of the cold start too.
            return SolutionStep(kind=step.kind, text=step.text.split()[-1])
        case StepKind.IMAGE_SEARCH:
            return SolutionStep(kind=StepKind.TEXT_SEARCH, text="owner of this emblem")


def _broken(rng: random.Random, step: SolutionStep) -> tuple[str, str]:
    """Return the step as a call that fails by its form, and what the loop answers."""
    match step.kind:
        case StepKind.CROP:
            sides = ",".join(map(str, step.box or ()))
            forms = (f"image.crop(({sides}))", f"image_1.crop(({sides})")
            name = "image"
        case StepKind.COMPUTE:
            forms = (f"show({step.text})", f"print({step.text}")
            name = "show"
        case StepKind.TEXT_SEARCH | StepKind.IMAGE_SEARCH:
            right = "search" if step.kind is StepKind.TEXT_SEARCH else "image_search"
            wrong = f"web_{right}"
            action = write_step(step).replace(f'"{right}"', f'"{wrong}"')
            return action, unknown_tool(wrong, ("search", "image_search")).text
    undefined, unclosed = forms
    if rng.random() < 0.5:
        return write_code(undefined), _failed(f"NameError: name '{name}' is not defined")
    return write_code(unclosed), _failed("SyntaxError: '(' was never closed")


def _observe(
    rng: random.Random, step: SolutionStep, sample: WorldSample, entities: Sequence[Entity]
) -> tuple[str, tuple[Image.Image, ...]]:
    """Return text and pictures that the loop would answer with."""
    match step.kind:
        case StepKind.CROP:
            if sample.picture is None or step.box is None:
                raise ValueError("a crop needs a picture and a box")
            return "", (sample.picture.crop(step.box),)
        case StepKind.COMPUTE:
            return _code_observation(stdout=f"{_evaluate(step.text)}\n"), ()
        case StepKind.TEXT_SEARCH:
            found = [
                e for e in entities if e.name in step.text.split() or e.code in step.text.split()
            ]
            shown = (found + rng.sample(list(entities), 3))[:3]
            return found_pages(step.text, shown), ()
        case StepKind.IMAGE_SEARCH:
            owner = next(e.name for e in entities if e.name == step.reads)
            return emblem_titles(owner, rng.choice(entities).name), ()


def found_pages(query: str, shown: Sequence[Entity]) -> str:
    """Return what the loop shows after a text search that found these entities, best first."""
    hits = [TextHit(entity.name, "", article_text(entity)) for entity in shown]
    return text_search_text(query, hits, style="compact")


def emblem_titles(owner: str, other: str) -> str:
    """Return what the loop shows after an image search that found two emblems, best first."""
    hits = [ImageHit(f"{name} emblem", "", b"") for name in (owner, other)]
    return image_search_text(hits, style="compact")


def _failed(stderr: str) -> str:
    return _code_observation(stderr=stderr)


def _code_observation(*, stdout: str = "", stderr: str = "") -> str:
    result = CellResult(
        status=CellStatus.ERROR if stderr else CellStatus.OK,
        stdout=stdout,
        stderr=stderr,
        value="",
        error_class=stderr.partition(":")[0],
        images=(),
        num_dropped_chars=0,
        num_dropped_images=0,
        wall_s=0.0,
        cpu_s=0.0,
        is_session_lost=False,
    )
    return code_text(result, style="compact", num_images=0).text


def _evaluate(expression: str) -> int:
    """Evaluate sums and products of whole numbers, as the world writes them."""
    if expression.startswith("("):
        inner, factor = expression[1:].split(")*")
        return _evaluate(inner) * int(factor)
    if "-" in expression:
        left, right = expression.split("-")
        return int(left) - int(right)
    total = 0
    for term in expression.split("+"):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += product
    return total
