"""What the values of a cell stand for, as far as its text tells."""

import ast
import re
from enum import IntEnum


class Value(IntEnum):
    """What a value is made of; of several parts the highest one tells."""

    NOTHING = 0
    """Says nothing by itself: None, a module, a function, an object of the cell's own."""
    TEXT = 1
    """Text that is written down."""
    NUMBER = 2
    """A number that is written down."""
    COMPUTED = 3
    """Came out of something without pictures."""
    UNKNOWN = 4
    """A name that an earlier cell must have set, or an argument."""
    SPAN = 5
    """`slice(...)`."""
    EXTENT = 6
    """Width, height or shape of a picture: looked up, and nothing done with it yet."""
    DERIVED = 7
    """Came out of a picture and need not be one: a pixel, a mask, a count."""
    PEN = 8
    """`ImageDraw.Draw` of a picture."""
    PICTURE = 9
    """A picture or its pixels."""
    PICTURES = 10
    """A list of pictures."""


WRITTEN = frozenset({Value.NOTHING, Value.TEXT, Value.NUMBER})
"""Values that stand in the cell as they are."""
PICTURES = frozenset({Value.PICTURE, Value.PICTURES})
OF_PICTURES = frozenset({Value.EXTENT, Value.DERIVED}) | PICTURES

_NAMES = re.compile(
    r"(?:\w+_)?(?:image|img|picture|photo)(?:_(?:rgb|rgba|bgr|gray|grey|hsv|np|array|arr|cv|cv2"
    r"|pil|copy|tensor|data|pixels|original|orig|cropped|resized|small|big|file))*(?:_?\d+)?"
    r"|im(?:_?\d+)?|crop|cropped|roi|gray|grey|canvas|overlay|zoomed|edges|thumbnail|patch"
)

_PLURAL = re.compile(r"(?:\w+_)?(?:images|imgs|pictures|photos|ims)|(?:image|img)_list")


def guess_by_name(name: str) -> Value:
    """Return what a name stands for that nothing else is known of.

    >>> [guess_by_name(name).name for name in ("image_1", "images", "image_width")]
    ['PICTURE', 'PICTURES', 'UNKNOWN']
    """
    if _PLURAL.fullmatch(name):
        return Value.PICTURES
    return Value.PICTURE if looks_like_picture(name) else Value.UNKNOWN


def looks_like_picture(name: str) -> bool:
    """Tell whether a name is one that people give to a picture.

    >>> [looks_like_picture(name) for name in ("image_1", "img_rgb", "image_width")]
    [True, True, False]
    """
    return _NAMES.fullmatch(name) is not None


def written_value(written: object) -> Value:
    """Return what a constant stands for."""
    if isinstance(written, str | bytes):
        return Value.TEXT
    is_number = isinstance(written, int | float | complex) and not isinstance(written, bool)
    return Value.NUMBER if is_number else Value.NOTHING


def cuts_out(index: ast.expr, value: Value, *, spans: list[bool]) -> bool:
    """Tell whether an index takes a region: `[top:bottom, left:right]`, and for pixels `[top:]`.

    Args:
        index: what stands between the brackets.
        value: what the indexed value is.
        spans: for each part of the index whether it is a name of a `slice`.
    """
    if isinstance(index, ast.Slice):
        return value is Value.PICTURE and _is_bounded(index)
    if not isinstance(index, ast.Tuple):
        return False
    parts = index.elts
    if parts and isinstance(parts[0], ast.Constant) and parts[0].value is Ellipsis:
        # `[..., :3]` takes channels.
        return sum(map(_is_bounded, parts[1:])) > 1
    taken = [isinstance(part, ast.Slice) or spans[at] for at, part in enumerate(parts)]
    bounded = [_is_bounded(part) or spans[at] for at, part in enumerate(parts)]
    # `[:, :, 0]` takes a channel, `[::2, ::2]` every other pixel, `[:, 9:20, 5:60]` of a tensor.
    return sum(taken) > 1 and any(bounded[:2]) and all(taken[:2])


def paints(index: ast.expr) -> bool:
    """Tell whether what is set at an index are places of a picture, not a channel or a mask."""
    match index:
        case ast.Slice():
            return True
        case ast.Constant(value=int()):
            return True
        case ast.Tuple(elts=[ast.expr() as row, ast.expr() as column, *_]):
            return any(not isinstance(at, ast.Slice) or _is_bounded(at) for at in (row, column))
    return False


def swaps_colours(index: ast.expr) -> bool:
    """Tell whether an index is `[..., ::-1]` or `[:, :, ::-1]`, which turns BGR into RGB."""
    match index:
        case ast.Tuple(
            elts=[*others, ast.Slice(lower=None, upper=None, step=ast.UnaryOp(op=ast.USub()))]
        ):
            return all(_is_whole(part) for part in others) and (
                len(others) == 2 or any(isinstance(part, ast.Constant) for part in others)
            )
    return False


def _is_bounded(part: ast.expr) -> bool:
    return isinstance(part, ast.Slice) and not (part.lower is None and part.upper is None)


def _is_whole(part: ast.expr) -> bool:
    match part:
        case ast.Constant(value=value):
            return value is Ellipsis
        case ast.Slice(lower=None, upper=None, step=None):
            return True
    return False
