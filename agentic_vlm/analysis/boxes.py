"""Where a call looks: the boxes that its code cuts out of the question's pictures."""

import ast
import json
import re
import warnings
from typing import NamedTuple

from agentic_vlm.schema import ToolCall

_PICTURE = re.compile(r"image_(\d+)")


class LookedAt(NamedTuple):
    """A part of one of the question's pictures."""

    image: int
    """Number of the picture, from 1, as code counts."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the picture."""


def looked_at(call: ToolCall) -> list[LookedAt]:
    """Return the parts that a call names with plain numbers; computed boxes are not followed.

    >>> looked_at(ToolCall(tool="python", code="image_1.crop((0, 56, 56, 112))"))
    [LookedAt(image=1, box=(0, 56, 56, 112))]
    """
    if call.tool == "python":
        return _crops(call.code)
    return _searched(call.arguments_json)


def _crops(code: str) -> list[LookedAt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="crop")):
                picture = _PICTURE.fullmatch(name)
                values = [*node.args, *(word.value for word in node.keywords)]
                box = _box(values[0]) if len(values) == 1 else None
                if picture is not None and box is not None:
                    found.append(LookedAt(int(picture[1]), box))
    return found


def _box(node: ast.expr) -> tuple[float, float, float, float] | None:
    try:
        return _as_box(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _searched(arguments_json: str) -> list[LookedAt]:
    try:
        arguments = json.loads(arguments_json)
    except (ValueError, RecursionError):
        return []
    if not isinstance(arguments, dict):
        return []
    box = _as_box(arguments.get("box"))
    number = arguments.get("image", 1)
    picture = _PICTURE.fullmatch(str(number))
    number = int(picture[1]) if picture is not None else number
    return [LookedAt(number, box)] if box is not None and isinstance(number, int) else []


def _as_box(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    sides = [side for side in value if isinstance(side, int | float) and abs(side) < 1e6]
    return (sides[0], sides[1], sides[2], sides[3]) if len(sides) == 4 else None
