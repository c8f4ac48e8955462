"""Mistakes that a teacher makes: some it repairs, the others selection must remove.

Source of the first kind: a policy that has seen only good crops babbles after a bad one, so the
cold start must show how to go on.
"""

import random
from collections.abc import Sequence
from enum import StrEnum

from PIL import Image

from agentic_vlm.schema import CuratedSample, SolutionStep, StepKind
from agentic_vlm.synthesis.reading import has_content
from agentic_vlm.world.drawing import COLOURS, NUM_CELLS, Box, cell_box, derive_rng
from agentic_vlm.world.entities import make_code
from agentic_vlm.world.script import write_code


class Conduct(StrEnum):
    """How a trajectory goes."""

    CLEAN = "clean"
    RECOVERY = "recovery"
    """A slip that is noticed and repaired, without an error in the code."""
    WRONG = "wrong"
    """A slip that stays: another operand, another cell, half a query, a wrong word."""
    BROKEN_CODE = "broken_code"
    """Code with an error, repaired in the next turn."""
    PLACEHOLDER = "placeholder"
    """A code block that does nothing, then the right steps."""
    GIVE_UP = "give_up"
    """A guess without any call."""


_MISTAKES = (Conduct.WRONG, Conduct.BROKEN_CODE, Conduct.PLACEHOLDER, Conduct.GIVE_UP)
_CODE_STEPS = (StepKind.CROP, StepKind.COMPUTE)
_CAN_SLIP = (*_CODE_STEPS, StepKind.TEXT_SEARCH)
_CAN_NOTICE = (StepKind.CROP, StepKind.TEXT_SEARCH)
"""Steps whose observation shows a slip. A wrong operand prints a number like any other, and a
recovery from it teaches to doubt right results."""


def choose_conduct(
    rng: random.Random, sample: CuratedSample, *, mistake_rate: float, recovery_rate: float
) -> Conduct:
    """Return how a trajectory goes; samples that need no tool can only go right or wrong."""
    drawn = rng.random()
    if drawn < mistake_rate:
        return rng.choice(_MISTAKES) if sample.solution else Conduct.WRONG
    if drawn < mistake_rate + recovery_rate and _slippery(sample, _CAN_NOTICE):
        return Conduct.RECOVERY
    return Conduct.CLEAN


def choose_step(rng: random.Random, sample: CuratedSample, conduct: Conduct) -> int:
    """Return the number of the step at which the slip happens."""
    kinds = _CAN_NOTICE if conduct is Conduct.RECOVERY else _CAN_SLIP
    return rng.choice(_slippery(sample, kinds) or range(len(sample.solution)))


def _slippery(sample: CuratedSample, kinds: Sequence[StepKind]) -> list[int]:
    return [at for at, step in enumerate(sample.solution) if step.kind in kinds]


def slip(rng: random.Random, step: SolutionStep, picture: Image.Image | None) -> SolutionStep:
    """Return the step done carelessly: another cell, another operand, half a query."""
    match step.kind:
        case StepKind.CROP:
            changes: dict[str, object] = {"box": _other_box(rng, step.box, picture)}
        case StepKind.COMPUTE:
            changes = {"text": _other_operand(rng, step.text)}
        case StepKind.TEXT_SEARCH | StepKind.IMAGE_SEARCH:
            changes = {"text": _half_query(rng, step.text)}
    return step.model_copy(update={**changes, "reads": ""})


def _half_query(rng: random.Random, query: str) -> str:
    words = query.split()
    # "Name founded" loses the name; "code K47" loses the code.
    general = words[0] if words[:1] == ["code"] else " ".join(words[1:])
    return rng.choice([general or "owner", "owner"])


def break_code(rng: random.Random, step: SolutionStep) -> str:
    """Return a code action that ends with a SyntaxError or a NameError."""
    if step.kind is StepKind.CROP and step.box is not None:
        sides = ",".join(map(str, step.box))
        return write_code(rng.choice([f"image.crop(({sides}))", f"image_1.crop(({sides})"]))
    if step.kind is StepKind.COMPUTE:
        return write_code(rng.choice([f"print({step.text}", f"show({step.text})"]))
    return write_code("print(owner)")


def write_placeholder(step: SolutionStep) -> str:
    """Return a code action that computes nothing."""
    if step.kind is StepKind.CROP:
        return write_code("# look closer\nimage_1")
    return write_code("# work it out")


def guess_answer(rng: random.Random, sample: CuratedSample) -> str:
    """Return a wrong answer of the right form."""
    answer = sample.answer
    if answer.isdigit():
        low, high = 10 ** (len(answer) - 1), 10 ** len(answer)
        options = [str(number) for number in (rng.randrange(low, high) for _ in range(4))]
    elif answer in COLOURS:
        options = sorted(COLOURS)
    else:
        options = [make_code(rng) for _ in range(4)]
    others = [option for option in options if option != answer]
    return rng.choice(others) if others else f"{answer}0"


def rng_of(seed: int, sample_id: str, attempt: int) -> random.Random:
    """Return the source of chance of one trajectory."""
    return derive_rng("teacher", seed, sample_id, attempt)


def _other_operand(rng: random.Random, expression: str) -> str:
    digits = [at for at, sign in enumerate(expression) if sign.isdigit()]
    at = rng.choice(digits)
    # No zero: it would make another number of digits, or an octal number.
    others = [sign for sign in "123456789" if sign != expression[at]]
    return expression[:at] + rng.choice(others) + expression[at + 1 :]


def _other_box(rng: random.Random, box: Box | None, picture: Image.Image | None) -> Box:
    """Return another cell: a neighbour as often as a cell with something else in it."""
    cells = [cell_box((column, row)) for column in range(NUM_CELLS) for row in range(NUM_CELLS)]
    others = [cell for cell in cells if cell != box]
    if picture is not None and rng.random() < 0.5:
        filled = [cell for cell in others if has_content(picture.crop(cell))]
        others = filled or others
    elif box is not None:
        side = box[2] - box[0]
        others = [cell for cell in others if _is_near(cell, box, side)] or others
    return rng.choice(others)


def _is_near(cell: Box, box: Box, side_px: int) -> bool:
    return abs(cell[0] - box[0]) <= side_px and abs(cell[1] - box[1]) <= side_px
