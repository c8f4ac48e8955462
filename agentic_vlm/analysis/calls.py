"""What a tool call is for, read from the syntax tree of its code.

The six classes of DeepEyesV2 (arXiv 2511.05271: crop, numerical analysis, mark, other
image operation, image search, text search) and three that reveal hollow calls. The paper does not
say how it classified; the rules here are ours. Of several operations in one cell the first of
crop, mark and other image operation counts. Names are looked at, values never: code that hides
its calls behind `getattr` counts as numerical analysis.
"""

import ast
import re
import warnings
from enum import StrEnum

from agentic_vlm.schema import Observation, ObservationStatus, ToolCall


class CallKind(StrEnum):
    """What a call does."""

    CROP = "crop"
    """Cuts a part out of a picture."""
    MARK = "mark"
    """Draws on a picture."""
    OTHER_IMAGE = "other_image"
    """Resizes, rotates, filters, measures or otherwise changes a picture."""
    NUMERICAL = "numerical"
    """Computes without touching pixels."""
    IMAGE_SEARCH = "image_search"
    """Asks the image search."""
    TEXT_SEARCH = "text_search"
    """Asks the text search."""
    REDISPLAY = "redisplay"
    """Shows a picture again, unchanged."""
    PLACEHOLDER = "placeholder"
    """Code that does nothing: empty, comments, imports, or constants."""
    ERROR = "error"
    """Failed by the model's own doing, whatever it was for."""


_SEARCHES = {"search": CallKind.TEXT_SEARCH, "image_search": CallKind.IMAGE_SEARCH}
_DRAWING_NAMES = frozenset({"Draw", "ImageDraw", "putText", "drawContours"})
_DRAWING_CALLS = frozenset({"rectangle", "ellipse", "circle", "line", "polygon", "arrowedLine"})
_IMAGE_MODULES = frozenset({"cv2", "skimage", "ImageOps", "ImageEnhance", "ImageFilter"})
_IMAGE_CALLS = frozenset(
    {"resize", "rotate", "transpose", "convert", "filter", "enhance", "thumbnail", "point"}
    | {"paste", "split", "merge", "getpixel", "putpixel", "quantize", "histogram", "getcolors"}
    | {"getdata", "blend", "composite", "fromarray", "reduce"}
)
# Calls that move a picture to the eye or to a name, and change nothing about it.
_SHOWING_CALLS = frozenset(
    {"show", "display", "imshow", "print", "open", "copy", "save", "figure", "axis", "title"}
)
_PICTURE = re.compile(r"(?:image|img|picture)(?:_?\d+)?")


def classify_call(call: ToolCall, observation: Observation | None) -> CallKind:
    """Return what a call does; a call that failed is an error, whatever it was for.

    >>> classify_call(ToolCall(tool="python", code="image_1.crop((0, 0, 9, 9))"), None).value
    'crop'
    """
    if observation is not None and observation.status is not ObservationStatus.OK:
        return CallKind.ERROR
    if call.tool == "python":
        return classify_code(call.code)
    return _SEARCHES.get(call.tool, CallKind.ERROR)


def classify_code(code: str) -> CallKind:
    r"""Return what a cell does, from its text alone.

    >>> [classify_code(code).value for code in ("print(3 * 4)", "# look closer", "image_1")]
    ['numerical', 'placeholder', 'redisplay']
    """
    try:
        with warnings.catch_warnings():
            # Model code is full of invalid escapes, and their warnings are nobody's news.
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return CallKind.ERROR
    facts = _Facts()
    for statement in tree.body:
        for node in ast.walk(statement):
            facts.look_at(node)
    return facts.kind()


class _Facts:
    """What was seen in a syntax tree."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._own_names: set[str] = set()
        self._calls: set[str] = set()
        self._has_region = False
        self._computes = False

    def look_at(self, node: ast.AST) -> None:
        """Note what one node tells."""
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                self._calls.add(name)
            case ast.Name(id=name, ctx=ast.Load()):
                self._names.add(name)
            case ast.Name(id=name):
                self._own_names.add(name)
            case ast.Attribute(attr=name) if name not in _SHOWING_CALLS:
                self._names.add(name)
            case ast.Subscript(slice=ast.Tuple(elts=[ast.Slice(), ast.Slice(), *_])):
                self._has_region = True
            case (
                ast.BinOp() | ast.Compare() | ast.BoolOp() | ast.For() | ast.While()
                | ast.ListComp() | ast.GeneratorExp() | ast.DictComp() | ast.SetComp()
                | ast.FunctionDef() | ast.Lambda() | ast.Subscript() | ast.AugAssign()
            ):  # fmt: skip
                self._computes = True

    def kind(self) -> CallKind:
        """Return the class that the facts add up to."""
        if "crop" in self._calls or self._has_region:
            return CallKind.CROP
        is_drawing = self._names & _DRAWING_NAMES or self._calls & _DRAWING_NAMES
        if is_drawing or (self._calls & _DRAWING_CALLS and self._sees_picture()):
            return CallKind.MARK
        if self._calls & _IMAGE_CALLS or self._names & _IMAGE_MODULES:
            return CallKind.OTHER_IMAGE
        if self._computes or self._calls - _SHOWING_CALLS:
            return CallKind.NUMERICAL
        if self._sees_picture():
            # Looking at `.size` measures; anything else only shows.
            is_measuring = self._names & {"size", "width", "height", "mode", "shape"}
            return CallKind.OTHER_IMAGE if is_measuring else CallKind.REDISPLAY
        has_reading = self._names - self._calls - self._own_names
        return CallKind.NUMERICAL if has_reading else CallKind.PLACEHOLDER

    def _sees_picture(self) -> bool:
        return any(_PICTURE.fullmatch(name) for name in self._names) or "open" in self._calls
