"""What a fluent solver of pocket questions writes, turn by turn.

The scripted teacher says these texts through the real loop; the base model has read careless
versions of them. Turns after the first are pre-filled with `<think>`, so their texts begin inside
the thought.
"""

import json
import re

from agentic_vlm.schema import SolutionStep, StepKind

_COLOUR = re.compile(r"the (\w+) plate")


def write_code(code: str) -> str:
    """Return a code action."""
    return f"<code>\n```python\n{code}\n```\n</code>"


def write_search(query: str) -> str:
    """Return a text search action."""
    return f"<tool_call>{json.dumps({'name': 'search', 'arguments': {'query': query}})}</tool_call>"


def write_image_search() -> str:
    """Return an image search action."""
    return '<tool_call>{"name": "image_search"}</tool_call>'


def write_answer(answer: str) -> str:
    """Return a final answer."""
    return f"<answer>{answer}</answer>"


def write_turn(thought: str, action: str, *, is_first: bool) -> str:
    """Return the text of a turn, without what is pre-filled.

    >>> write_turn("Compute.", write_answer("4"), is_first=False)
    'Compute.</think><answer>4</answer>'
    """
    return f"{'<think>' if is_first else ''}{thought}</think>{action}"


def write_crop(box: tuple[int, int, int, int]) -> str:
    """Return the code that shows a part of the first picture."""
    return write_code(f"image_1.crop(({','.join(map(str, box))}))")


def write_step(step: SolutionStep) -> str:
    """Return the action of a solution step."""
    match step.kind:
        case StepKind.CROP:
            if step.box is None:
                raise ValueError("a crop step needs a box")
            return write_crop(step.box)
        case StepKind.COMPUTE:
            return write_code(f"print({step.text})")
        case StepKind.IMAGE_SEARCH:
            return write_image_search()
        case StepKind.TEXT_SEARCH:
            return write_search(step.text)


def think_before(step: SolutionStep, question: str) -> str:
    """Return the thought that leads to a step."""
    match step.kind:
        case StepKind.CROP:
            colour = _COLOUR.search(question)
            return f"Look closer at the {colour[1]} plate." if colour else "Look closer."
        case StepKind.COMPUTE:
            return f"{step.notes}. Compute it." if step.notes else "Compute it."
        case StepKind.IMAGE_SEARCH:
            return "Find the emblem."
        case StepKind.TEXT_SEARCH:
            return "Search for it."


def think_after(step: SolutionStep) -> str:
    """Return what one says about the observation of a step."""
    return f"It is {step.reads}."
