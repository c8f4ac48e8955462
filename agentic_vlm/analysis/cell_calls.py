"""What a call does, by its name and by what it is given."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agentic_vlm.analysis import cell_words as words
from agentic_vlm.analysis.cell_values import OF_PICTURES, WRITTEN, Value


class Effect(StrEnum):
    """What is done."""

    CROP = "crop"
    """Cuts a part out of a picture."""
    DRAW = "draw"
    """Draws on a picture."""
    CHANGE = "change"
    """Changes or measures a picture."""
    COMPUTE = "compute"
    """Computes without a picture."""
    SHOW = "show"
    """Shows what it is given; what that is tells the rest."""
    NONE = "none"
    """Nothing to speak of."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call of something that the cell itself does not define."""

    node: ast.Call
    name: str
    """Last name of what is called: `crop` of `image_1.crop(...)`."""
    root: str
    """Module that the name comes from, or the first name of the chain; else empty."""
    receiver: Value
    """What the method belongs to; NOTHING for functions and modules."""
    receiver_name: str
    """Its name; empty where it has none."""
    args: tuple[Value, ...]
    """Values of positional arguments."""
    keywords: dict[str, Value]
    """Values of named arguments."""
    on_picture_axes: bool
    """Whether what is plotted here lies over a picture."""

    @property
    def given(self) -> Value:
        """The highest of all that the call is given."""
        return max((self.receiver, *self.args, *self.keywords.values()))

    @property
    def first(self) -> Value:
        """The first argument."""
        return next(iter((*self.args, *self.keywords.values())), Value.NOTHING)


Judged = tuple[Effect, Value]
"""What a call does and what it gives back."""


def judge_call(call: Called) -> Judged:
    """Return what a call does and what it gives back; the first rule that fits tells."""
    for rule in _RULES:
        found = rule(call)
        if found is not None:
            return found
    return _anything(call)


def _cropping(call: Called) -> Judged | None:
    keywords, name = call.keywords, call.name
    is_splitting = name in words.SPLITTING or (name == "split" and call.receiver is Value.NOTHING)
    cuts = (
        name in words.CROPPING
        or (name == "fit" and call.root == "ImageOps")
        or (name == "transform" and "EXTENT" in _attributes(call.node))
        or (name == "resize" and "box" in keywords and call.receiver >= Value.UNKNOWN)
        or (is_splitting and Value.PICTURE in call.args)
    )
    return (Effect.CROP, Value.PICTURE) if cuts else None


def _drawing(call: Called) -> Judged | None:
    name = call.name
    if name == "Draw":
        return Effect.NONE, Value.PEN
    if call.receiver is Value.PEN:
        return (Effect.NONE if name in words.PEN_MEASURES else Effect.DRAW), Value.NOTHING
    has_picture = call.given in OF_PICTURES and call.receiver is not Value.COMPUTED
    is_pen = call.receiver is Value.UNKNOWN and call.receiver_name in words.PEN_NAMES
    draws = (
        name in words.DRAWING
        or (name in words.SHAPES and (has_picture or call.root == "cv2" or is_pen))
        or (name in ("text", "point") and is_pen)
        or (name == "annotate" and "scene" in call.keywords)
        or (name == "paste" and call.first in WRITTEN and call.receiver >= Value.UNKNOWN)
        or (name in words.PLOT_MARKS and call.on_picture_axes)
    )
    return (Effect.DRAW, Value.PICTURE) if draws else None


def _opening(call: Called) -> Judged | None:
    if isinstance(call.node.func, ast.Name) and call.name == "open":
        return Effect.NONE, Value.PICTURE if _names_picture_file(call) else Value.COMPUTED
    if call.name in ("read", "readlines") and call.receiver is Value.COMPUTED:
        return Effect.COMPUTE, Value.COMPUTED
    if call.name in words.OPENING:
        is_grey = len(call.args) > 1 or "IMREAD_GRAYSCALE" in _attributes(call.node)
        return (Effect.CHANGE if is_grey else Effect.NONE), Value.PICTURE
    if call.name in words.MAKING and call.root == "Image":
        return Effect.NONE, Value.PICTURE
    if _names_picture_file(call) and call.root != "os" and call.name not in words.SHOWING:
        is_loading = call.name.lower().startswith(("load", "read")) or call.name.endswith("Image")
        return (Effect.NONE, Value.PICTURE) if is_loading else (Effect.CHANGE, Value.DERIVED)
    return None


def _names_picture_file(call: Called) -> bool:
    """Tell whether the first argument is the written path of a picture."""
    given = [*call.node.args, *(word.value for word in call.node.keywords)]
    match given:
        case [ast.Constant(value=str(path)), *_]:
            return path.lower().endswith(words.PICTURE_ENDINGS)
    return False


def _moving(call: Called) -> Judged | None:
    """Say what shows, converts or arranges, and changes nothing."""
    if call.name in words.SHOWING:
        return Effect.SHOW, Value.NOTHING
    if call.name == "imshow":
        is_chart = call.first in (Value.NUMBER, Value.COMPUTED)
        return (Effect.COMPUTE if is_chart else Effect.SHOW), Value.NOTHING
    if call.name in words.CONVERTING:
        return Effect.NONE, call.given
    is_plain = _turns_to_rgb(call)
    if call.name in ("convert", "cvtColor") and is_plain and call.given >= Value.UNKNOWN:
        return Effect.NONE, Value.PICTURE
    if call.name in words.IDLE:
        is_written = call.given in WRITTEN
        return (Effect.NONE, Value.TEXT if is_written else call.given)
    return None


def _turns_to_rgb(call: Called) -> bool:
    """Tell whether the colours stay what they are: `convert("RGB")`, `COLOR_BGR2RGB`."""
    modes = {at.value for at in ast.walk(call.node) if isinstance(at, ast.Constant)}
    return bool(
        modes & {"RGB", "RGBA"}
        or _attributes(call.node) & {"COLOR_BGR2RGB", "COLOR_RGB2BGR", "COLOR_BGRA2RGBA"}
    )


def _changing(call: Called) -> Judged | None:
    is_known = call.root in words.PICTURE_MODULES
    is_left = call.receiver is Value.UNKNOWN and call.name in words.ONLY_OF_PICTURES
    if not (is_known or is_left or call.given in OF_PICTURES):
        return None
    is_again = call.name in words.PICTURE_METHODS and call.given is not Value.EXTENT
    return Effect.CHANGE, Value.PICTURE if is_again else Value.DERIVED


def _anything(call: Called) -> Judged:
    return Effect.COMPUTE, Value.COMPUTED


_RULES: tuple[Callable[[Called], Judged | None], ...] = (
    _cropping, _drawing, _opening, _moving, _changing,
)  # fmt: skip


def _attributes(node: ast.Call) -> set[str]:
    """Return names of attributes in the arguments, such as those of constants."""
    given = (*node.args, *(word.value for word in node.keywords))
    return {at.attr for one in given for at in ast.walk(one) if isinstance(at, ast.Attribute)}


def arranges(name: str) -> bool:
    """Tell whether a call only arranges a figure."""
    return name in words.FRAMING or name.startswith("set_")


def last_name(func: ast.expr) -> str:
    """Return the last name of what is called: `crop` of `image_1.crop`."""
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner):
            return last_name(inner)
    return ""


def root_name(node: ast.expr) -> str:
    """Return the name that a chain of attributes, items and calls begins with."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case _:
                return ""
    return node.id
